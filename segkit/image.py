"""The first noun: a picture, or a volume as a stack of pictures, with the grid that it lies on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import ShapeError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels as the file stores them (after the format's own rescaling), upright as a person sees them.

    Attributes
    ----------
    pixels : (C, H, W), or (S, C, H, W) for a volume of S slices
        The file's own type (uint8, uint16, float32, ...) and range: nothing has been normalised.
    spacing_mm : (row, column), or (slice, row, column) for a volume; None where the file says nothing
        Distance between the centres of neighbouring pixels, in millimetres.
    source : the file it came from (for a DICOM series, its folder); None for an array
    origin : what the reader of this format needs to write a mask back onto the file's own grid
        Belongs to `segkit.io`; opaque elsewhere. None for an array.
    notes : what the reader changed or could not know, one sentence each, for people to read
    """

    pixels: Array
    spacing_mm: tuple[float, ...] | None = None
    source: Path | None = None
    origin: Any = None
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.pixels.ndim not in (3, 4) or 0 in self.pixels.shape:
            raise ShapeError(
                f"{self.name}: pixels have shape {self.pixels.shape}; expected (C, H, W), or (S, C, H, W) for a volume, none of them 0"
            )
        axes = self.pixels.ndim - 1
        if self.spacing_mm is not None and len(self.spacing_mm) != axes:
            raise ShapeError(f"{self.name}: spacing_mm has {len(self.spacing_mm)} numbers; expected {axes}, one for each axis of the grid")

    @property
    def name(self) -> str:
        """The file's name for messages."""
        return str(self.source) if self.source is not None else "array"

    @property
    def is_volume(self) -> bool:
        return self.pixels.ndim == 4

    @property
    def slices(self) -> Array:
        """(S, C, H, W) view of the pixels, S = 1 for a picture."""
        return self.pixels if self.is_volume else self.pixels[None]

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[-3])

    @property
    def shape(self) -> tuple[int, ...]:
        """The grid: (H, W), or (S, H, W) for a volume."""
        height, width = self.pixels.shape[-2:]
        return (self.pixels.shape[0], height, width) if self.is_volume else (height, width)


def image_from_array(array: Array, spacing_mm: tuple[float, ...] | None = None) -> Image:
    """An `Image` from (H, W), (H, W, 3), (H, W, 4) or (C, H, W).

    A last axis of 3 or 4 is colour (an alpha channel is left out); otherwise three axes are (C, H, W).
    A volume is handed over as ``Image(array[:, None])``, because (S, H, W) can't be told from (C, H, W).

    Raises
    ------
    ShapeError
        Any other number of axes.
    """
    array = np.asarray(array)
    if array.ndim == 2:
        return Image(array[None], spacing_mm)
    if array.ndim == 3 and array.shape[-1] in (3, 4) and array.shape[0] not in (1, 3):
        return Image(np.moveaxis(array[..., :3], -1, 0), spacing_mm)
    if array.ndim == 3:
        return Image(array, spacing_mm)
    raise ShapeError(f"array has shape {array.shape}; expected (H, W), (H, W, 3) or (C, H, W); for a volume use segkit.Image(array[:, None])")
