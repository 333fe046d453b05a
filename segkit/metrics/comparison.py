"""What each metric looks at: one class, in the prediction and in the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SettingsError, ShapeError
from segkit.metrics.distances import Bools, SurfaceDistances, surface_distances
from segkit.metrics.objects import Integers, ObjectOverlaps, object_overlaps, pieces
from segkit.metrics.settings import DEFAULT_SETTINGS, ScoreSettings


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two masks on one grid; what several metrics need is computed once, when the first asks for it.

    Attributes
    ----------
    prediction, truth : (H, W) or (S, H, W) bool
    spacing_mm : (row, column) or (slice, row, column); None measures distances in pixels
    settings : what metrics take besides masks; a tolerance is in the unit of the spacing
    objects : prediction and truth as integers that number their objects, 0 outside; None takes the connected pieces of the masks

    Raises
    ------
    ShapeError
        The two masks differ in shape.
    SettingsError
        The spacing has another number of axes, or is not above 0.
    """

    prediction: Bools
    truth: Bools
    spacing_mm: Sequence[float] | None = None
    settings: ScoreSettings = DEFAULT_SETTINGS
    objects: tuple[Integers, Integers] | None = None

    def __post_init__(self) -> None:
        _check_shapes(self.prediction, self.truth)
        _check_spacing(self.spacing_mm, self.truth.ndim)

    @cached_property
    def both_px(self) -> int:
        """Pixels of the class in both masks."""
        return int(np.count_nonzero(self.prediction & self.truth))

    @cached_property
    def prediction_px(self) -> int:
        return int(np.count_nonzero(self.prediction))

    @cached_property
    def truth_px(self) -> int:
        return int(np.count_nonzero(self.truth))

    @property
    def both_empty(self) -> bool:
        return self.prediction_px == self.truth_px == 0

    @property
    def diagonal(self) -> float:
        """The largest distance on the grid, from one corner to the opposite one, in the unit of the spacing."""
        return math.hypot(*((size - 1) * step for size, step in zip(self.truth.shape, self._spacing, strict=True)))

    @property
    def _spacing(self) -> Sequence[float]:
        return (1.0,) * self.truth.ndim if self.spacing_mm is None else self.spacing_mm

    @cached_property
    def distances(self) -> SurfaceDistances | None:
        """Between the two surfaces; None where a mask is empty and has none."""
        return surface_distances(self.prediction, self.truth, self._spacing)

    @cached_property
    def overlaps(self) -> ObjectOverlaps:
        """Between the objects of the two masks."""
        return object_overlaps(*(self.objects or (pieces(self.prediction), pieces(self.truth))))


def compare(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    num_classes: int,
    spacing_mm: Sequence[float] | None = None,
    ignore_index: int = 255,
    settings: ScoreSettings = DEFAULT_SETTINGS,
) -> dict[int, Comparison]:
    """One comparison for each class but the background, from class indices.

    Parameters
    ----------
    prediction, truth : (H, W) or (S, H, W) class indices 0 .. K-1
    num_classes : K, with the background
    spacing_mm, settings : as in `Comparison`
    ignore_index : pixels that hold it in the truth are cut out of both masks: they count nowhere

    Raises
    ------
    ShapeError, SettingsError
        As in `Comparison`.
    """
    _check_shapes(prediction, truth)
    if truth.max(initial=0) >= ignore_index:  # three times as quick as to look for it
        prediction = np.where(truth == ignore_index, ignore_index, prediction)
    return {index: Comparison(prediction == index, truth == index, spacing_mm, settings) for index in range(1, num_classes)}


def compare_objects(
    prediction: Integers, truth: Integers, spacing_mm: Sequence[float] | None = None, settings: ScoreSettings = DEFAULT_SETTINGS
) -> Comparison:
    """One comparison from two masks, (H, W) or (S, H, W), that number their objects: 0 is background, each other value one object.

    Raises
    ------
    ShapeError, SettingsError
        As in `Comparison`.
    """
    return Comparison(prediction != 0, truth != 0, spacing_mm, settings, (prediction, truth))


def _check_shapes(prediction: NDArray[Any], truth: NDArray[Any]) -> None:
    if prediction.shape != truth.shape:
        raise ShapeError(f"the prediction has shape {prediction.shape}, the truth {truth.shape}; masks are compared on one grid and never resized")


def _check_spacing(spacing_mm: Sequence[float] | None, axes: int) -> None:
    if spacing_mm is None:
        return
    if len(spacing_mm) != axes or not all(0 < step < np.inf for step in spacing_mm):
        raise SettingsError(f"spacing {tuple(spacing_mm)}: expected {axes} numbers above 0, one for each axis of the mask")
