"""Prepare and undo: from a picture's own grid and range to the model's, and scores back onto the picture's grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from segkit.errors import ChannelsError
from segkit.image import Array, Image
from segkit.preprocess.geometry import Native, ResizeSettings, enlarge_rows, resize, resize_indices
from segkit.preprocess.intensity import FixedRange, IntensitySettings, Normalise

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey picture (ITU-R BT.601)."""


LARGE = 2**23
"""Slices of more pixels are made ready, and their scores brought back, piece by piece: as floats they would fill the memory."""


class PreprocessSettings(BaseModel):
    """How pictures are made ready; stored in the model, so that prediction does what training did.

    channels : channels of a picture, or of each slice of a volume.
    convert_channels : a colour picture becomes grey by `LUMA` for a model of one channel, a grey one is repeated for a model of three;
        without it both are refused.
    context : so many neighbouring slices on either side go in as further channels (beyond a volume's ends its last slice is repeated).
    intensity : "fixed", "window" or "zscore".
    resize : "native", "long_side" or "spacing".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(default=3, ge=1, le=4096)
    convert_channels: bool = False
    context: int = Field(default=0, ge=0, le=16)
    intensity: IntensitySettings = FixedRange()
    resize: ResizeSettings = Native()

    @property
    def in_channels(self) -> int:
        """Channels that the network sees."""
        return self.channels * (1 + 2 * self.context)


@dataclass(frozen=True)
class Preparation:
    """The way to the model's grid and back, for one picture or volume."""

    normalise: Normalise
    convert: bool
    channels: int
    context: int
    shape: tuple[int, int]
    target: tuple[int, int]

    def walk(self, slices: Array) -> Iterator[Tensor]:
        """(S, C, H, W) of the file -> for each slice (C' (1 + 2 context), H', W') float32, itself and its neighbours in their order."""
        ready: dict[int, Tensor] = {}
        for plane in range(len(slices)):
            around = self._around(plane, len(slices))
            ready = {number: ready[number] if number in ready else self.apply(slices[number]) for number in dict.fromkeys(around)}
            yield torch.cat([ready[number] for number in around])

    def views(self, slices: Array) -> Iterator[Tensor | View]:
        """As `walk`, but what is large stays as the file has it, and is made ready window by window."""
        if self.target != self.shape or self.shape[0] * self.shape[1] <= LARGE:
            return self.walk(slices)
        return (View(self, [slices[number] for number in self._around(plane, len(slices))]) for plane in range(len(slices)))

    def apply(self, pixels: Array) -> Tensor:
        """(C, H, W) of the file -> (C', H', W') float32 on the model's grid and in its range."""
        if self.target == self.shape or self.shape[0] * self.shape[1] <= LARGE:
            return resize(self.bring_into_range(pixels), self.target)
        rows = max(1, LARGE // self.shape[1])  # of a large picture the columns first, some rows at a time: it never stands there as floats
        bands = (self.bring_into_range(pixels[:, first : first + rows]) for first in range(0, self.shape[0], rows))
        return resize(torch.cat([resize(band, (band.shape[1], self.target[1])) for band in bands], dim=1), self.target)

    def bring_into_range(self, pixels: Array) -> Tensor:
        """(C, h, w) of the file, a part or all of it -> (C', h, w) float32 in the model's range."""
        picture = self.normalise(torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)))
        return _convert(picture, self.channels) if self.convert else picture

    def undo(self, logits: Tensor) -> Tensor:
        """(K, H', W') scores -> (K, H, W) on the picture's own grid."""
        return resize(logits, self.shape)

    def undo_in_bands(self, bands: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
        """(first row, (K, r', W')) from the first band to the last -> (first row, (K, r, W)) on the picture's own grid, together the same as `undo`.

        On the model's own grid they pass as they come; where a small map becomes a large picture, that is done some rows at a time.
        """
        if self.target == self.shape:
            yield from bands
            return
        logits = torch.cat([band for _, band in bands], dim=1)
        height, width = self.shape
        if height * width <= LARGE or height < self.target[0] or width < self.target[1]:
            yield 0, self.undo(logits)
            return
        for first in range(0, height, rows := max(1, LARGE // width)):
            yield first, enlarge_rows(logits, self.shape, first, min(height, first + rows))

    def _around(self, plane: int, count: int) -> list[int]:
        """A slice and its neighbours; beyond the ends the last one again."""
        return [min(max(plane + step, 0), count - 1) for step in range(-self.context, self.context + 1)]

    def apply_to_truth(self, indices: Array) -> Tensor:
        """(H, W) class indices -> (H', W') on the model's grid."""
        return resize_indices(torch.from_numpy(np.ascontiguousarray(indices)), self.target)


class View:
    """A large slice with its neighbours on the model's grid, (C', H, W): a tensor to who asks for windows of it, the file's pixels in memory."""

    def __init__(self, preparation: Preparation, around: Sequence[Array]) -> None:
        self._preparation, self._around = preparation, around
        self.shape = (preparation.channels * len(around), *preparation.shape)

    def __getitem__(self, place: tuple[slice, slice, slice]) -> Tensor:
        channels, rows, columns = place
        return torch.cat([self._preparation.bring_into_range(pixels[:, rows, columns]) for pixels in self._around])[channels]


def prepare(image: Image, settings: PreprocessSettings) -> Preparation:
    """Look at the whole picture or volume once; then its slices go through `Preparation.walk`.

    Raises
    ------
    ChannelsError
        The picture has other channels than the model takes, and converting them was not asked for.
    RangeError, SettingsError
        See the rules of `intensity` and `geometry`.
    """
    convert = image.channels != settings.channels
    if convert and not (settings.convert_channels and {image.channels, settings.channels} == {1, 3}):
        hint = "; allow it with --convert-channels (preprocess.convert_channels)" if {image.channels, settings.channels} == {1, 3} else ""
        raise ChannelsError(f"{image.name}: has {_channels(image.channels)}, the model takes {_channels(settings.channels)}{hint}")
    height, width = image.pixels.shape[-2:]
    return Preparation(settings.intensity.measure(image), convert, settings.channels, settings.context, (height, width), settings.resize.target(image))


def _convert(picture: Tensor, channels: int) -> Tensor:
    if channels == 1:
        return torch.tensordot(picture.new_tensor(LUMA), picture, dims=1)[None]
    return picture.expand(channels, -1, -1)


def _channels(count: int) -> str:
    return {1: "1 channel (grey)", 3: "3 channels (colour)"}.get(count, f"{count} channels")


__all__ = ["LARGE", "Preparation", "PreprocessSettings", "View", "prepare"]
