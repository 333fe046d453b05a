"""Which way up: whether sides mean something in a set of pictures, so that its mirror images would show what never happens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segkit.config import DataSettings
from segkit.dataset import Case, load_pair
from segkit.finetune.belonging import Belonging
from segkit.image import Image
from segkit.labels import IGNORE_INDEX, Mask

MOST = 48
"""Cases that are looked at, evenly over the set."""

FEWEST = 5
"""Of fewer cases nothing can be said about sides."""

KEPT = 4096
"""Intensities remembered of the foreground of each case, evenly spaced."""

BODY = (0.5, 99.5)
"""Percentiles of the foreground's intensities that count as its ends."""


@dataclass(frozen=True)
class Side:
    """How far something lies to one side along an axis, in standard deviations over the cases; `what` is the intensity or a class."""

    what: str
    effect: float


@dataclass(frozen=True)
class Orientation:
    """What a second look at some training cases finds.

    left_right, top_bottom : what is furthest to one side there; the effect is what is certain of it, 0 where nothing is
    foreground : intensities of all foreground, as `BODY`; None where there is none
    colour : by how much the channels of a pixel differ, as a share of the picture's contrast: the mean over a picture, of the most coloured but one in ten
    belonging : standard errors by which masks belong to their pictures, see `segkit.finetune.belonging`; None where too few were looked at
    cases : that were looked at
    """

    left_right: Side
    top_bottom: Side
    foreground: tuple[float, float] | None
    colour: float
    belonging: float | None
    cases: int


def look_at_sides(
    cases: Sequence[Case], data: DataSettings, progress: Callable[[Sequence[int]], Iterable[int]] = iter
) -> Orientation:
    """Read some of the cases again.

    Raises
    ------
    ReadError, ShapeError, MaskValuesError
        A pair can't be used.
    """
    labels = data.make_labels()
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(len(cases), MOST)).astype(int))
    rows: list[list[float]] = []
    columns: list[list[float]] = []
    inside: list[NDArray[np.float64]] = []
    colours: list[float] = []
    belonging = Belonging()
    for number in progress([int(number) for number in chosen]):
        image, mask = load_pair(cases[number], data, labels)
        grey = _grey(image)                                             # (H, W)
        shares = _shares(mask)                                          # (K - 1, H, W)
        rows.append([_tilt(grey, 0), *(_centre(share, 0) for share in shares)])
        columns.append([_tilt(grey, 1), *(_centre(share, 1) for share in shares)])
        inside.append(_inside(image, mask))
        colours.append(_colour(image))
        belonging.add(image, mask)
    names = ("brightness", *labels.foreground)
    values = np.concatenate(inside)
    body = tuple(float(value) for value in np.percentile(values, BODY)) if len(values) else None
    sides, colour = (_furthest(columns, names), _furthest(rows, names)), float(np.percentile(colours, 90))
    return Orientation(*sides, body, colour, belonging.standard_errors(), len(chosen))  # type: ignore[arg-type]


def _grey(image: Image) -> NDArray[np.float64]:
    """The mean of all channels and slices, with mean 0 and deviation 1."""
    mean = image.slices.mean(axis=(0, 1), dtype=np.float64)
    return (mean - mean.mean()) / (mean.std() or 1.0)


def _colour(image: Image) -> float:
    """How far the channels of a pixel are apart, on average, in the deviations of the picture."""
    pixels = image.slices[..., ::4, ::4].astype(np.float64)               # (S, C, h, w)
    return float((pixels.max(axis=1) - pixels.min(axis=1)).mean() / (pixels.std() or 1.0))


def _shares(mask: Mask) -> NDArray[np.float64]:
    """(K - 1, H, W): of each foreground class, in how many slices a pixel has it."""
    stack = mask.indices if mask.indices.ndim == 3 else mask.indices[None]
    return np.stack([(stack == index).sum(axis=0, dtype=np.float64) for index in range(1, mask.labels.num_classes)])


def _tilt(grey: NDArray[np.float64], axis: int) -> float:
    """By how much the first half is brighter than the second."""
    half = grey.shape[axis] // 2
    first, second = np.take(grey, range(half), axis), np.take(grey, range(grey.shape[axis] - half, grey.shape[axis]), axis)
    return float(first.mean() - second.mean()) if half else 0.0


def _centre(share: NDArray[np.float64], axis: int) -> float:
    """Where the centre of a class lies, from -0.5 to 0.5; NaN where it is not there."""
    along = share.sum(axis=1 - axis)
    return float(along @ (np.arange(len(along)) + 0.5) / along.sum() / len(along) - 0.5) if along.sum() else math.nan


def _inside(image: Image, mask: Mask) -> NDArray[np.float64]:
    """Some intensities of the foreground, of all channels."""
    stack = mask.indices if mask.indices.ndim == 3 else mask.indices[None]
    found = np.moveaxis(image.slices, 1, -1)[(stack > 0) & (stack != IGNORE_INDEX)].ravel()
    return found[:: max(1, len(found) // KEPT)].astype(np.float64)


def _furthest(measured: Sequence[Sequence[float]], names: Sequence[str]) -> Side:
    sides = [Side(name, certain_effect(values)) for name, values in zip(names, zip(*measured, strict=True), strict=True)]
    return max(sides, key=lambda side: side.effect)


def certain_effect(values: Sequence[float]) -> float:
    """Mean over deviation, less two standard errors of it: what chance alone does not explain; never below 0.

    >>> certain_effect([1.0, 1.1, 0.9, 1.0, 1.0]) > 5
    True
    >>> certain_effect([1.0, -1.0, 1.0, -1.0, 0.5])
    0.0
    """
    known = np.array([value for value in values if math.isfinite(value)])
    if len(known) < FEWEST:
        return 0.0
    deviation = max(float(known.std(ddof=1)), 1e-3)
    effect = abs(float(known.mean())) / deviation
    return max(0.0, effect - 2 * math.sqrt((1 + effect**2 / 2) / len(known)))
