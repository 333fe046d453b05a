"""Metrics: how well a prediction agrees with the truth, one number for each class of each case, and their means.

A new metric is one function of a `Comparison` and one line in `METRICS`. Nothing here needs torch, and scipy is
imported with the first distance, so that `segkit evaluate` starts quickly.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from numpy.typing import NDArray

from segkit.metrics.catalogue import DEFAULT_METRICS, METRICS, Metric, check_names, measure
from segkit.metrics.centrelines import cldice
from segkit.metrics.comparison import Comparison, compare, compare_objects
from segkit.metrics.instances import ap, ap50
from segkit.metrics.overlap import dice, iou, precision, recall
from segkit.metrics.settings import DEFAULT_SETTINGS, EmptyRule, ScoreSettings
from segkit.metrics.summary import EMPTY_MASKS, CaseScore, ClassScore, ClassSummary, Evaluation
from segkit.metrics.surface import assd, hd95, nsd

__all__ = [
    "DEFAULT_METRICS",
    "DEFAULT_SETTINGS",
    "EMPTY_MASKS",
    "METRICS",
    "CaseScore",
    "ClassScore",
    "ClassSummary",
    "Comparison",
    "EmptyRule",
    "Evaluation",
    "Metric",
    "ScoreSettings",
    "ap",
    "ap50",
    "assd",
    "check_names",
    "cldice",
    "compare",
    "compare_objects",
    "dice",
    "hd95",
    "iou",
    "measure",
    "nsd",
    "precision",
    "recall",
    "score",
]


def score(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    num_classes: int,
    spacing_mm: Sequence[float] | None = None,
    ignore_index: int = 255,
    metrics: Collection[str] = DEFAULT_METRICS,
    settings: ScoreSettings = DEFAULT_SETTINGS,
) -> dict[int, dict[str, float]]:
    """Metrics of all classes but the background, from class indices.

    Parameters
    ----------
    prediction, truth : (H, W) or (S, H, W) class indices 0 .. K-1
    num_classes : K, with the background
    spacing_mm : (row, column) or (slice, row, column); None measures distances in pixels
    ignore_index : pixels that hold it in the truth count nowhere
    metrics : names out of `METRICS`; others are not computed
    settings : the tolerance, and the rule for empty masks

    Returns
    -------
    class index -> metric -> number. Where both masks of a class are empty all are NaN; where one is, overlaps are 0
    and distances NaN (and so is precision where nothing was predicted, recall where nothing was there), unless
    `ScoreSettings.empty` says otherwise.

    Raises
    ------
    ShapeError
        The two masks differ in shape.
    SettingsError
        A metric that is not known, or a spacing that does not fit the masks.

    >>> import numpy as np
    >>> score(np.array([[0, 1, 1, 0]]), np.array([[0, 0, 1, 1]]), 2, metrics=("dice", "hd95"))
    {1: {'dice': 0.5, 'hd95': 0.95}}
    """
    check_names(metrics)
    comparisons = compare(prediction, truth, num_classes, spacing_mm, ignore_index, settings)
    return {index: {name: measure(name, comparison) for name in metrics} for index, comparison in comparisons.items()}
