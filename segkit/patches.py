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
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from segkit.errors import SettingsError, ShapeError


class TileSettings(BaseModel):
    """How prediction cuts large pictures.

    whole_up_to : pictures of at most so many pixels (on the model's grid) go through in one piece.
    tile : (rows, columns) of a window otherwise.
    overlap : share of a window that it has in common with its neighbour.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    whole_up_to: int = Field(default=1024 * 1024, ge=0)
    tile: tuple[int, int] = (768, 768)
    overlap: float = Field(default=0.125, ge=0, lt=1)


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


def cut(picture: Tensor, windows: Sequence[Window]) -> Tensor:
    """(C, H, W) -> (N, C, h, w), one patch a window."""
    return torch.stack([picture[:, rows, columns] for rows, columns in (window.slices for window in windows)])


class Stitcher:
    """The way back: logits of windows, added one by one -> (K, H, W)."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._sum: Tensor | None = None
        self._weight = torch.zeros(shape)

    def add(self, logits: Tensor, window: Window) -> None:
        """(K, h, w) of one window.

        Raises
        ------
        ShapeError
            The logits are not of the window's size.
        """
        if tuple(logits.shape[1:]) != (window.height, window.width):
            raise ShapeError(f"logits of shape {tuple(logits.shape)} do not fit a window of {window.height}x{window.width}")
        rows, columns = window.slices
        if self._sum is None:
            self._sum = torch.zeros(logits.shape[0], *self._shape)
        weight = window_weights(window.height, window.width)
        self._sum[:, rows, columns] += logits * weight
        self._weight[rows, columns] += weight

    def result(self) -> Tensor:
        """(K, H, W), every pixel the weighted mean of the windows that saw it.

        Raises
        ------
        ShapeError
            Some pixels were seen by no window.
        """
        if self._sum is None or not bool((self._weight > 0).all()):
            raise ShapeError(f"the windows do not cover the picture of {self._shape[0]}x{self._shape[1]}")
        return self._sum / self._weight


def window_weights(height: int, width: int) -> Tensor:
    """(h, w), a Gaussian around the middle with a deviation of a quarter of the side, never below a thousandth of its peak."""
    return (_bell(height)[:, None] * _bell(width)[None, :]).clamp_min(1e-3)


def _bell(length: int) -> Tensor:
    position = torch.arange(length, dtype=torch.float32) - (length - 1) / 2
    return torch.exp(-0.5 * (position / (length / 4)) ** 2)
