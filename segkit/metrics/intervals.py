"""How far a mean over cases would move with other patients: bootstrap intervals that draw patients, not pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segkit.errors import ShapeError

RESAMPLES = 2000

LEVEL = 0.95
"""Share of the draws whose mean lies within."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its interval, which are NaN where one group alone has a number; `groups` have one."""

    mean: float
    low: float
    high: float
    groups: int

    @property
    def is_known(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    def is_apart_from(self, other: Interval) -> bool:
        """Whether the two do not even touch; never where one is not known."""
        return self.high < other.low or other.high < self.low


def bootstrap_mean(scores: Floats, groups: Sequence[str], seed: int = 0) -> Interval:
    """Mean over classes of the means over cases, as `Evaluation.means` has it, and its percentile interval over `RESAMPLES` draws of the groups.

    The cases of a patient are alike, and so a draw takes or leaves them together: intervals over single pictures would be too narrow.

    Parameters
    ----------
    scores : (N, K), NaN where a class of a case has no number; such a number is in no mean
    groups : N names, of patients or whatever must stay together

    Raises
    ------
    ShapeError
        Not a group for each case.

    Notes
    -----
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. With fewer than about ten groups percentile intervals are too narrow.

    >>> import numpy as np
    >>> bootstrap_mean(np.array([[0.5], [0.5], [1.0]]), ["a", "a", "a"])
    Interval(mean=0.6666666666666666, low=nan, high=nan, groups=1)
    """
    if scores.ndim != 2 or len(groups) != len(scores):
        raise ShapeError(f"scores have shape {scores.shape}, and there are {len(groups)} groups; expected (N, K) and N")
    known = ~np.isnan(scores)
    used = known.any(axis=1)
    names, which = np.unique(np.asarray(groups, dtype=object)[used].astype(str), return_inverse=True)
    sums, counts = (np.zeros((len(names), scores.shape[1])) for _ in range(2))
    np.add.at(sums, which, np.where(known, scores, 0)[used])
    np.add.at(counts, which, known[used])
    mean = float(_mean(sums.sum(axis=0), counts.sum(axis=0)))
    if len(names) < 2:
        return Interval(mean, math.nan, math.nan, len(names))
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)    # that each group is drawn
    low, high = np.quantile(_mean(times @ sums, times @ counts), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high), len(names))


def _mean(sums: Floats, counts: Floats) -> Floats:
    """(..., K) of each class -> (...) mean over the classes that have any; NaN of none."""
    there = counts > 0
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=there)
    classes = there.sum(axis=-1)
    return np.asarray(np.where(classes > 0, means.sum(axis=-1) / np.maximum(classes, 1), math.nan))
