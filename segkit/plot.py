"""Pictures for people: a mask over its picture, what a network pays attention to, curves of a training run."""

from __future__ import annotations

import math
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

HEAT = ((40, 35, 110), (115, 40, 135), (195, 55, 105), (238, 110, 50), (252, 185, 60), (255, 250, 170))
"""Of weights 0, 0.2, ... 1: lighter all the way, so that the order can be seen without colours too."""

HEAT_OPACITY = 0.6
"""So much of the colour, and so much less of the picture."""

FONT = 13
"""Height of letters, in pixels."""

TILE_SIDE = 320
"""Longer side of a picture on a contact sheet: larger ones are shrunk, smaller ones enlarged, so that captions can be read under any."""

SHEET_GAP = 16

GREY, PALE = (90, 90, 90), (225, 225, 225)

SAMPLE = 2**22
"""Percentiles are measured on about so many pixels, evenly spaced."""


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
    stack = indices if image.is_volume else indices[None]
    truths = None if truth is None else (truth if image.is_volume else truth[None])
    chosen = _busiest(stack if truths is None else np.maximum(stack, np.where(truths == IGNORE_INDEX, 0, truths)))
    shown = zip(chosen, to_display(image, chosen), strict=True)         # (H, W, 3) each
    return sheet([_tint(grey, stack[plane], None if truths is None else truths[plane], opacity) for plane, grey in shown])


def to_display(image: Image, planes: Sequence[int] | NDArray[np.intp] | None = None) -> Array:
    """(S, H, W, 3) uint8 of all slices or of some: 8-bit pictures as they are, others stretched between their 0.5th and 99.5th percentiles.

    The percentiles are those of the whole volume, so that its slices share a scale.
    """
    stack = image.slices if planes is None else image.slices[list(planes)]
    pixels = np.moveaxis(stack, 1, -1)                               # (S, H, W, C)
    pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    if pixels.dtype == np.uint8:
        return pixels
    shown = image.slices[:, : 3 if image.channels >= 3 else 1].reshape(-1)
    low, high = np.percentile(shown[:: max(1, shown.size // SAMPLE)], (0.5, 99.5))
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


def heat_map(picture: Array, weights: NDArray[np.float32]) -> Array:
    """The picture in grey, tinted by a weight at each pixel, and nothing on top: outlines of a mask of many pieces would hide what is to be seen.

    Parameters
    ----------
    picture : (H, W, 3) uint8
    weights : (H, W) in [0, 1]; the colours of 0 and 1 are those of `HEAT` for every map, so that maps can be compared

    Returns
    -------
    (H, W, 3) uint8
    """
    grey = picture.astype(np.float32).mean(axis=-1, keepdims=True)
    return ((1 - HEAT_OPACITY) * grey + HEAT_OPACITY * heat_colours(weights)).astype(np.uint8)


def heat_colours(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(...) in [0, 1] -> (..., 3) in 0 .. 255, between the colours of `HEAT`."""
    steps = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(weights, steps, channel) for channel in np.transpose(HEAT)], axis=-1).astype(np.float32)


def with_scale(drawn: Array) -> Array:
    """A heat map with the colours from 0 to 1 in a strip below it; the map itself stays where and as it is, beside a narrow one there is white."""
    size = max(FONT, drawn.shape[1] // 40)
    canvas = Pillow.new("RGB", (max(drawn.shape[1], 8 * size), drawn.shape[0] + 2 * size), "white")
    canvas.paste(Pillow.fromarray(drawn), (0, 0))
    _draw_scale(canvas, (0, drawn.shape[0], canvas.width, canvas.height), size, ("0", "1"))
    return np.asarray(canvas)


def contact_sheet(tiles: Sequence[tuple[str, Array]], title: str) -> Array:
    """Captions and drawings of one size, side by side at about `TILE_SIDE`, with a title above and the colours of heat maps below."""
    board = sheet([_captioned(*tile) for tile in tiles], gap=SHEET_GAP)
    canvas = _titled(board, title, below=2 * FONT)
    box = (SHEET_GAP, canvas.height - SHEET_GAP - FONT, SHEET_GAP + min(board.shape[1], 2 * TILE_SIDE), canvas.height - SHEET_GAP)
    _draw_scale(canvas, box, FONT, ("0, held back", "1, let through"))
    return np.asarray(canvas)


def captioned_sheet(tiles: Sequence[tuple[str, Array]], title: str) -> Array:
    """Captions and drawings of any sizes, each in a square of `TILE_SIDE`, side by side with a title above."""
    return np.asarray(_titled(sheet([_captioned(caption, _squared(drawn)) for caption, drawn in tiles], gap=SHEET_GAP), title))


def _squared(drawn: Array) -> Array:
    """In the middle of a pale square."""
    side, (height, width) = max(drawn.shape[:2]), drawn.shape[:2]
    square = np.full((side, side, 3), PALE, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = drawn
    return square


def _titled(board: Array, title: str, below: int = 0) -> Pillow.Image:
    """The board on white under its title, with some pixels left below."""
    height, width = board.shape[:2]
    font = ImageFont.load_default(FONT + 2)
    width = max(width, math.ceil(font.getlength(title)))
    canvas = Pillow.new("RGB", (width + 2 * SHEET_GAP, height + 2 * SHEET_GAP + 2 * FONT + below), "white")
    canvas.paste(Pillow.fromarray(board), (SHEET_GAP, SHEET_GAP + 2 * FONT))
    ImageDraw.Draw(canvas).text((SHEET_GAP, SHEET_GAP), title, fill="black", font=font)
    return canvas


def _captioned(caption: str, drawn: Array) -> Array:
    """The drawing at `TILE_SIDE`, with lines of text below it."""
    height, width = drawn.shape[:2]
    scale = TILE_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = Pillow.new("RGB", (TILE_SIDE, size[1] + 3 * FONT), "white")
    canvas.paste(Pillow.fromarray(drawn).resize(size, Pillow.Resampling.LANCZOS if scale < 1 else Pillow.Resampling.BICUBIC), (0, 0))
    ImageDraw.Draw(canvas).multiline_text((0, size[1] + 4), caption, fill="black", font=ImageFont.load_default(FONT), spacing=2)
    return np.asarray(canvas)


def _draw_scale(canvas: Pillow.Image, box: tuple[int, int, int, int], size: int, ends: tuple[str, str]) -> None:
    """The colours from 0 to 1 as they look over a middle grey, between a word at either end, inside (left, top, right, bottom)."""
    left, top, right, bottom = box
    draw, font, middle, gap = ImageDraw.Draw(canvas), ImageFont.load_default(size), (top + bottom) // 2, size // 2
    first, last = (gap + round(draw.textlength(word, font=font)) for word in ends)
    draw.text((left, middle), ends[0], fill="black", font=font, anchor="lm")
    draw.text((right, middle), ends[1], fill="black", font=font, anchor="rm")
    ramp = np.linspace(0, 1, right - left - first - last, dtype=np.float32)[None].repeat(size, axis=0)
    bar = heat_map(np.full((*ramp.shape, 3), 128, np.uint8), ramp)
    canvas.paste(Pillow.fromarray(bar), (left + first, middle - size // 2))


def curves(x: Sequence[float], series: Mapping[str, Sequence[float]], *, title: str, x_label: str, size: tuple[int, int] = (640, 360)) -> Array:
    """A line chart, (H, W, 3) uint8. NaN leaves a gap; the vertical axis spans the finite values.

    Parameters
    ----------
    x : one number a point, ascending
    series : name -> one number a point
    """
    canvas = Pillow.new("RGB", size, "white")
    finite = [value for values in series.values() for value in values if np.isfinite(value)]
    chart = _Chart(ImageDraw.Draw(canvas), ImageFont.load_default(FONT), size, _limits(x, 0), _limits(finite, 0.05))
    chart.axes(title, x_label)
    for number, (name, values) in enumerate(series.items()):
        chart.line(number, name, [(at, value) for at, value in zip(x, values, strict=True) if np.isfinite(value)])
    return np.asarray(canvas)


def strips(cases: Mapping[str, Sequence[float]], means: Mapping[str, Sequence[float]], *, title: str) -> Array:
    """A strip of dots for each name, (H, W, 3) uint8: `cases` small and pale, spread sideways by their rank, `means` large.

    Parameters
    ----------
    cases, means : name -> finite numbers, the names in the order of the strips
    """
    size = max(640, 74 + 90 * len(cases)), 420                         # 90 for a strip, beside the axis and the right edge
    canvas = Pillow.new("RGB", size, "white")
    values = [value for group in (*cases.values(), *means.values()) for value in group if np.isfinite(value)]
    chart = _Chart(ImageDraw.Draw(canvas), ImageFont.load_default(FONT), size, (0.0, float(len(cases))), _limits(values, 0.05), legend=16)
    chart.scale(title)
    for number, name in enumerate(cases):
        chart.strip(number, name, cases[name], means[name])
    return np.asarray(canvas)


@dataclass(frozen=True)
class _Chart:
    """A frame on a canvas, and where numbers lie in it; `legend` pixels are left for one on the right."""

    draw: ImageDraw.ImageDraw
    font: Any
    size: tuple[int, int]
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    legend: int = 150

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return 58, 34, self.size[0] - self.legend, self.size[1] - 42

    def place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.box
        (x_low, x_high), (y_low, y_high) = self.x_limits, self.y_limits
        return left + (x - x_low) / (x_high - x_low) * (right - left), bottom - (y - y_low) / (y_high - y_low) * (bottom - top)

    def scale(self, title: str) -> None:
        """The title, and the vertical axis with its lines."""
        left, _, right, _ = self.box
        self.draw.text((left, 10), title, fill="black", font=self.font)
        for tick in _ticks(*self.y_limits):
            row = self.place(self.x_limits[0], tick)[1]
            self.draw.line([(left, row), (right, row)], fill=PALE)
            self.draw.text((left - 6, row), _short(tick), fill=GREY, font=self.font, anchor="rm")

    def axes(self, title: str, x_label: str) -> None:
        self.scale(title)
        left, _, right, bottom = self.box
        self.draw.text(((left + right) / 2, bottom + 22), x_label, fill=GREY, font=self.font, anchor="ma")
        for tick in _ticks(*self.x_limits):
            self.draw.text((self.place(tick, self.y_limits[0])[0], bottom + 6), _short(tick), fill=GREY, font=self.font, anchor="ma")

    def strip(self, number: int, name: str, small: Sequence[float], large: Sequence[float]) -> None:
        colour = colour_of(number + 1)
        pale = tuple((value + 2 * 255) // 3 for value in colour)
        for rank, value in enumerate(small):
            column, row = self.place(number + 0.2 + 0.6 * ((rank * 0.618) % 1), value)                # the golden ratio spreads evenly
            self.draw.ellipse([column - 2, row - 2, column + 2, row + 2], fill=pale)
        for value in large:
            column, row = self.place(number + 0.5, value)
            self.draw.ellipse([column - 5, row - 5, column + 5, row + 5], fill=colour, outline="black")
        left, right = (self.place(number + side, self.y_limits[0])[0] for side in (0.0, 1.0))
        label = name if self.draw.textlength(name, font=self.font) < right - left else f"{name[: int((right - left) / 8)]}…"
        self.draw.text(((left + right) / 2, self.box[3] + 8 + 14 * (number % 2)), label, fill="black", font=self.font, anchor="ma")

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


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the ends, four to eight of them: 0.2, 0.4, 0.6, ..."""
    power = 10.0 ** math.floor(math.log10(high - low))
    step = next(size * power for size in (2, 1, 0.5, 0.25, 0.2) if (high - low) / (size * power) >= 4)
    return [round(number * step, 12) for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _limits(values: Sequence[float], margin: float) -> tuple[float, float]:
    """Ends of an axis: never one and the same number, and not below 0 where no value is."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    around = margin * (high - low) if high > low else 0.5
    return (max(0.0, low - around) if low >= 0 else low - around), high + around
