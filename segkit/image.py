"""The first noun: a picture, or a volume as a stack of pictures, with the grid that it lies on."""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SettingsError, ShapeError, UnsupportedError

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

    Raises
    ------
    ShapeError
        Other axes, or another number of spacings.
    UnsupportedError
        Complex numbers, bools, or no numbers at all.
    SettingsError
        A spacing that is not positive and finite.
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
        if self.pixels.dtype.kind not in "iuf":
            raise UnsupportedError(f"{self.name}: its pixels are of type {self.pixels.dtype}; expected whole or floating-point numbers")
        if self.spacing_mm is not None:
            self._check_spacing(self.spacing_mm, self.pixels.ndim - 1)

    def _check_spacing(self, spacing_mm: tuple[float, ...], axes: int) -> None:
        if np.shape(spacing_mm) != (axes,):
            raise ShapeError(f"{self.name}: spacing_mm has {np.size(spacing_mm)} numbers; expected {axes}, one for each axis of the grid")
        if not all(math.isfinite(step) and step > 0 for step in spacing_mm):
            raise SettingsError(f"{self.name}: spacing_mm is {', '.join(f'{step:g}' for step in spacing_mm)}; expected positive numbers of millimetres")

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


def image_from_array(array: Any, spacing_mm: tuple[float, ...] | None = None) -> Image:
    """An `Image` from (H, W), (H, W, 1), (H, W, 3), (H, W, 4) or (C, H, W), an array or what NumPy makes one of.

    A last axis of 1, 3 or 4 is grey or colour (an alpha channel is left out) where the first one is longer than that of grey or RGB; otherwise
    three axes are (C, H, W). A volume is handed over as ``Image(array[:, None])``, because (S, H, W) can't be told from (C, H, W).
    Bools are black and white, 0 and 255, as in a file of one bit a pixel.

    Raises
    ------
    ShapeError
        Any other number of axes.
    SettingsError
        No numbers: None, bytes, a list of unequal rows.
    UnsupportedError
        Complex numbers.
    """
    pixels = _numbers(array)
    notes: tuple[str, ...] = ()
    if pixels.dtype.kind == "b":
        pixels, notes = pixels * np.uint8(255), ("true and false taken as 255 and 0",)
    if pixels.ndim == 3 and pixels.shape[-1] in (1, 3, 4) and pixels.shape[0] not in (1, 3):
        pixels = np.moveaxis(pixels[..., :3], -1, 0)
    elif pixels.ndim == 2:
        pixels = pixels[None]
    elif pixels.ndim != 3:
        raise ShapeError(f"array has shape {pixels.shape}; expected (H, W), (H, W, 3) or (C, H, W); for a volume use segkit.Image(array[:, None])")
    return Image(pixels, spacing_mm, notes=notes)


def _numbers(array: Any) -> Array:
    try:
        numbers = np.asarray(array)
    except (ValueError, TypeError):
        numbers = np.array(None)
    if numbers.ndim == 0 or numbers.dtype.kind not in "biufc":
        raise SettingsError(f"{reprlib.repr(array)} ({type(array).__name__}) is no picture; give the name of a file, an array of numbers or a segkit.Image")
    return numbers
