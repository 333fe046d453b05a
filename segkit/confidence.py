"""Confidence that means something: probabilities brought to scale, and the Dice that a case can be expected to have.

Both are learnt from cases that were not trained on, and are a few numbers in the model's settings. Networks that are trained to the end say 0.99 where
they are right in 9 of 10 pixels; one number, by which all logits are divided, mends most of it and changes no mask.

Guo, Pleiss, Sun and Weinberger, ICML 2017, https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from segkit.errors import ShapeError

Floats = NDArray[np.floating]

TEMPERATURES = (0.05, 20.0)
"""What is looked among: beyond these a network has learnt nothing, or by heart."""

BINS = 15
"""Of equal width; as in Guo 2017."""

FEWEST_CASES = 8
"""With something found, for a line through their Dice: fewer say little of its slope."""


class ExpectedDice(BaseModel):
    """Dice as a line over the mean probability of the pixels that were found; what it gives is cut off at 0 and 1.

    at_half, at_one : where that probability is 1/2 and where it is 1
    when_empty : where nothing is found: how often that was right
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_half: float
    at_one: float
    when_empty: float = Field(ge=0, le=1)

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
    Above 1 where the network is too sure of itself; within `TEMPERATURES`; 1 where there is no pixel.
    """
    _check(logits, truth)
    if len(truth) == 0:
        return 1.0
    from scipy.optimize import minimize_scalar

    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(lambda power: negative_log_likelihood(logits / math.exp(power), truth), bounds=(low, high), method="bounded")
    return float(math.exp(found.x))


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


def fit_expected_dice(confidence: Floats, dice: Floats) -> ExpectedDice | None:
    """The line of least squares that never falls; None of fewer than `FEWEST_CASES` cases in which something was found.

    Parameters
    ----------
    confidence : (N,) mean probability over the foreground that was found, NaN where there was none
    dice : (N,) of the case; where nothing was found 1 if nothing is there, else 0

    Notes
    -----
    A straight line and not a staircase (isotonic regression): it gives no two cases the same place in the list of those to review. Where less
    confidence came with better masks the line is level: then confidence says nothing. A validation set in which something was always found knows
    nothing of empty masks, and they are expected to be wrong, so that somebody looks.
    """
    if confidence.shape != dice.shape or confidence.ndim != 1:
        raise ShapeError(f"confidence has shape {confidence.shape}, dice {dice.shape}; expected (N,) of both")
    empty = np.isnan(confidence)
    x, y = confidence[~empty].astype(np.float64), dice[~empty].astype(np.float64)
    if len(x) < FEWEST_CASES:
        return None
    apart = x - x.mean()
    slope = max(0.0, float((apart * y).sum() / (apart**2).sum())) if apart.any() else 0.0
    at_one = float(y.mean() + slope * (1 - x.mean()))
    return ExpectedDice(at_half=at_one - slope / 2, at_one=at_one, when_empty=float(dice[empty].mean()) if empty.any() else 0.0)


def _check(logits: Floats, truth: NDArray[np.integer]) -> None:
    if logits.ndim != 2 or truth.shape != logits.shape[:1]:
        raise ShapeError(f"logits have shape {logits.shape}, the truth {truth.shape}; expected (N, K) and (N,)")
