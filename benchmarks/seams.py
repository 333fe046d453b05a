"""What tiling costs: the mask in tiles against the mask of the whole picture, for several overlaps.

    python benchmarks/seams.py [-m fundus-vessels] [--tile 256] [PICTURES]

PICTURES is a folder (data_samples/vessels/images without it). For each overlap: Dice of the tiled mask against the whole picture's, over all
pictures and foreground pixels together; the largest and the mean difference of a probability; pixels scored for each pixel of the
picture; and the time against the whole picture's.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from segkit.config import PredictSettings
from segkit.io import find_sources, read_source
from segkit.patches import TileSettings, plan_windows
from segkit.predict import Model, Segmentation, load, segment
from segkit.preprocess import prepare

SAMPLES = Path(__file__).parents[1] / "data_samples" / "vessels" / "images"

OVERLAPS = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2)


def timed(image: object, model: Model, tiles: TileSettings) -> tuple[Segmentation, float]:
    began = time.perf_counter()
    found = segment(image, model, PredictSettings(tiles=tiles), keep_probabilities=True)  # type: ignore[arg-type]
    return found, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="?", default=SAMPLES)
    parser.add_argument("-m", "--model", default="fundus-vessels")
    parser.add_argument("--tile", type=int, default=256)
    given = parser.parse_args()
    model = load(given.model)
    images = [read_source(source) for source in find_sources(given.pictures).sources]
    whole_settings = TileSettings(whole_up_to=2**40)
    timed(images[0], model, whole_settings)                                    # the first call of all pays for the others
    wholes = [timed(image, model, whole_settings) for image in images]
    print(f"{len(images)} pictures, tiles of {given.tile}x{given.tile}, {model.name}")
    print(f"{'overlap':>8} {'Dice':>8} {'largest':>8} {'mean':>9} {'scored':>7} {'time':>6}")
    for overlap in OVERLAPS:
        tiles = TileSettings(whole_up_to=0, tile=(given.tile, given.tile), overlap=overlap)
        both = agree = 0
        largest, mean, seconds, scored = 0.0, 0.0, 0.0, 0.0
        for image, (whole, _) in zip(images, wholes, strict=True):
            found, taken = timed(image, model, tiles)
            one, other = found.mask.indices > 0, whole.mask.indices > 0
            both, agree = both + int(one.sum() + other.sum()), agree + 2 * int((one & other & (found.mask.indices == whole.mask.indices)).sum())
            assert found.probabilities is not None
            assert whole.probabilities is not None
            difference = np.abs(found.probabilities.astype(np.float32) - whole.probabilities.astype(np.float32))
            largest, mean, seconds = max(largest, float(difference.max())), mean + float(difference.mean()) / len(images), seconds + taken
            shape = prepare(image, model.run.preprocess).target         # the grid that is cut
            scored += sum(window.height * window.width for window in plan_windows(shape, tiles)) / (shape[0] * shape[1]) / len(images)
        print(f"{overlap:>8.4f} {agree / max(both, 1):>8.4f} {largest:>8.3f} {mean:>9.5f} {scored:>7.2f} {seconds / sum(taken for _, taken in wholes):>6.2f}")


if __name__ == "__main__":
    main()
