"""Cut and stitch: a picture into overlapping windows, and their scores back into one map.

Along one axis of 8 pixels, windows of 4 that share 1::

    pixel    0 1 2 3 4 5 6 7
    window   a a a a
                   b b b b
                     c c c c      moved back to end on the border

Where windows overlap their scores are averaged with weights that fall towards each window's border, because a
network knows least about the pixels whose surroundings it can't see.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from segkit.errors import SettingsError, ShapeError


class Sliceable(Protocol):
    """A (C, H, W) picture of which windows can be asked for: a tensor, or one that is made ready where it is looked at."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __getitem__(self, place: tuple[slice, slice, slice]) -> Tensor: ...


class TileSettings(BaseModel):
    """How prediction cuts large pictures.

    whole_up_to : pictures of at most so many pixels (on the model's grid) go through in one piece.
    tile : (rows, columns) of a window otherwise.
    overlap : share of a window that it has in common with its neighbour.
    skip_flat : windows whose pixels deviate by less than this (standard deviation of each channel, in the model's range of about -1 to 1) are taken for
        background without asking the network: the empty glass of a slide, the air around a body. 0 asks always. Not along the slices of a volume.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    whole_up_to: int = Field(default=1024 * 1024, ge=0)
    tile: tuple[int, int] = (768, 768)
    overlap: float = Field(default=0.125, ge=0, lt=1)
    skip_flat: float = Field(default=0.0, ge=0)


class Window(NamedTuple):
    """A rectangle of a picture: first row and column, and how many of each."""

    row: int
    column: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.row, self.row + self.height), slice(self.column, self.column + self.width)


def plan_windows(shape: tuple[int, int], tiles: TileSettings) -> list[Window]:
    """Windows that cover (H, W): the whole picture where it is small enough, else overlapping tiles of one size.

    Raises
    ------
    SettingsError
        A tile has no pixels.
    """
    height, width = shape
    if min(tiles.tile) < 1:
        raise SettingsError(f"predict.tiles.tile is {tiles.tile}; a tile has at least 1x1 pixels")
    if height * width <= tiles.whole_up_to:
        return [Window(0, 0, height, width)]
    tile_height, tile_width = min(height, tiles.tile[0]), min(width, tiles.tile[1])
    return [
        Window(row, column, tile_height, tile_width)
        for row in starts(height, tile_height, tiles.overlap)
        for column in starts(width, tile_width, tiles.overlap)
    ]


def starts(length: int, window: int, overlap: float) -> list[int]:
    """First pixel of each window along one axis; the last one ends on the border."""
    stride = max(1, int(window * (1 - overlap)))
    return [*range(0, length - window, stride), length - window]


def cut(picture: Sliceable, windows: Sequence[Window]) -> Tensor:
    """(C, H, W), or what is made ready window by window -> (N, C, h, w), one patch a window."""
    return torch.stack([picture[slice(None), rows, columns] for rows, columns in (window.slices for window in windows)])


class Band(NamedTuple):
    """Rows of a picture whose scores are final: the first one's number, and (K, rows, W)."""

    row: int
    logits: Tensor


class Stitcher:
    """The way back: logits of windows, added in the order of `plan_windows` -> bands of the picture, from its first row to its last.

    Memory holds one row of windows, however high the picture is.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._top = 0                           # rows above are handed out
        self._sum: Tensor | None = None         # (K, h, W) of the rows from `_top` on
        self._weight = torch.zeros(0, shape[1])  # (h, W)

    def add(self, logits: Tensor, window: Window) -> list[Band]:
        """(K, h, w) of one window -> the bands that are finished by it: those above its first row, and the rest with the last window.

        Raises
        ------
        ShapeError
            The logits are not of the window's size, the windows leave pixels out, or come in another order.
        """
        if tuple(logits.shape[1:]) != (window.height, window.width):
            raise ShapeError(f"logits of shape {tuple(logits.shape)} do not fit a window of {window.height}x{window.width}")
        if (window.height, window.width) == self._shape:
            return [Band(0, logits)]
        finished = [self._hand_out(window.row)] if window.row != self._top else []
        total = self._make_room(logits.shape[0], window.height)
        columns = window.slices[1]
        weight = window_weights(window.height, window.width)
        total[..., columns] += logits * weight
        self._weight[..., columns] += weight
        if (window.row + window.height, window.column + window.width) == self._shape:
            finished.append(self._hand_out(self._shape[0]))
        return finished

    def _hand_out(self, until: int) -> Band:
        """Every pixel above row `until` is the weighted mean of the windows that saw it."""
        rows = until - self._top
        if self._sum is None or not 0 < rows <= self._sum.shape[1] or not bool((self._weight[:rows] > 0).all()):
            raise ShapeError(f"the windows do not cover the picture of {self._shape[0]}x{self._shape[1]} row by row")
        band = Band(self._top, self._sum[:, :rows].div_(self._weight[:rows]))
        self._top = until
        self._sum, self._weight = self._sum[:, rows:].clone(), self._weight[rows:].clone()  # the band keeps what it needs of the old ones
        return band

    def _make_room(self, classes: int, rows: int) -> Tensor:
        """The sum, of so many rows from `_top` on; what is there stays."""
        if self._sum is None:
            self._sum = torch.zeros(classes, 0, self._shape[1])
        more = rows - self._sum.shape[1]
        if more:
            self._sum, self._weight = F.pad(self._sum, (0, 0, 0, more)), F.pad(self._weight, (0, 0, 0, more))
        return self._sum


def join(bands: Sequence[Band]) -> Tensor:
    """All bands of a picture, in their order -> (K, H, W)."""
    return bands[0].logits if len(bands) == 1 else torch.cat([band.logits for band in bands], dim=1)


@lru_cache(maxsize=8)
def window_weights(height: int, width: int) -> Tensor:
    """(h, w), a Gaussian around the middle with a deviation of a quarter of the side, never below a thousandth of its peak."""
    return (_bell(height)[:, None] * _bell(width)[None, :]).clamp_min(1e-3)


def _bell(length: int) -> Tensor:
    position = torch.arange(length, dtype=torch.float32) - (length - 1) / 2
    return torch.exp(-0.5 * (position / (length / 4)) ** 2)
