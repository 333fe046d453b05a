"""What the scored cases look like: how large each class is, where it lies, how bright the picture is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.image import Image
from segkit.labels import IGNORE_INDEX, Mask

SAMPLE = 2**22
"""Pixels of a slice that are looked at, at most; of larger ones every second, third, ... row and column."""


@dataclass(frozen=True)
class Place:
    """A class of a case.

    row, column : of its centre, 0 to 1
    contrast : brightness of the class less that of the rest, in deviations of the picture, without its sign
    """

    row: float
    column: float
    contrast: float

    @property
    def from_centre(self) -> float:
        """0 in the centre of the picture, 1 in a corner."""
        return math.hypot(self.row - 0.5, self.column - 0.5) / math.hypot(0.5, 0.5)


@dataclass(frozen=True)
class Sight:
    """A case: its mean brightness in the units of its file, and each class that it holds."""

    brightness: float
    places: Mapping[str, Place]


def look(image: Image, truth: Mask) -> Sight:
    """One case; a volume is seen from the front, all slices at once."""
    indices = truth.indices if image.is_volume else truth.indices[None]
    step = max(1, math.ceil(math.sqrt(indices[0].size / SAMPLE)))
    thin = indices[:, ::step, ::step]                                               # (S, h, w)
    grey = image.slices[:, :, ::step, ::step].mean(axis=1, dtype=np.float64)        # (S, h, w)
    found = {name: place for index, name in enumerate(truth.labels.names) if index and (place := _place(grey, thin == index, thin != IGNORE_INDEX))}
    return Sight(float(grey.mean()), found)


def _place(grey: NDArray[Any], mask: NDArray[np.bool_], known: NDArray[np.bool_]) -> Place | None:
    """None of a class that is not there."""
    if not mask.any():
        return None
    rows, columns = (np.flatnonzero(mask.any(axis=other)) for other in ((0, 2), (0, 1)))
    weights = mask.sum(axis=0)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    row = float((weights.sum(axis=1) @ (np.arange(rows[0], rows[-1] + 1) + 0.5)) / weights.sum()) / mask.shape[1]
    column = float((weights.sum(axis=0) @ (np.arange(columns[0], columns[-1] + 1) + 0.5)) / weights.sum()) / mask.shape[2]
    rest, deviation = known & ~mask, float(grey.std())
    contrast = abs(float(grey[mask].mean() - grey[rest].mean())) / deviation if rest.any() and deviation > 0 else 0.0
    return Place(row, column, contrast)
