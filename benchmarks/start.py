"""How long the commands take to start: cold `segkit predict` of a 512x512 PNG against `import torch`, and `segkit --help`.

    python benchmarks/start.py -m MODEL [--repeats 5]

MODEL is what `segkit predict -m` takes. Every run is a process of its own; the commands take turns, so that other load
on the machine hits them all; medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from segkit.checkpoint import load_model


def draw_picture(path: Path, channels: int) -> None:
    """A disc on noise, 512x512, grey or colour."""
    rows, columns = np.ogrid[:512, :512]
    disc = (rows - 256) ** 2 + (columns - 256) ** 2 < 100**2
    pixels = (np.where(disc, 180, 60) + np.random.default_rng(0).integers(0, 30, (512, 512))).astype(np.uint8)
    Image.fromarray(pixels if channels == 1 else np.repeat(pixels[..., None], 3, axis=2)).save(path)


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - start


def measure(model: str, folder: Path, repeats: int) -> dict[str, float]:
    """Command -> median seconds, after one run that is not counted."""
    draw_picture(folder / "disc.png", load_model(model).run.preprocess.channels)
    commands = {
        "import torch": ["-c", "import torch"],
        "segkit predict": ["-m", "segkit", "predict", str(folder / "disc.png"), "-m", model, "-o", str(folder / "out"), "-q"],
        "segkit --help": ["-m", "segkit", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(repeats + 1):
        for name, command in commands.items():
            taken = seconds(command)
            if repeat > 0:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = measure(given.model, Path(folder), given.repeats)
    for name, taken in times.items():
        print(f"{name:<16} {taken:6.2f} s")
    print(f"predict / import torch: {times['segkit predict'] / times['import torch']:.2f}")


if __name__ == "__main__":
    main()
