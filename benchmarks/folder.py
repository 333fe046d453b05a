"""Segmenting a folder: segkit against the loops that people write, side by side on the same files.

    python benchmarks/folder.py [--files 24] [--side 512] [--rounds 3]
    python benchmarks/folder.py --growth [--most 10000]
    python benchmarks/folder.py --large 20000 [--channels 3]

A ResNet-34 U-Net (random weights: they cost what trained ones cost) on colour PNGs of side x side pixels; masks are written as PNGs. Every contender is
a process of its own that times itself from the first file to the last, its imports and its loading of the model left out; they take turns,
so that other load on the machine meets all of them alike, and the fastest round of each counts.

    bare     share of the time that the same network would need for nothing but its forward passes, one picture at a time
    peak     share of the machine's measured matrix-product speed (float32, or bfloat16 where the contender uses it)

--growth: how the time a file changes with the number of files and with their size.
--large: one picture of so many pixels a side, in tiles; the memory that it takes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segkit.checkpoint import Card, load_model, save_model
from segkit.config import RunConfig
from segkit.engines import ENGINES, choose_device, choose_precision
from segkit.engines.extras import installed
from segkit.folder import Options, predict_files
from segkit.io import find_sources
from segkit.memory import keep_freed_memory
from segkit.models import build_model
from segkit.models.counting import count_multiply_adds
from segkit.predict import Model, load

NETWORK = {"model": {"encoder": "resnet34"}, "preprocess": {"channels": 3}, "data": {"labels": {"background": 0, "object": 255}}}
TINY = {"model": {"feature_scale": 16}, "preprocess": {"channels": 3}, "data": {"labels": {"background": 0, "object": 255}}}


def draw(folder: Path, count: int, side: int) -> Path:
    """Soft blobs with a little noise: PNGs about as large as photographs'."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        noisy = np.asarray(coarse, np.int16) + rng.integers(-4, 5, (side, side, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:06d}.png")
    return folder


def with_segkit(model: Model, pictures: Path, out: Path) -> None:
    sources = find_sources(pictures).sources
    summary = predict_files(sources, model, out, predict=model.run.predict, read=model.run.data.read, options=Options())
    assert (summary.done, summary.failed) == (len(sources), 0)


def with_a_loop(predict: Callable[[torch.Tensor], torch.Tensor], pictures: Path, out: Path) -> None:
    """Read, predict, write: what stands in most repositories."""
    out.mkdir(parents=True)
    with torch.no_grad():
        for path in sorted(pictures.iterdir()):
            picture = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
            mask = predict(picture).argmax(dim=1)[0].to(torch.uint8).numpy() * 255
            Image.fromarray(mask).save(out / path.name)


def contender(name: str, model: Path, pictures: Path, out: Path) -> dict[str, Any]:
    """Run one over the folder: its seconds, peak memory, and the seconds of as many bare forward passes, right before."""
    if name.startswith("segkit"):
        keep_freed_memory()  # as a run does: for the bare passes too
        engine = name.removeprefix("segkit, ") if name.removeprefix("segkit, ") in ENGINES else "torch"
        loaded = load(model, device="cpu", precision="fp32" if name.endswith("fp32") else "auto", engine=engine)
        predict, work = loaded.engine.__call__, lambda: with_segkit(loaded, pictures, out)
        precision = loaded.engine.precision
    else:
        network = build_model(load_model(model).run.model).eval()
        precision = "bf16" if "bf16" in name else "fp32"
        if precision == "bf16":
            network = network.to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        predict = loops(network)[name]
        work = lambda: with_a_loop(predict, pictures, out)  # noqa: E731
    one = torch.rand(1, 3, *Image.open(next(pictures.iterdir())).size)
    count = len(list(pictures.iterdir()))
    with torch.inference_mode():
        predict(one)
        began = time.perf_counter()
        for _ in range(count):
            predict(one)
        bare = time.perf_counter() - began
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "bare": bare, "precision": precision, "mib": peak_mib()}


def loops(network: torch.nn.Module) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    def monai(picture: torch.Tensor) -> torch.Tensor:
        from monai.inferers import sliding_window_inference

        return sliding_window_inference(picture, (256, 256), 4, network)  # type: ignore[return-value]

    return {
        "MONAI sliding window, fp32": monai,
        "plain loop, fp32": network,
        "plain loop, bf16 channels-last": lambda picture: network(picture.to(torch.bfloat16, memory_format=torch.channels_last)).float(),
    }


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fastest(work: Callable[[], Any], times: int) -> float:
    measured = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        measured.append(time.perf_counter() - began)
    return min(measured)


def matrix_speed(dtype: torch.dtype) -> float:
    """Multiply-adds in a second."""
    one = torch.rand(2048, 2048).to(dtype)
    return 2048**3 / fastest(lambda: one @ one, 5)


def compare(files: int, side: int, rounds: int) -> None:
    engines = [name for name, kind in ENGINES.items() if name != "torch" and installed(kind.extra)]  # type: ignore[union-attr]
    ours, loops_of_others = ["segkit", "segkit, fp32", *(f"segkit, {name}" for name in engines)], ["plain loop, fp32", "plain loop, bf16 channels-last"]
    names = [*ours, "MONAI sliding window, fp32", *loops_of_others]
    with tempfile.TemporaryDirectory(prefix="segkit-folder-") as place:
        root = Path(place)
        model, pictures = write_model(NETWORK, root), draw(root / "in", files, side)
        told: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(rounds):
            for name in names:
                line = [sys.executable, __file__, "--contender", name, str(model), str(pictures), str(root / f"out{number}" / name.replace(" ", "_"))]
                told[name].append(json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout))
        work = count_multiply_adds(build_model(RunConfig.model_validate(NETWORK).model), (1, 3, side, side))
    speeds = {"fp32": matrix_speed(torch.float32), "bf16": matrix_speed(torch.bfloat16)}
    best = {name: min(runs, key=lambda run: run["seconds"]) for name, runs in told.items()}
    print(f"{files} PNGs of {side}x{side}, ResNet-34 U-Net, {torch.get_num_threads()} threads, {describe()}; fastest of {rounds} rounds")
    print(f"{'':<32} {'pictures/s':>10} {'times MONAI':>11} {'times plain':>11} {'bare':>6} {'peak':>6} {'MiB':>6}")
    for name, run in best.items():
        seconds = run["seconds"]
        ratios = [f"{best[other]['seconds'] / seconds:>11.2f}" for other in ("MONAI sliding window, fp32", "plain loop, fp32")]
        shares = [f"{run['bare'] / seconds:>6.0%}", f"{work * files / seconds / speeds[run['precision']]:>6.0%}"]
        print(f"{name:<32} {files / seconds:>10.2f} {' '.join([*ratios, *shares])} {run['mib']:>6.0f}")


def describe() -> str:
    return f"auto takes {choose_precision('auto', choose_device('cpu'))}"


def write_model(settings: dict[str, Any], root: Path) -> Path:
    torch.manual_seed(0)
    run = RunConfig.model_validate(settings)
    save_model(root / "model.safetensors", run, build_model(run.model).state_dict(), Card())
    return root / "model.safetensors"


def growth(most: int) -> None:
    with tempfile.TemporaryDirectory(prefix="segkit-folder-") as place:
        root = Path(place)
        tiny = load(write_model(TINY, root), device="cpu")
        print(f"{'files of 64x64':>16} {'ms a file':>10} {'MiB':>6}")
        pictures = draw(root / "many", most, 64)
        paths = sorted(pictures.iterdir())
        for count in (count for count in (10, 100, 1000, 10_000, 100_000) if count <= most):
            some = root / f"in{count}"
            some.mkdir()
            for path in paths[:count]:
                (some / path.name).hardlink_to(path)
            began = time.perf_counter()
            with_segkit(tiny, some, root / f"out{count}")
            print(f"{count:>16} {1000 * (time.perf_counter() - began) / count:>10.2f} {peak_mib():>6.0f}", flush=True)
        print(f"{'side of one file':>16} {'ns a pixel':>10} {'MiB':>6}")
        for side in (256, 512, 1024, 2048, 4096):
            pictures = draw(root / f"side{side}", 4, side)
            began = time.perf_counter()
            with_segkit(tiny, pictures, root / f"side-out{side}")
            print(f"{side:>16} {1e9 * (time.perf_counter() - began) / (4 * side**2):>10.1f} {peak_mib():>6.0f}", flush=True)


def large(side: int, channels: int) -> None:
    """In this process nothing but the run: the picture is drawn in another."""
    settings = {**NETWORK, "preprocess": {"channels": channels}, "data": {**NETWORK["data"], "read": {"max_pixels": side**2}}}
    with tempfile.TemporaryDirectory(prefix="segkit-folder-") as place:
        root = Path(place)
        drawing = multiprocessing.get_context("spawn").Process(target=draw_large, args=(root / "in", side, channels))
        drawing.start()
        drawing.join()
        model, before = load(write_model(settings, root), device="cpu"), peak_mib()
        began = time.perf_counter()
        with_segkit(model, root / "in", root / "out")
        print(f"{side}x{side}, {channels} channels: {time.perf_counter() - began:.0f} s, {peak_mib():.0f} MiB at most, {before:.0f} MiB before it")


def draw_large(folder: Path, side: int, channels: int) -> None:
    """Blobs and noise of 1000 x 1000 pixels, over and over."""
    piece = np.asarray(Image.open(draw(folder, 1, 1000) / "000000.png"))[..., 0 if channels == 1 else slice(None)]
    whole = np.tile(piece, (-(-side // 1000), -(-side // 1000), *[1] * (piece.ndim - 2)))[:side, :side]
    Image.fromarray(whole).save(folder / "000000.png", compress_level=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--large", type=int, metavar="SIDE")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=3)
    parser.add_argument("--contender", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender:
        name, *paths = given.contender
        print(json.dumps(contender(name, *map(Path, paths))))
    elif given.large:
        large(given.large, given.channels)
    elif given.growth:
        growth(given.most)
    else:
        compare(given.files, given.side, given.rounds)


if __name__ == "__main__":
    main()
