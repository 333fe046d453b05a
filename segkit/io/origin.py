"""What the formats of this room agree on: how to read, and the way back onto the file's own grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Array = NDArray[Any]


class ReadSettings(BaseModel):
    """How files are read.

    pages : what a multi-page TIFF or an animation is: refused, its first page, or a stack of slices.
    slice_axis : which voxel axis of a NIfTI volume runs through the slices; "auto" is the axis with the widest spacing, the last one among equals.
    max_pixels : a file whose header claims more samples (all slices and channels) is refused before it is decoded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pages: Literal["error", "first", "all"] = "error"
    slice_axis: Literal["auto"] | Literal[0, 1, 2] = "auto"
    max_pixels: int = Field(default=2**28, ge=1)


class Origin(Protocol):
    """Kept with each `Image`: the file's own grid, and how a mask is written onto it.

    "Upright" is the grid of `Image.pixels`: (H, W) or (S, H, W), with any number of further axes behind it.
    """

    mask_suffix: str

    def to_file(self, upright: Array) -> Array:
        """Upright grid -> the axes and orientation that the file stores."""
        ...

    def from_file(self, stored: Array) -> Array:
        """The way back."""
        ...

    def write(self, values: Array, path: Path) -> None:
        """Write upright values: integers (H, W) or (S, H, W), or colours (H, W, 3) uint8.

        A volume format also takes one further axis of float32 (class probabilities).
        """
        ...


def smallest_type(values: Array) -> type[np.uint8] | type[np.uint16]:
    """The narrowest unsigned type that holds the label values."""
    return np.uint8 if values.size == 0 or int(values.max()) <= 0xFF else np.uint16
