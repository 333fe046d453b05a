"""Surfaces of masks, and the distances between two of them: what HD95, ASSD and NSD are read from.

::

    mask      surface
    .......   .......
    .#####.   .#####.      a pixel of the mask with a neighbour (4 in a picture, 6 in a volume) outside of it;
    .#####.   .#...#.      beyond the border of the picture is outside
    .#####.   .#####.
    .......   .......
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

DENSE_PICTURE, DENSE_VOLUME = 0.03, 0.1
"""With a larger share of surface pixels, a search along lines or a distance transform is quicker than a search in a tree (measured)."""

REACH = 64
"""Columns to either side that a search along lines goes; beyond them a tree is quicker."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """From each surface pixel of one mask to the nearest surface pixel of the other, in the unit of the spacing."""

    to_truth: Floats       # one for each surface pixel of the prediction
    to_prediction: Floats  # one for each surface pixel of the truth

    @property
    def size(self) -> int:
        return self.to_truth.size + self.to_prediction.size


def surface(mask: Bools) -> Bools:
    """The pixels of a mask, any number of axes, that a step along one axis takes out of it or out of the picture."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        here, there = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] &= there[:-1]
        here[:-1] &= there[1:]
        here[[0, -1]] = False
    return mask & ~inside


def surface_distances(prediction: Bools, truth: Bools, spacing: Sequence[float]) -> SurfaceDistances | None:
    """Distances between the surfaces of two masks on one grid, (H, W) or (S, H, W); None where a mask is empty.

    Parameters
    ----------
    spacing : distance between neighbouring pixels along each axis; all ones for distances in pixels
    """
    if not (prediction.any() and truth.any()):
        return None
    box = bounding_box(prediction | truth)
    ours, theirs = surface(prediction[box]), surface(truth[box])
    nearest = _quickest(ours, theirs)
    return SurfaceDistances(nearest(ours, theirs, spacing), nearest(theirs, ours, spacing))


def _quickest(ours: Bools, theirs: Bools) -> Callable[[Bools, Bools, Sequence[float]], Floats]:
    share = (np.count_nonzero(ours) + np.count_nonzero(theirs)) / (2 * ours.size)
    if ours.ndim == 2:
        return _nearest_by_lines if share > DENSE_PICTURE else _nearest_by_tree
    return _nearest_by_transform if share > DENSE_VOLUME else _nearest_by_tree


def bounding_box(mask: Bools) -> tuple[slice, ...]:
    """The smallest box that holds all of a mask that is not empty."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        taken = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(taken[0]), int(taken[-1]) + 1))
    return tuple(box)


def _nearest_by_lines(start: Bools, end: Bools, spacing: Sequence[float]) -> Floats:
    """In a picture: the nearest end in a pixel's own column, then by way of the columns beside it."""
    height, width = end.shape
    squares = np.append(np.square(np.arange(height + 1) * spacing[0]), np.inf)
    reach = min(REACH, width - 1)
    in_column = np.full((height + 1, reach + width), np.inf)  # a margin before each row, and so behind it
    in_column[:-1, reach:] = squares.take(_rows_to_nearest(end))
    rows, columns = np.divmod(np.flatnonzero(start), width)
    nearest = in_column[rows, columns + reach]
    far = _look_beside(nearest, rows * in_column.shape[1] + columns + reach, in_column.ravel(), spacing[1], reach)
    if far.size:
        rest = np.zeros_like(start)
        rest[rows[far], columns[far]] = True
        nearest[far] = np.square(_nearest_by_tree(rest, end, spacing))
    return np.sqrt(nearest)


def _look_beside(nearest: Floats, points: NDArray[np.intp], in_column: Floats, spacing: float, reach: int) -> NDArray[np.intp]:
    """Lower squared distances in place, one column further to both sides at each step, while that can be nearer; those to which columns further away may be."""
    searching = np.arange(points.size)
    for step in range(1, reach + 1):
        can_be_nearer = nearest.take(searching) > (step * spacing) ** 2
        searching, points = searching.compress(can_be_nearer), points.compress(can_be_nearer)
        if not searching.size:
            break
        beside = np.minimum(in_column.take(points - step), in_column.take(points + step)) + (step * spacing) ** 2
        nearest[searching] = np.minimum(nearest.take(searching), beside)
    return searching.compress(nearest.take(searching) > ((reach + 1) * spacing) ** 2)


def _rows_to_nearest(end: Bools) -> NDArray[np.int32]:
    """(H, W) rows from each pixel to the nearest end in its column; H + 1 in a column without one."""
    height = len(end)
    steps = np.where(end, np.int32(0), np.int32(height + 1))
    for row in range(1, height):
        np.minimum(steps[row], steps[row - 1] + 1, out=steps[row])
    for row in range(height - 2, -1, -1):
        np.minimum(steps[row], steps[row + 1] + 1, out=steps[row])
    return steps


def _nearest_by_transform(start: Bools, end: Bools, spacing: Sequence[float]) -> Floats:
    from scipy.ndimage import distance_transform_edt

    distances: NDArray[Any] = distance_transform_edt(~end, sampling=spacing)
    return distances[start]


def _nearest_by_tree(start: Bools, end: Bools, spacing: Sequence[float]) -> Floats:
    from scipy.spatial import cKDTree

    apart = start & ~end  # where the two surfaces meet the distance is 0 and need not be searched
    tree = cKDTree(_positions(end, spacing), balanced_tree=False, compact_nodes=False)
    distances = np.zeros(np.count_nonzero(start))
    distances[apart[start]] = tree.query(_positions(apart, spacing))[0]
    return distances


def _positions(mask: Bools, spacing: Sequence[float]) -> Floats:
    """(points, axes) of the pixels of a mask."""
    indices = np.unravel_index(np.flatnonzero(mask), mask.shape)  # ten times as quick as np.argwhere
    return np.stack([index * step for index, step in zip(indices, spacing, strict=True)], axis=1)
