"""How many times faster than MONAI's is each of segkit's metrics? Milliseconds and a ratio for each metric and kind of mask, 512 x 512.

    python benchmarks/metrics.py

Each metric is timed by itself, from masks in the form that each side takes, made before the clock starts: class indices for segkit,
one-hot float tensors for MONAI, and numbered objects for MONAI's panoptic quality (segkit finds the pieces while the clock runs).
The two are timed in turns in one process, each in one thread, so that other load on the machine hits both, and must agree.

MONAI has no clDice and no AP. clDice is held against the only clDice that it has, the loss, at its fewest steps; its numbers are others, so those
are not compared. AP50 is held against one call of `compute_panoptic_quality`, which counts the same pairs, AP against one call for each threshold.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from monai.losses import SoftclDiceLoss
from monai.metrics import (
    compute_average_surface_distance,
    compute_confusion_matrix_metric,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
    get_confusion_matrix,
)
from monai.metrics.panoptic_quality import compute_panoptic_quality
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from segkit.metrics import METRICS, ScoreSettings, score

Indices = NDArray[np.uint8]
Run = Callable[[], NDArray[np.float64]]

SIZE = 512
SPACING_MM = (0.5, 0.4)
TOLERANCE_MM = 2.0
SECONDS = 1.5
"""Spent on each metric and kind of mask, at least three turns."""

TURN_MS = 5
"""A turn of what is quicker is several runs."""

OTHER_NUMBERS = ("cldice",)
MANY_OBJECTS = 200
"""With more, MONAI's panoptic quality takes gigabytes: it keeps a picture for each object."""


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


MASKS = {
    "two organs": (discs(0), discs(1)),
    "islands, 16 px": (islands(0, 16), islands(1, 16)),
    "islands, 8 px": (islands(0, 8), islands(1, 8)),
    "islands, 2 px": (islands(0, 2), islands(1, 2)),
}


def by_segkit(name: str, prediction: Indices, truth: Indices, num_classes: int) -> Run:
    settings = ScoreSettings(tolerance=TOLERANCE_MM)

    def run() -> NDArray[np.float64]:
        scores = score(prediction, truth, num_classes, SPACING_MM, metrics=(name,), settings=settings)
        return np.array([scores[index][name] for index in range(1, num_classes)])

    return run


def by_monai(name: str, prediction: Indices, truth: Indices, num_classes: int) -> Run | None:
    if name in ("ap50", "ap"):
        return panoptic(name, objects(prediction, num_classes), objects(truth, num_classes))
    function = MONAI[name]
    tensors = one_hot(prediction, num_classes), one_hot(truth, num_classes)
    return lambda: np.atleast_1d(function(*tensors).double().squeeze().numpy())


def panoptic(name: str, prediction: list[torch.Tensor], truth: list[torch.Tensor]) -> Run | None:
    if max(int(one.max()) for one in (*prediction, *truth)) > MANY_OBJECTS:
        return None
    thresholds = [0.5] if name == "ap50" else [twentieths / 20 for twentieths in range(10, 20)]

    def average_precision(ours: torch.Tensor, theirs: torch.Tensor, threshold: float) -> float:
        found, spare, missed, _ = compute_panoptic_quality(ours, theirs, match_iou_threshold=threshold, output_confusion_matrix=True).tolist()
        return float(found / (found + spare + missed))

    return lambda: np.array([np.mean([average_precision(*pair, threshold) for threshold in thresholds]) for pair in zip(prediction, truth, strict=True)])


def from_counts(name: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda prediction, truth: compute_confusion_matrix_metric(name, get_confusion_matrix(prediction, truth, include_background=False))


MONAI: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "dice": lambda prediction, truth: compute_dice(prediction, truth, include_background=False),
    "iou": lambda prediction, truth: compute_iou(prediction, truth, include_background=False),
    "precision": from_counts("precision"),
    "recall": from_counts("sensitivity"),
    "hd95": lambda prediction, truth: compute_hausdorff_distance(prediction, truth, percentile=95, spacing=SPACING_MM),
    "assd": lambda prediction, truth: compute_average_surface_distance(prediction, truth, symmetric=True, spacing=SPACING_MM),
    "nsd": lambda prediction, truth: compute_surface_dice(prediction, truth, [TOLERANCE_MM] * (truth.shape[1] - 1), spacing=SPACING_MM),
    "cldice": lambda prediction, truth: SoftclDiceLoss(iter_=3)(truth[:, 1:], prediction[:, 1:]),
}


def one_hot(indices: Indices, num_classes: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([indices == index for index in range(num_classes)])[None]).float()


def objects(indices: Indices, num_classes: int) -> list[torch.Tensor]:
    return [torch.from_numpy(label(indices == index, structure=np.ones((3, 3)))[0]) for index in range(1, num_classes)]


def times(ours: Run, theirs: Run) -> tuple[float, float]:
    """Milliseconds of both, each in its quickest turn: other load on the machine only adds."""
    repeats = [1 + int(TURN_MS / milliseconds(run, 1)) for run in (ours, theirs)]
    end = time.perf_counter() + SECONDS
    turns: list[tuple[float, float]] = []
    while len(turns) < 3 or time.perf_counter() < end:
        turns.append((milliseconds(ours, repeats[0]), milliseconds(theirs, repeats[1])))
    first, second = np.min(turns, axis=0)
    return float(first), float(second)


def milliseconds(run: Run, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return 1e3 * (time.perf_counter() - start) / repeats


def main() -> None:
    warnings.simplefilter("ignore", FutureWarning)  # MONAI's, about its own arguments
    torch.set_num_threads(1)
    print(f"{'512 x 512':16} {'metric':10} {'segkit':>9} {'MONAI':>12}   times faster")
    least = math.inf
    for kind, (prediction, truth) in MASKS.items():
        for name in METRICS:
            masks = prediction, truth, int(truth.max()) + 1
            ours, theirs = by_segkit(name, *masks), by_monai(name, *masks)
            if theirs is None:
                continue
            if name not in OTHER_NUMBERS:
                np.testing.assert_allclose(ours(), theirs(), rtol=1e-5, err_msg=name)
            our_ms, their_ms = times(ours, theirs)
            least = min(least, their_ms / our_ms)
            print(f"{kind:16} {name:10} {our_ms:6.2f} ms {their_ms:9.2f} ms   {their_ms / our_ms:.1f}", flush=True)
    print(f"at least {least:.1f} times as fast")


if __name__ == "__main__":
    main()
