"""Calibrate: how sure to be, learnt from cases that a network was not trained on, as `segkit.tune` has scored them.

::

    evidence        what each case says of it, under the settings that were chosen: small enough to be kept of many
    calibrate       a temperature, and the Dice that a case can be expected to have

One pass of the network serves both rooms::

    tuning = tune(scored, model.labels, model.run.predict, object_sizes(training_masks))
    calibration = calibrate([evidence(case, tuning.predict) for case in scored], tuning.predict)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.confidence import Found, calibration_error, fit_expected_dice, fit_temperature, softmax
from segkit.config import PredictSettings
from segkit.io import atomic_path
from segkit.labels import IGNORE_INDEX, Mask
from segkit.postprocess import tidy
from segkit.tune import ScoredCase, case_dice

PARTS = 4
"""A picture has so many parts along either side; the parts of a volume are its slices."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a case, under some settings, says of how sure one may be.

    logits, truth : (N, K), (N,) of pixels of known truth, as in `Seen`
    foreground : (M, K) of pixels that were found, and `part` (M,) says which part each of them lies in
    dice : of the case
    dice_of_parts, pixels : (P,) of each part, and how many of its pixels are foreground in either mask, counted in both
    """

    logits: NDArray[np.float32]
    truth: NDArray[np.uint8]
    foreground: NDArray[np.float32]
    part: NDArray[np.int64]
    dice: float
    dice_of_parts: NDArray[np.float64]
    pixels: NDArray[np.int64]

    def confidence(self, temperature: float) -> tuple[float, NDArray[np.float64]]:
        """Mean probability of what was found in the case, and (P,) in each part; NaN where nothing was."""
        sure = softmax(self.foreground / temperature).max(axis=1) if len(self.part) else np.empty(0)
        count, total = (np.bincount(self.part, weights, len(self.pixels)) for weights in (None, sure))
        parts = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        return float(sure.mean()) if len(sure) else math.nan, parts


def evidence(case: ScoredCase, predict: PredictSettings) -> Evidence:
    """With the mirror images and the tidying of these settings."""
    seen = case.seen(predict.tta)
    tidied = tidy(seen.indices, predict.postprocess, case.truth.labels.names)
    part, count = _parts(tidied.shape)
    dice, pixels = _dice_of_parts(tidied, case.truth, part, count)
    return Evidence(seen.logits, seen.truth, seen.foreground, part[np.unravel_index(seen.places, part.shape)], case_dice(case, predict), dice, pixels)


def _parts(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], int]:
    """The part that each pixel lies in, of (S, H, W) its slice, of (H, W) its tile; and how many there are."""
    if len(shape) == 3:
        return np.broadcast_to(np.arange(shape[0])[:, None, None], shape), shape[0]
    rows, columns = (np.arange(side) * PARTS // side for side in shape)
    return PARTS * rows[:, None] + columns, PARTS**2


def _dice_of_parts(found: NDArray[np.uint8], truth: Mask, part: NDArray[np.int64], count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(P,) mean Dice over the classes that are there, 1 where none is, and (P,) pixels of both masks."""
    known = truth.indices != IGNORE_INDEX
    both, shared = (np.zeros((truth.labels.num_classes - 1, count), np.int64) for _ in range(2))
    for row, index in enumerate(range(1, truth.labels.num_classes)):
        drawn, true = (found == index) & known, truth.indices == index
        both[row] = np.bincount(part[drawn], minlength=count) + np.bincount(part[true], minlength=count)
        shared[row] = np.bincount(part[drawn & true], minlength=count)
    there = both > 0
    dice = np.where(there, 2 * shared / np.maximum(both, 1), 0).sum(axis=0)
    return np.where(there.any(axis=0), dice / np.maximum(there.sum(axis=0), 1), 1.0), both.sum(axis=0)


def save_evidence(path: Path, cases: Sequence[Evidence]) -> None:
    """As .npz, for the folds of a cross-validation, which are calibrated together; logits as float16. `WriteError` where that fails."""
    arrays = {f"{number:06d}.{key}": _small(value) for number, case in enumerate(cases) for key, value in vars(case).items()}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def _small(value: Any) -> Any:
    return value.astype(np.float16) if isinstance(value, np.ndarray) and value.dtype == np.float32 else value


def load_evidence(path: Path) -> list[Evidence]:
    """What `save_evidence` wrote."""
    cases: dict[str, dict[str, Any]] = defaultdict(dict)
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            number, key = name.split(".")
            value = file[name]
            cases[number][key] = float(value) if value.ndim == 0 else value.astype(np.float32) if value.dtype == np.float16 else value
    return [Evidence(**case) for case in cases.values()]


@dataclass(frozen=True)
class Calibration:
    """The settings with a temperature and the line of expected Dice in them, and what they do on the cases that they were learnt from.

    before, after : expected calibration error over all pixels of known truth, without and with the temperature
    cases : that they were learnt from
    """

    predict: PredictSettings
    before: float
    after: float
    cases: int


def calibrate(cases: Sequence[Evidence], predict: PredictSettings) -> Calibration:
    """Learn how sure to be from evidence under `predict`, whose mirror images and post-processing stay.

    One number from some hundred thousand pixels is hardly learnt by heart; the error of other cases is a little larger all the same. An ensemble
    is calibrated by what its members said, each of cases that it was not trained on; together they are a little less sure than one by itself.
    """
    logits, truth = np.concatenate([one.logits for one in cases]), np.concatenate([one.truth for one in cases])
    temperature = fit_temperature(logits.astype(np.float64), truth)
    sure = [one.confidence(temperature) for one in cases]
    whole = Found(np.array([case for case, _ in sure]), np.array([one.dice for one in cases]))
    pixels = np.concatenate([one.pixels for one in cases]).astype(np.float64)
    parts = Found(np.concatenate([parts for _, parts in sure]), np.concatenate([one.dice_of_parts for one in cases]), pixels)
    settings = predict.model_copy(update={"temperature": temperature, "expected_dice": fit_expected_dice(whole, parts)})
    before, after = (_calibration_error(logits / one, truth) for one in (1.0, temperature))
    return Calibration(settings, before, after, len(cases))


def _calibration_error(logits: NDArray[np.floating], truth: NDArray[np.uint8]) -> float:
    probabilities = softmax(logits)
    return calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth)
