"""How many times faster than MONAI's are segkit's Dice, HD95 and ASSD? One number for each kind of mask, 512 x 512.

    python benchmarks/metrics.py

Both get the masks in the form that they take (class indices; one-hot float tensors, made before the clock starts)
and are timed in turns in one process, so that other load on the machine hits both. The results must agree.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from segkit.metrics import score

Indices = NDArray[np.uint8]

SIZE = 512
NAMES = ("dice", "hd95", "assd")
SPACING_MM = (0.5, 0.4)
ROUNDS = 15


def discs(seed: int) -> Indices:
    """Two organs, classes 1 and 2."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[:SIZE, :SIZE]
    indices = np.zeros((SIZE, SIZE), np.uint8)
    for index, (row, column) in enumerate([(180, 160), (330, 350)], start=1):
        radius = rng.uniform(70, 100)
        indices[(rows - row - rng.uniform(-9, 9)) ** 2 + (columns - column) ** 2 < radius**2] = index
    return indices


def islands(seed: int, width: float) -> Indices:
    """Random shapes of one width in pixels over the whole picture."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((SIZE, SIZE)), width)
    return (noise > np.quantile(noise, 0.75)).astype(np.uint8)


def by_segkit(prediction: Indices, truth: Indices, num_classes: int) -> NDArray[np.float64]:
    scores = score(prediction, truth, num_classes, SPACING_MM, metrics=NAMES)
    return np.array([[scores[index][name] for index in range(1, num_classes)] for name in NAMES])


def by_monai(prediction: torch.Tensor, truth: torch.Tensor) -> NDArray[np.float64]:
    values = (
        compute_dice(prediction, truth, include_background=False),
        compute_hausdorff_distance(prediction, truth, percentile=95, spacing=SPACING_MM),
        compute_average_surface_distance(prediction, truth, symmetric=True, spacing=SPACING_MM),
    )
    return torch.cat(values).double().numpy()


def one_hot(indices: Indices, num_classes: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([indices == index for index in range(num_classes)])[None]).float()


def compare(prediction: Indices, truth: Indices) -> tuple[float, float]:
    """Milliseconds of segkit and of MONAI for one picture, medians."""
    classes = int(truth.max()) + 1
    tensors = one_hot(prediction, classes), one_hot(truth, classes)
    np.testing.assert_allclose(by_segkit(prediction, truth, classes), by_monai(*tensors), rtol=1e-5)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(milliseconds(lambda: by_segkit(prediction, truth, classes)))
        theirs.append(milliseconds(lambda: by_monai(*tensors)))
    return float(np.median(ours)), float(np.median(theirs))


def milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    warnings.simplefilter("ignore", FutureWarning)  # MONAI's, about its own arguments
    print("512 x 512            segkit       MONAI   times faster")
    cases = {
        "two organs": (discs(0), discs(1)),
        "islands, 8 px": (islands(0, 8), islands(1, 8)),
        "islands, 2 px": (islands(0, 2), islands(1, 2)),
    }
    for name, pair in cases.items():
        ours, theirs = compare(*pair)
        print(f"{name:16} {ours:7.1f} ms  {theirs:7.1f} ms   {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
