"""The second noun: which number in a mask means what, and the mask itself.

A network speaks of class indices 0 .. K-1, people's masks hold values of their own (0 and 255, 0 and 38 and 75,
colours). `Labels` is the one place that translates, both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import MaskValuesError, SettingsError

Array = NDArray[Any]

COLOURS = np.dtype(np.uint32)
"""Type of the colours 0xRRGGBB of a mask, and of nothing else that comes out of a mask file: green and blue alone look like numbers."""

GREY = 0x010101
"""Times a grey value from 0 to 255 it is that grey as a colour."""

IGNORE_INDEX = 255
"""Class index of a pixel that is neither trained on nor scored."""

MAX_CLASSES = 254

COUNTED_AT_ONCE = 2**20
"""Pixels: numpy makes eight bytes of each that it counts, of a whole slide gigabytes."""


@dataclass(frozen=True)
class Labels:
    """Names of the classes and their values in the user's masks; the first is the background.

    Attributes
    ----------
    names : K names, class 0 (background) first
    values : K distinct non-negative integers, the values in the masks; a colour is 0xRRGGBB
    ignore : value in the masks of pixels that count neither in training nor in scores, or None
    colour : the values are colours, masks are RGB
    threshold : for two classes whose masks are not clean (JPEG, antialiased): above it a pixel counts as the larger value
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignore: int | None = None
    colour: bool = False
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= MAX_CLASSES or len(self.names) != len(self.values):
            raise SettingsError(
                f"labels: {len(self.names)} names and {len(self.values)} values; expected the same number, 2 to {MAX_CLASSES}, background first"
            )
        taken = [*self.values, *([] if self.ignore is None else [self.ignore])]
        if len(set(self.names)) != len(self.names) or len(set(taken)) != len(taken):
            raise SettingsError(f"labels: {self.mapping} with ignore={self.ignore}: each name and each value may stand once")
        highest = 0xFFFFFF if self.colour else 0xFFFF
        if min(taken) < 0 or max(taken) > highest:
            raise SettingsError(f"labels: {self.mapping}: values lie in 0..{highest}")
        if self.threshold is not None and (len(self.names) != 2 or self.colour):
            raise SettingsError("labels: a mask threshold is for exactly two classes with plain values")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, int | str], *, ignore: int | str | None = None, threshold: float | None = None) -> Labels:
        """From ``{"background": 0, "vessel": 255}``, or colours: ``{"background": "#000000", "nerve": "#ff0000"}``."""
        colour = any(isinstance(value, str) for value in mapping.values())
        values = tuple(_value(name, value) for name, value in mapping.items())
        return cls(tuple(mapping), values, None if ignore is None else _value("ignore", ignore), colour, threshold)

    @property
    def mapping(self) -> dict[str, int | str]:
        """The way back: what `from_mapping` was given."""
        return {name: f"#{value:06x}" if self.colour else value for name, value in zip(self.names, self.values, strict=True)}

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @property
    def foreground(self) -> tuple[str, ...]:
        """All names but the background's."""
        return self.names[1:]

    def encode(self, raw: Array, name: str = "mask") -> NDArray[np.uint8]:
        """Values of a mask file, any shape -> class indices 0 .. K-1, `IGNORE_INDEX` where ignored.

        Raises
        ------
        MaskValuesError
            The mask holds values that no label names; the message has the counts and what to do.
        """
        if self.colour and raw.dtype != COLOURS and raw.size and int(raw.max()) <= 0xFF:
            raw = raw.astype(np.int64) * GREY                                   # a grey mask among coloured ones: black, white
        if self.threshold is not None:
            low, high = sorted(self.values)
            kept = raw if self.ignore is None else np.where(raw == self.ignore, low, raw)
            thresholded = np.where(kept > self.threshold, high, low)
            raw = thresholded if self.ignore is None else np.where(raw == self.ignore, raw, thresholded)
        indices = np.full(raw.shape, self.num_classes, np.uint8)
        for index, value in enumerate(self.values):
            indices[raw == value] = index
        if self.ignore is not None:
            indices[raw == self.ignore] = IGNORE_INDEX
        strangers = indices == self.num_classes
        if strangers.any():
            raise MaskValuesError(f"{name}: {_histogram(raw[strangers], self.colour)} but the labels are {self.mapping}; {self._advice(raw)}")
        return indices

    def decode(self, indices: Array) -> Array:
        """Class indices -> the user's own values: uint8 or uint16, for colours (..., 3) uint8."""
        size = IGNORE_INDEX + 1
        table = np.zeros(size, np.uint32)
        table[: self.num_classes] = self.values
        if self.ignore is not None:
            table[IGNORE_INDEX] = self.ignore
        if self.colour:
            channels = np.stack([table >> 16, table >> 8, table], axis=-1) & 0xFF
            return channels.astype(np.uint8)[indices]
        return table.astype(np.uint8 if table.max() <= 0xFF else np.uint16)[indices]

    def _advice(self, raw: Array) -> str:
        if self.num_classes == 2 and not self.colour and len(np.unique(raw)) > 3:
            low, high = sorted(self.values)
            middle = (low + high) // 2
            return f"if the mask is antialiased or was a JPEG, set a mask threshold (data.mask_threshold={middle} or --mask-threshold), else name every value"
        return "name every value (data.labels or --labels), or have it ignored (data.ignore)"


@dataclass(frozen=True, eq=False)
class Mask:
    """A class for every pixel of a picture's own grid.

    Attributes
    ----------
    indices : (H, W) or (S, H, W) uint8, class indices 0 .. K-1, `IGNORE_INDEX` where a truth says nothing
    labels : what the indices mean
    spacing_mm : as the picture's, or None
    """

    indices: NDArray[np.uint8]
    labels: Labels
    spacing_mm: tuple[float, ...] | None = None

    @property
    def values(self) -> Array:
        """The user's own label values: what is written to a file."""
        return self.labels.decode(self.indices)

    def areas_px(self) -> dict[str, int]:
        """Pixels (voxels for a volume) of each foreground class."""
        counts = np.zeros(IGNORE_INDEX + 1, np.int64)
        flat = self.indices.reshape(-1)
        for first in range(0, flat.size, COUNTED_AT_ONCE):
            counts += np.bincount(flat[first : first + COUNTED_AT_ONCE], minlength=len(counts))
        return {name: int(counts[index]) for index, name in enumerate(self.labels.names) if index > 0}

    def areas_mm(self) -> dict[str, float] | None:
        """Area in mm² (volume in mm³) of each foreground class; None where the spacing is unknown."""
        if self.spacing_mm is None:
            return None
        pixel = float(np.prod(self.spacing_mm))
        return {name: count * pixel for name, count in self.areas_px().items()}


def _value(name: str, value: int | str) -> int:
    if isinstance(value, str):
        digits = value.removeprefix("#")
        if len(digits) != 6 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            raise SettingsError(f"labels: {name}: {value!r} is neither a number nor a colour like '#ff0000'")
        return int(digits, 16)
    return int(value)


def _histogram(strangers: Array, colour: bool) -> str:
    values, counts = np.unique(strangers, return_counts=True)
    shown = ", ".join(f"{f'#{int(value):06x}' if colour else f'{value:g}'} ({count} px)" for value, count in list(zip(values, counts, strict=True))[:8])
    return f"holds {len(values)} value{'s' if len(values) > 1 else ''} that no label names: {shown}{', …' if len(values) > 8 else ''}"
