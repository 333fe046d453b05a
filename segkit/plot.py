"""Pictures for people: a mask over its picture, curves of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from segkit.image import Image
from segkit.labels import IGNORE_INDEX

Array = NDArray[Any]

COLOURS = ((0, 215, 175), (245, 155, 45), (165, 120, 235), (235, 80, 60), (85, 190, 230), (240, 205, 60), (225, 115, 180), (90, 115, 200))
"""Of classes 1, 2, ..., then from the start again: the first stand out on grey and on the red of a fundus, also for most colour-blind people."""

SHEET_SLICES = 12
"""Slices of a volume on one overlay: those with the most foreground, in order."""


def colour_of(index: int) -> tuple[int, int, int]:
    return COLOURS[(index - 1) % len(COLOURS)]


def overlay(image: Image, indices: NDArray[np.uint8], truth: NDArray[np.uint8] | None = None, opacity: float = 0.35) -> Array:
    """The picture with each class tinted and outlined; the truth, where given, as a white outline. A volume becomes a sheet of slices.

    Parameters
    ----------
    indices, truth : (H, W), or (S, H, W) for a volume, class indices

    Returns
    -------
    (H, W, 3) uint8
    """
    grey = to_display(image)                                         # (S, H, W, 3)
    stack = indices if image.is_volume else indices[None]
    truths = None if truth is None else (truth if image.is_volume else truth[None])
    chosen = _busiest(stack if truths is None else np.maximum(stack, np.where(truths == IGNORE_INDEX, 0, truths)))
    drawn = [_tint(grey[plane], stack[plane], None if truths is None else truths[plane], opacity) for plane in chosen]
    return sheet(drawn)


def to_display(image: Image) -> Array:
    """(S, H, W, 3) uint8: 8-bit pictures as they are, others stretched between their 0.5th and 99.5th percentiles."""
    pixels = np.moveaxis(image.slices, 1, -1)                        # (S, H, W, C)
    pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    if pixels.dtype == np.uint8:
        return pixels
    low, high = np.percentile(pixels, (0.5, 99.5))
    return (np.clip((pixels.astype(np.float32) - low) / max(float(high - low), 1e-12), 0, 1) * 255).astype(np.uint8)


def sheet(tiles: Sequence[Array], gap: int = 2) -> Array:
    """(H, W, 3) pictures of one size side by side in rows, about as wide as high."""
    if len(tiles) == 1:
        return tiles[0]
    columns = int(np.ceil(np.sqrt(len(tiles))))
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    board = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        board[top : top + height, left : left + width] = tile
    return board


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask that have a neighbour (up, down, left, right) outside it, or lie on the border."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _busiest(stack: NDArray[np.uint8]) -> Array:
    if len(stack) <= SHEET_SLICES:
        return np.arange(len(stack))
    busy = np.argsort((stack > 0).sum(axis=(1, 2)), kind="stable")[::-1][:SHEET_SLICES]
    return np.sort(busy)


def _tint(picture: Array, indices: NDArray[np.uint8], truth: NDArray[np.uint8] | None, opacity: float) -> Array:
    result = picture.astype(np.float32)
    for index in np.unique(indices[(indices > 0) & (indices != IGNORE_INDEX)]):
        mask = indices == index
        result[mask] = (1 - opacity) * result[mask] + opacity * np.array(colour_of(int(index)), np.float32)
        result[outline(mask)] = colour_of(int(index))
    if truth is not None:
        for index in np.unique(truth[(truth > 0) & (truth != IGNORE_INDEX)]):
            result[outline(truth == index)] = 255
    return result.astype(np.uint8)


GREY, PALE = (90, 90, 90), (225, 225, 225)


def curves(x: Sequence[float], series: Mapping[str, Sequence[float]], *, title: str, x_label: str, size: tuple[int, int] = (640, 360)) -> Array:
    """A line chart, (H, W, 3) uint8. NaN leaves a gap; the vertical axis spans the finite values.

    Parameters
    ----------
    x : one number a point, ascending
    series : name -> one number a point
    """
    canvas = Pillow.new("RGB", size, "white")
    finite = [value for values in series.values() for value in values if np.isfinite(value)]
    chart = _Chart(ImageDraw.Draw(canvas), ImageFont.load_default(13), size, _limits(x, 0), _limits(finite, 0.05))
    chart.axes(title, x_label)
    for number, (name, values) in enumerate(series.items()):
        chart.line(number, name, [(at, value) for at, value in zip(x, values, strict=True) if np.isfinite(value)])
    return np.asarray(canvas)


@dataclass(frozen=True)
class _Chart:
    """A frame on a canvas, and where numbers lie in it."""

    draw: ImageDraw.ImageDraw
    font: Any
    size: tuple[int, int]
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom; the legend stands on the right."""
        return 58, 34, self.size[0] - 150, self.size[1] - 42

    def place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.box
        (x_low, x_high), (y_low, y_high) = self.x_limits, self.y_limits
        return left + (x - x_low) / (x_high - x_low) * (right - left), bottom - (y - y_low) / (y_high - y_low) * (bottom - top)

    def axes(self, title: str, x_label: str) -> None:
        left, _, right, bottom = self.box
        self.draw.text((left, 10), title, fill="black", font=self.font)
        self.draw.text(((left + right) / 2, bottom + 22), x_label, fill=GREY, font=self.font, anchor="ma")
        for tick in np.linspace(*self.y_limits, 5):
            row = self.place(self.x_limits[0], tick)[1]
            self.draw.line([(left, row), (right, row)], fill=PALE)
            self.draw.text((left - 6, row), _short(tick), fill=GREY, font=self.font, anchor="rm")
        for tick in np.linspace(*self.x_limits, 5):
            self.draw.text((self.place(tick, self.y_limits[0])[0], bottom + 6), _short(tick), fill=GREY, font=self.font, anchor="ma")

    def line(self, number: int, name: str, points: Sequence[tuple[float, float]]) -> None:
        _, top, right, _ = self.box
        colour, places, height = colour_of(number + 1), [self.place(*point) for point in points], top + 8 + 20 * number
        if len(places) > 1:
            self.draw.line(places, fill=colour, width=2, joint="curve")
        for column, row in places:
            self.draw.ellipse([column - 2, row - 2, column + 2, row + 2], fill=colour)
        self.draw.line([(right + 12, height), (right + 30, height)], fill=colour, width=3)
        self.draw.text((right + 36, height), name[:14], fill="black", font=self.font, anchor="lm")


def _short(value: float) -> str:
    """1234.5 -> "1,234", 0.81234 -> "0.8123"."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _limits(values: Sequence[float], margin: float) -> tuple[float, float]:
    """Ends of an axis: never one and the same number."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    around = margin * (high - low) if high > low else 0.5
    return low - around, high + around
