"""How large, how many and how thick the objects of a value are, slice by slice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

KEPT = 256
"""Areas remembered of each value of each case, evenly over their order of size."""

APART = 1e6
"""Distance between slices, in pixels: so far away that no slice is nearer to a pixel than its own background."""

_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[1] = True  # pixels touch also at corners, slices do not


@dataclass(frozen=True, eq=False)
class Objects:
    """Connected pieces (also over corners) of one value in one case; a volume's slice by slice.

    Attributes
    ----------
    count : number of pieces
    areas_px : sorted, at most `KEPT` of them
    inner_max_px, inner_median_px : of the distances from the value's pixels to the nearest other pixel; 1 for a line of one pixel
    """

    count: int
    areas_px: NDArray[np.int64]
    inner_max_px: float
    inner_median_px: float


def measure_objects(mask: NDArray[np.bool_]) -> Objects | None:
    """(S, H, W) -> its pieces; None where there are none. Beyond the border lies nothing: what is cut off there is not thinner."""
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box:
        return None
    part = mask[tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box[0])]
    pieces, count = ndimage.label(part, structure=_IN_PLANE)
    areas = np.sort(np.bincount(pieces.ravel())[1:])
    if part.all():
        inner = np.full(1, max(part.shape[1:]) / 2)
    else:
        inner = ndimage.distance_transform_edt(part, sampling=(APART, 1, 1))[part]
        inner = np.minimum(inner, max(part.shape[1:]))  # a slice without any background
    return Objects(count, areas[np.linspace(0, count - 1, min(count, KEPT)).astype(int)], float(inner.max()), float(np.median(inner)))


def pieces_per_value(stack: NDArray[np.integer]) -> float:
    """(S, H, W) -> connected pieces of one value over the values there are, both counted slice by slice and without 0; 1 where each value is one piece."""
    from skimage.measure import label

    pieces = sum(int(label(plane, background=0, connectivity=2).max()) for plane in stack)
    values = sum(np.count_nonzero(np.unique(plane)) for plane in stack)
    return pieces / max(1, values)


def merged(parts: Iterable[Objects]) -> Objects | None:
    """The pieces of several values as those of one class; the medians weigh alike."""
    several = list(parts)
    if not several:
        return None
    return Objects(
        sum(part.count for part in several),
        np.sort(np.concatenate([part.areas_px for part in several])),
        max(part.inner_max_px for part in several),
        float(np.median([part.inner_median_px for part in several])),
    )
