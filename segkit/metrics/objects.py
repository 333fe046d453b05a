"""Objects of masks, and which of two masks share pixels: what AP is read from.

::

    mask      objects                     objects touch at edges and corners,
    ##....#   11....2                     in a volume also across slices
    ..#...#   ..1...2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.metrics.distances import Bools

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class ObjectOverlaps:
    """The objects of a prediction and of a truth, and the P pairs of them that share pixels.

    Attributes
    ----------
    predicted, true : number of objects in each of the two masks
    prediction, truth : (P,) the object of each pair, counted from 0
    shared_px, union_px : (P,) pixels of both objects of a pair, and of either
    """

    predicted: int
    true: int
    prediction: Integers
    truth: Integers
    shared_px: Integers
    union_px: Integers


def pieces(mask: Bools) -> Integers:
    """(H, W) or (S, H, W) -> the same with 1, 2, ... for the connected pieces, 0 outside."""
    from scipy.ndimage import label

    numbered: Integers = label(mask, structure=np.ones((3,) * mask.ndim))[0]
    return numbered


def object_overlaps(prediction: Integers, truth: Integers) -> ObjectOverlaps:
    """From two masks of one shape that number their objects: 0 is background, each other value, in any order, one object."""
    prediction_px, ours = _counted(prediction)
    truth_px, theirs = _counted(truth)
    both = (ours > 0) & (theirs > 0)
    pairs, shared_px = np.unique((ours[both] - 1) * truth_px.size + theirs[both] - 1, return_counts=True)
    first, second = np.divmod(pairs, max(1, truth_px.size))
    return ObjectOverlaps(prediction_px.size, truth_px.size, first, second, shared_px, prediction_px[first] + truth_px[second] - shared_px)


def _counted(objects: Integers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of each object, and the mask with its objects numbered 1, 2, ... without gaps."""
    inside = objects != 0
    _, numbers, counts = np.unique(objects[inside], return_inverse=True, return_counts=True)
    numbered = np.zeros(objects.shape, np.int64)
    numbered[inside] = numbers + 1
    return counts, numbered
