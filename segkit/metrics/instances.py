"""Metrics that count objects: which of those that are there were found, each by one of those that were predicted.

The objects of a class are its connected pieces, or the numbers of label masks (cells that touch). A predicted object finds
a true one where their intersection over union is at least a threshold of 0.5 or more; each finds, and is found by, one at most.
With TP pairs, FP predicted objects without a true one and FN true ones without a predicted one:

::

    truth        11.22.33      TP = 2   (1 and 3)
    prediction   11..4455      FP = 1   (4: it shares one of three pixels with 2)
                               FN = 1   (2)                     AP = TP / (TP + FP + FN) = 2/4

This is the AP of cell segmentation: the Data Science Bowl of 2018 (Caicedo et al. 2019, https://doi.org/10.1038/s41592-019-0612-7), StarDist
and Cellpose. It is not COCO's, the area below a curve over confidences, which a mask does not hold. Cases are scored one by one and averaged.
"""

from __future__ import annotations

import math

import numpy as np

from segkit.metrics.comparison import Comparison
from segkit.metrics.objects import ObjectOverlaps

HALF = 10
"""An intersection over union of 0.5, in twentieths: whole numbers compare exactly."""


def ap50(comparison: Comparison) -> float:
    """AP at an intersection over union of 0.5 or more.

    TP, FP and FN are those of MONAI's `compute_panoptic_quality(match_iou_threshold=0.5)`, but for pairs at exactly 0.5:
    they count here, as in StarDist and Cellpose. NaN where neither mask holds an object, 0 where one of them holds none.
    """
    return _average_precision(comparison.overlaps, HALF)


def ap(comparison: Comparison) -> float:
    """The mean of the AP at the thresholds 0.50, 0.55, ... 0.95, as the Data Science Bowl of 2018 ranked by."""
    return float(np.mean([_average_precision(comparison.overlaps, twentieths) for twentieths in range(HALF, 20)]))


def _average_precision(overlaps: ObjectOverlaps, twentieths: int) -> float:
    found = _pairs_found(overlaps, twentieths)
    objects = overlaps.predicted + overlaps.true - found
    return found / objects if objects else math.nan


def _pairs_found(overlaps: ObjectOverlaps, twentieths: int) -> int:
    """Pairs that reach the threshold, no object in two of them.

    Above one half no object can be. At exactly one half it can where two objects are the halves of a third: two pairs of three objects, of which one counts.
    """
    reached = 20 * overlaps.shared_px >= twentieths * overlaps.union_px
    return int(np.unique(overlaps.prediction[reached]).size + np.unique(overlaps.truth[reached]).size - np.count_nonzero(reached))
