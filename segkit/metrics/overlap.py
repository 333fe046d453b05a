"""Metrics that count pixels. With A the prediction, B the truth, and |A| the number of pixels of A:

::

    A   .###..        |A| = 3      dice       2 |A and B| / (|A| + |B|)   = 4/7
    B   ..####        |B| = 4      iou        |A and B| / |A or B|        = 2/5
                |A and B| = 2      precision  |A and B| / |A|             = 2/3
                 |A or B| = 5      recall     |A and B| / |B|             = 2/4

Each lies in [0, 1]. Where one of the masks is empty they are 0, where both are they are NaN: nothing was there
to find and nothing was found. A share of an empty mask is NaN too: precision where nothing was predicted, recall
where nothing was there.
"""

from __future__ import annotations

import math

from segkit.metrics.comparison import Comparison


def dice(comparison: Comparison) -> float:
    """Sørensen-Dice coefficient. Dice (1945), https://doi.org/10.2307/1932409"""
    return _share(2 * comparison.both_px, comparison.prediction_px + comparison.truth_px)


def iou(comparison: Comparison) -> float:
    """Intersection over union. Jaccard (1912), https://doi.org/10.1111/j.1469-8137.1912.tb05611.x"""
    return _share(comparison.both_px, comparison.prediction_px + comparison.truth_px - comparison.both_px)


def precision(comparison: Comparison) -> float:
    """The share of what was predicted that is there; also called positive predictive value."""
    return _share(comparison.both_px, comparison.prediction_px)


def recall(comparison: Comparison) -> float:
    """The share of what is there that was predicted; also called sensitivity."""
    return _share(comparison.both_px, comparison.truth_px)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
