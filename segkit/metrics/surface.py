"""Metrics that measure how far the two outlines lie apart, in millimetres or pixels; 0 is best.

Where a mask is empty there is no outline to measure from and they are NaN. `summary` counts those cases,
because leaving them out flatters a model that finds nothing where it is unsure.
"""

from __future__ import annotations

import math

import numpy as np

from segkit.metrics.comparison import Comparison


def hd95(comparison: Comparison) -> float:
    """95th percentile of the Hausdorff distance: 19 of 20 outline pixels of either mask lie this close to the other's.

    The percentile of each direction (linear between neighbours), then the larger of the two, as MONAI's
    `compute_hausdorff_distance(percentile=95)`; a percentile of both directions pooled is smaller.
    Huttenlocher et al. (1993), https://doi.org/10.1109/34.232073
    """
    distances = comparison.distances
    if distances is None:
        return math.nan
    return float(max(np.percentile(distances.to_truth, 95), np.percentile(distances.to_prediction, 95)))


def assd(comparison: Comparison) -> float:
    """Average symmetric surface distance: the mean over the outline pixels of both masks, each counted once.

    MONAI's `compute_average_surface_distance(symmetric=True)`.
    Heimann et al. (2009), https://doi.org/10.1109/TMI.2009.2013851
    """
    distances = comparison.distances
    if distances is None:
        return math.nan
    count = distances.to_truth.size + distances.to_prediction.size
    return float((distances.to_truth.sum() + distances.to_prediction.sum()) / count)
