"""A metric of thin structures (vessels, nerves, membranes): whether the centreline of each mask runs inside the other.

::

    truth       #########     centreline of the truth        inside the prediction: 7 of 9
    prediction  ####.###.     centreline of the prediction   inside the truth: 7 of 7
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.metrics.comparison import Comparison
from segkit.metrics.distances import Bools, bounding_box


def cldice(comparison: Comparison) -> float:
    """Centreline Dice: a gap weighs as much in a thin vessel as in a wide one.

    The harmonic mean of two shares: of the prediction's skeleton that lies in the truth, of the truth's that lies in the prediction.
    Skeletons are scikit-image's, on the grid of pixels whatever the spacing: Zhang and Suen (1984) in a picture, Lee et al. (1994) in
    a volume. MONAI has no such metric; its `SoftclDiceLoss` is a differentiable stand-in with other numbers.
    In [0, 1]; NaN where both masks are empty, 0 where one is.
    Shit et al. (CVPR 2021), https://arxiv.org/abs/2003.07311
    """
    if comparison.both_empty:
        return math.nan
    if not (comparison.prediction_px and comparison.truth_px):
        return 0.0
    correct = _share_inside(comparison.prediction, comparison.truth)
    complete = _share_inside(comparison.truth, comparison.prediction)
    return 2 * correct * complete / (correct + complete) if correct + complete else 0.0


def _share_inside(mask: Bools, other: Bools) -> float:
    """Of the skeleton of a mask that is not empty."""
    box = bounding_box(mask)
    skeleton = _skeleton(mask[box])
    return float(np.count_nonzero(skeleton & other[box]) / np.count_nonzero(skeleton))


def _skeleton(mask: Bools) -> Bools:
    from skimage.morphology import skeletonize

    thinned: NDArray[Any] = skeletonize(mask) > 0
    return thinned if thinned.any() else mask  # in volumes, thinning removes some objects of a few voxels altogether
