"""Confidence that means something: probabilities brought to scale, and the Dice that a case can be expected to have.

Both are learnt from cases that were not trained on, and are a few numbers in the model's settings. Networks that are trained to the end say 0.99 where
they are right in 9 of 10 pixels; one number, by which all logits are divided, mends most of it and changes no mask.

Guo, Pleiss, Sun and Weinberger, ICML 2017, https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from segkit.errors import ShapeError

Floats = NDArray[np.floating]

TEMPERATURES = (0.05, 20.0)
"""What is looked among: beyond these a network has learnt nothing, or by heart."""

BINS = 15
"""Of equal width; as in Guo 2017."""

FEWEST_TO_TRUST = 3
"""Validation cases: from fewer nobody learns how sure to be."""

FEWEST_CASES = 8
"""With something found, for a line through their Dice: fewer say little of its slope."""


class ExpectedDice(BaseModel):
    """Dice as a line over the mean probability of the pixels that were found; what it gives is cut off at 0 and 1.

    at_half, at_one : where that probability is 1/2 and where it is 1
    when_empty : where nothing is found: how often that was right
    learnt_from : in words: "24 cases", "29 parts of 2 cases"
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_half: float
    at_one: float
    when_empty: float = Field(ge=0, le=1)
    learnt_from: str = ""

    def of(self, confidence: float) -> float:
        """For a case with this mean probability over the pixels of all foreground classes; NaN where there are none."""
        if math.isnan(confidence):
            return self.when_empty
        return min(1.0, max(0.0, self.at_half + (self.at_one - self.at_half) * (2 * confidence - 1)))


def fit_temperature(logits: Floats, truth: NDArray[np.integer]) -> float:
    """The number that logits are to be divided by, so that the truth becomes as likely as it can.

    Parameters
    ----------
    logits : (N, K), or logarithms of probabilities
    truth : (N,) classes 0 .. K-1

    Returns
    -------
    Above 1 where the network is too sure of itself; within `TEMPERATURES`; 1 where there is no pixel, or where either end of them is as good: then the pixels
    name none.
    """
    _check(logits, truth)
    if len(truth) == 0:
        return 1.0
    from scipy.optimize import minimize_scalar

    low, high = np.log(TEMPERATURES)

    def fault(power: float) -> float:
        return negative_log_likelihood(logits / math.exp(power), truth)

    found = minimize_scalar(fault, bounds=(low, high), method="bounded")
    return 1.0 if min(fault(low), fault(high)) <= found.fun else float(math.exp(found.x))


def negative_log_likelihood(logits: Floats, truth: NDArray[np.integer]) -> float:
    """Mean of -log p(truth) over (N, K) logits and (N,) classes; NaN of none.

    >>> import numpy as np
    >>> round(negative_log_likelihood(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 0])), 4)      # (log 2 + log 4) / 2
    1.0397
    """
    _check(logits, truth)
    if len(truth) == 0:
        return math.nan
    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float((total - logits[np.arange(len(truth)), truth]).mean())


def calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: how far the share of right pixels lies from what was said of them.

    Parameters
    ----------
    confidence : (N,) probability of the chosen class
    correct : (N,) whether it was the truth
    bins : of equal width from 0 to 1; each one's |share that is right - mean confidence|, weighted by its pixels

    Returns
    -------
    0 .. 1, 0 is best; NaN of no pixel.

    Notes
    -----
    Naeini, Cooper and Hauskrecht, AAAI 2015, https://doi.org/10.1609/aaai.v29i1.9602
    """
    return float(sum(share * abs(right - said) for said, right, share in reliability(confidence, correct, bins))) if len(confidence) else math.nan


def reliability(confidence: Floats, correct: NDArray[np.bool_], bins: int = BINS) -> list[tuple[float, float, float]]:
    """(mean confidence, share that is right, share of all pixels) of each bin that has any, for a plot.

    Raises
    ------
    ShapeError
        Not as many of one as of the other.
    """
    if confidence.shape != correct.shape or confidence.ndim != 1:
        raise ShapeError(f"confidence has shape {confidence.shape}, correct {correct.shape}; expected (N,) of both")
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(number, minlength=bins)
    said, right = (np.bincount(number, weights=values, minlength=bins) for values in (confidence, correct))
    return [(said[n] / count[n], right[n] / count[n], count[n] / len(confidence)) for n in np.flatnonzero(count)]


def softmax(logits: Floats) -> Floats:
    """(N, K) -> (N, K) probabilities."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in cases, or in parts of cases, and what it was worth.

    confidence : (N,) mean probability over the foreground that was found, NaN where there was none
    dice : (N,); where nothing was found 1 if nothing is there, else 0
    weight : (N,) what each counts; None for all the same

    Raises
    ------
    ShapeError
        Not as many of one as of the other.
    """

    confidence: Floats
    dice: Floats
    weight: Floats | None = None

    def __post_init__(self) -> None:
        if self.confidence.shape != self.dice.shape or self.confidence.ndim != 1:
            raise ShapeError(f"confidence has shape {self.confidence.shape}, dice {self.dice.shape}; expected (N,) of both")

    @property
    def empty(self) -> NDArray[np.bool_]:
        return np.isnan(self.confidence)

    def __len__(self) -> int:
        """How many in which something was found."""
        return int((~self.empty).sum())

    def slope(self) -> float:
        """Of the line of least squares through those in which something was found; 0 where less confidence came with better masks, or all are as sure."""
        weight = np.ones_like(self.dice) if self.weight is None else self.weight
        x, y, w = (values[~self.empty].astype(np.float64) for values in (self.confidence, self.dice, weight))
        if not w.sum() > 0:
            return 0.0
        apart = x - (w * x).sum() / w.sum()
        return max(0.0, float((w * apart * y).sum() / (w * apart**2).sum())) if (w * apart**2).any() else 0.0


def fit_expected_dice(cases: Found, parts: Found | None = None) -> ExpectedDice | None:
    """The line of least squares that never falls; None where neither cases nor parts are `FEWEST_CASES` in which something was found.

    Parameters
    ----------
    parts : of the same cases (slices, tiles); of too few cases the line takes its slope from them, and its level, as always, from the cases

    Notes
    -----
    A straight line and not a staircase (isotonic regression): it gives no two cases the same place in the list of those to review. Where less
    confidence came with better masks the line is level: then confidence says nothing. A validation set in which something was always found knows
    nothing of empty masks, and they are expected to be wrong, so that somebody looks.

    The Dice of a case is that of its parts, weighted by their pixels, and so is its confidence, so that a weighted slope through parts is near to that
    through cases. How far cases of different patients lie from the line, parts of two pictures do not know.
    """
    count = len(cases)
    if count >= FEWEST_CASES:
        slope, learnt_from = cases.slope(), f"{len(cases.dice)} cases"
    elif parts is not None and count > 0 and len(parts) >= FEWEST_CASES:
        slope, learnt_from = parts.slope(), f"{len(parts)} parts of {count} case{'s' if count > 1 else ''}"
    else:
        return None
    empty = cases.empty
    at_one = float(cases.dice[~empty].mean() + slope * (1 - cases.confidence[~empty].mean()))
    when_empty = float(cases.dice[empty].mean()) if empty.any() else 0.0
    return ExpectedDice(at_half=at_one - slope / 2, at_one=at_one, when_empty=when_empty, learnt_from=learnt_from)


def rank_correlation(expected: Floats, true: Floats) -> float | None:
    """Spearman's r of two (N,) arrays: whether what was expected to be worse was worse; None of fewer than three, or where one of the two is constant.

    >>> import numpy as np
    >>> rank_correlation(np.array([0.2, 0.5, 0.9]), np.array([0.1, 0.8, 0.7]))
    0.5
    """
    if len(expected) < 3 or np.ptp(expected) == 0 or np.ptp(true) == 0:
        return None
    return round(float(np.corrcoef(_ranks(expected), _ranks(true))[0, 1]), 12)


def _ranks(values: Floats) -> Floats:
    """1 for the smallest; equal ones share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])


def _check(logits: Floats, truth: NDArray[np.integer]) -> None:
    if logits.ndim != 2 or truth.shape != logits.shape[:1]:
        raise ShapeError(f"logits have shape {logits.shape}, the truth {truth.shape}; expected (N, K) and (N,)")
