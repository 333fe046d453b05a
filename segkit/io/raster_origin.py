"""The way back for pictures without a patient's space: PNG, JPEG, BMP, GIF and TIFF, stored lying on one of eight sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import MaskValuesError, SettingsError, ShapeError
from segkit.io.atomic import atomic_path
from segkit.io.origin import smallest_type

Array = NDArray[Any]

TIFF_ENDINGS = (".tif", ".tiff")

# How stored pixels come upright: rows and columns exchanged, then rows and columns turned round.
# The orientation tag (274) of TIFF 6.0, which Exif took over.
_STEPS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def upright(stored: Array, orientation: int, rows: int) -> Array:
    """Stored pixels as a person is meant to see them; `rows` is the axis of the rows, the columns follow it."""
    exchange, turn_rows, turn_columns = _STEPS[orientation]
    seen = np.swapaxes(stored, rows, rows + 1) if exchange else stored
    return _turned(seen, rows, turn_rows, turn_columns)


def as_stored(seen: Array, orientation: int, rows: int) -> Array:
    """The way back."""
    exchange, turn_rows, turn_columns = _STEPS[orientation]
    stored = _turned(seen, rows, turn_rows, turn_columns)
    return np.swapaxes(stored, rows, rows + 1) if exchange else stored


def known_orientation(value: object) -> int:
    """1 .. 8 as it stands; anything else means nothing, thus 1."""
    return int(value) if isinstance(value, int) and value in _STEPS else 1


@dataclass(frozen=True)
class RasterOrigin:
    """A mask lies on the raw pixels that the file stores, as every viewer of masks expects.

    Attributes
    ----------
    orientation : 1 .. 8, the Exif orientation that turned the pixels upright
    is_stack : the picture was read as a volume of pages
    mask_suffix : ".png" or ".tif"
    """

    orientation: int = 1
    is_stack: bool = False
    mask_suffix: str = ".png"

    def to_file(self, upright: Array) -> Array:
        return as_stored(upright, self.orientation, self._rows)

    def from_file(self, stored: Array) -> Array:
        return upright(stored, self.orientation, self._rows)

    def write(self, values: Array, path: Path) -> None:
        """Integers (H, W) or (S, H, W), or colours with a last axis of 3; PNG or TIFF as the ending says.

        Raises
        ------
        ShapeError, MaskValuesError
            Values of another shape; values that 16 bits don't hold.
        SettingsError
            An ending that is neither PNG's nor TIFF's, or PNG for a stack.
        """
        self._check(values, path)
        stored = np.ascontiguousarray(self.to_file(values), smallest_type(values))
        name = path.name.lower()
        if name.endswith(TIFF_ENDINGS):
            _write_tiff(stored, path, colour=values.ndim > self._rows + 2)
        elif name.endswith(".png") and not self.is_stack:
            write_png(path, stored)
        else:
            raise SettingsError(f"{path}: a mask {'of several slices is written as .tif' if self.is_stack else 'is written as .png or .tif'}; end the name so")

    @property
    def _rows(self) -> int:
        return 1 if self.is_stack else 0

    def _check(self, values: Array, path: Path) -> None:
        further = values.shape[self._rows + 2 :]
        colour = further == (3,) and values.dtype == np.uint8
        if values.ndim < self._rows + 2 or (further and not colour):
            raise ShapeError(f"{path}: can't write values of shape {values.shape} and type {values.dtype}; expected one integer for each pixel, or 8-bit RGB")
        if values.dtype.kind not in "iu" or (values.size and not 0 <= int(values.min()) <= int(values.max()) <= 0xFFFF):
            raise MaskValuesError(f"{path}: can't write label values of type {values.dtype}; expected whole numbers from 0 to 65535")


def _turned(array: Array, rows: int, turn_rows: bool, turn_columns: bool) -> Array:
    axes = tuple(axis for axis, turn in ((rows, turn_rows), (rows + 1, turn_columns)) if turn)
    return np.flip(array, axes) if axes else array


def write_png(path: Path, pixels: Array) -> None:
    """(H, W) uint8 or uint16, or (H, W, 3) uint8, as a PNG; `WriteError` where that fails."""
    from PIL import Image as Pillow

    with atomic_path(path) as temporary:
        Pillow.fromarray(pixels).save(temporary, format="PNG")


def write_channels(path: Path, pixels: Array) -> None:
    """(C, H, W) of any plain type, as a TIFF whose pixels have C samples; `WriteError` where that fails."""
    import tifffile

    colour = "rgb" if len(pixels) == 3 else "minisblack"
    samples = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, samples, photometric=colour, planarconfig="contig", compression="adobe_deflate", metadata=None)


def _write_tiff(stored: Array, path: Path, *, colour: bool) -> None:
    import tifffile

    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, stored, photometric="rgb" if colour else "minisblack", compression="adobe_deflate", metadata=None)
