"""What one look at one case finds: numbers small enough to keep for every case of a large set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segkit.check.likeness import signature_of
from segkit.check.objects import Objects, measure_objects, pieces_per_value
from segkit.check.reading import HALF, by, is_lossy, is_palette, read_drawn, read_picture
from segkit.errors import SegkitError, ShapeError
from segkit.image import Array, Image
from segkit.io import ReadSettings, read_mask
from segkit.labels import COLOURS
from segkit.layouts import MOST_CLASSES, FoundCase

SAMPLE = 2**16
"""Pixels that percentiles are measured on, evenly spaced."""

PERCENTILES = (0.5, 50.0, 99.5)

MOST_VALUES = MOST_CLASSES + 1
"""Of the most classes, and one that is ignored. In a mask of more the pieces of each say nothing; numbers of objects are measured together."""

VALUES_KEPT = 512
"""Values remembered of a mask, the most frequent first."""

FEWEST_OBJECTS = 5
"""Masks of fewer values than these hold classes; of more the values may be numbers of objects."""

MOSTLY = 0.5
"""Zeros that cover more of a mask than this are background; their pieces are not measured."""


@dataclass(frozen=True)
class Problem:
    """Why a case can't be used: the file, a code of `segkit.errors`, and its message."""

    path: Path
    code: str
    message: str
    is_mask: bool


@dataclass(frozen=True)
class Channel:
    """Intensities of one channel of one case: percentiles as `PERCENTILES`, mean and standard deviation."""

    percentiles: tuple[float, ...]
    mean: float
    deviation: float


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """Of a picture or volume.

    Attributes
    ----------
    shape : (H, W) or (S, H, W)
    low, high : smallest and largest pixel
    at_top : share of the pixels that have the largest value
    flat_slices : slices whose pixels are all the same
    is_grey : all channels are the same
    sha : of the pixels, whatever file format they lie in
    signature : see `segkit.check.likeness`
    """

    shape: tuple[int, ...]
    channels: int
    dtype: str
    spacing_mm: tuple[float, ...] | None
    low: float
    high: float
    at_top: float
    flat_slices: int
    is_grey: bool
    intensity: tuple[Channel, ...]
    sha: str
    signature: NDArray[np.float16] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def is_volume(self) -> bool:
        return len(self.shape) == 3

    @property
    def slices(self) -> int:
        return self.shape[0] if self.is_volume else 1


@dataclass(frozen=True, eq=False)
class Pieces:
    """Value -> (S,) whether a slice holds it; value -> its connected pieces."""

    slices_with: dict[int, NDArray[np.bool_]]
    objects: dict[int, Objects]


@dataclass(frozen=True, eq=False)
class MaskFacts:
    """Of the mask, or of all masks of a case together.

    Attributes
    ----------
    pixels : value -> pixels, the most frequent `VALUES_KEPT`
    distinct : number of different values
    border : value -> pixels on the border of the slices; of more values than `MOST_VALUES` those of 0 and 255
    pieces : of the values as they are
    pieces_per_value : see `segkit.check.objects.pieces_per_value`; None for colours, and for at most `FEWEST_OBJECTS` different values
    halves : of 0 and 255, told apart at 127, where there are values between them that may only be a soft edge
    sha : of the values
    """

    pixels: dict[int, int]
    distinct: int
    border: dict[int, int]
    pieces: Pieces
    pieces_per_value: float | None
    halves: Pieces | None
    is_colour: bool
    is_palette: bool
    is_lossy: bool
    overlap: int
    sha: str

    @property
    def values(self) -> frozenset[int]:
        return frozenset(self.pixels)

    @property
    def size(self) -> int:
        return sum(self.pixels.values())


@dataclass(frozen=True, eq=False)
class CaseFacts:
    """Both, or what was wrong instead."""

    image: ImageFacts | None = None
    mask: MaskFacts | None = None
    problem: Problem | None = None


def look_at(case: FoundCase, classes: Sequence[str], settings: ReadSettings) -> CaseFacts:
    """Read a case once, and keep what the rules need to know of it; what is wrong with its files is a finding, no error."""
    try:
        image = read_picture(case, settings)
    except SegkitError as error:
        return CaseFacts(problem=Problem(case.image, error.code, str(error), False))
    seen = _of_image(image)
    try:
        drawn = read_drawn(case, image, classes, settings)
        mask = _of_mask(case, drawn.values, drawn.overlap)
    except SegkitError as error:
        told = _turned(case, image, settings) if isinstance(error, ShapeError) else ""
        return CaseFacts(seen, None, Problem(case.masks[0], error.code, f"{error}{told}", True))
    return CaseFacts(seen, mask)


def _turned(case: FoundCase, image: Image, settings: ReadSettings) -> str:
    """A word more for a mask whose rows are the picture's columns."""
    try:
        shape = read_mask(case.masks[0], settings=settings).shape
    except SegkitError:
        return ""
    return f" (rows and columns are exchanged: {by(shape)})" if shape[-2:] == image.shape[:-3:-1] else ""


def _of_image(image: Image) -> ImageFacts:
    stack = image.slices                                               # (S, C, H, W)
    high = stack.max()
    flat = stack.reshape(len(stack), -1)
    return ImageFacts(
        shape=image.shape,
        channels=image.channels,
        dtype=str(stack.dtype),
        spacing_mm=image.spacing_mm,
        low=float(stack.min()),
        high=float(high),
        at_top=float(np.count_nonzero(stack == high) / stack.size),
        flat_slices=int((flat.min(axis=1) == flat.max(axis=1)).sum()),
        is_grey=bool((stack == stack[:, :1]).all()),
        intensity=tuple(_channel(stack[:, channel]) for channel in range(image.channels)),
        sha=_sha(image.pixels),
        signature=signature_of(image),
        notes=image.notes,
    )


def _channel(pixels: Array) -> Channel:
    sample = pixels.reshape(-1)[:: max(1, pixels.size // SAMPLE)].astype(np.float64)
    return Channel(tuple(float(value) for value in np.percentile(sample, PERCENTILES)), float(sample.mean()), float(sample.std()))


def _of_mask(case: FoundCase, raw: Array, overlap: int) -> MaskFacts:
    stack = raw if raw.ndim == 3 else raw[None]                        # (S, H, W)
    values, counts = _counted(stack)
    is_colour = raw.dtype == COLOURS
    may_be_soft = not is_colour and len(values) > 2 and values[-1] > HALF
    kept = np.argsort(-counts, kind="stable")[:VALUES_KEPT]
    halves = np.where(stack > HALF, np.uint8(255), np.uint8(0)) if may_be_soft else stack
    rim = halves if len(values) > MOST_VALUES else stack
    edge = np.concatenate([rim[:, 0].ravel(), rim[:, -1].ravel(), rim[:, :, 0].ravel(), rim[:, :, -1].ravel()])
    return MaskFacts(
        pixels={int(values[index]): int(counts[index]) for index in kept},
        distinct=len(values),
        border=_pairs(*_counted(edge)),
        pieces=_pieces(stack),
        pieces_per_value=pieces_per_value(stack) if len(values) > FEWEST_OBJECTS and not is_colour else None,
        halves=_pieces(halves) if may_be_soft else None,
        is_colour=is_colour,
        is_palette=case.combine == "one" and is_palette(case.masks[0]),
        is_lossy=any(is_lossy(path) for path in case.masks),
        overlap=overlap,
        sha=_sha(raw.astype(np.uint8 if 0 <= values[0] <= values[-1] <= 0xFF else np.int64)),
    )


def _counted(values: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Different values and how often each stands there."""
    if values.dtype in (np.uint8, np.uint16):
        counts = np.bincount(values.ravel())
        return np.flatnonzero(counts), counts[counts > 0]
    found, counts = np.unique(values, return_counts=True)
    return found.astype(np.int64), counts.astype(np.int64)


def _pairs(values: NDArray[np.int64], counts: NDArray[np.int64]) -> dict[int, int]:
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def _pieces(stack: Array) -> Pieces:
    """Of each value, but for many that begin at 0: those are numbers of objects, and are taken together as 1; of many others none."""
    values, counts = _counted(stack)
    if len(values) > MOST_VALUES and (values[0] != 0 or values[-1] >= len(values)):
        return Pieces({}, {})
    named = stack if len(values) <= MOST_VALUES else (stack > 0).astype(np.uint8)
    if named is not stack:
        values, counts = _counted(named)
    inner = [value for value, count in _pairs(values, counts).items() if value != 0 or count < MOSTLY * stack.size]
    return Pieces(
        {int(value): (named == value).any(axis=(1, 2)) for value in values},
        {value: measured for value in inner if (measured := measure_objects(named == value)) is not None},
    )


def _sha(values: Array) -> str:
    digest = hashlib.sha256(f"{values.shape} {values.dtype}".encode())
    digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
