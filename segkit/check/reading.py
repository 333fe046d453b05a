"""A case off the disk as one picture and one array of mask values, however many files it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segkit.errors import ReadError, ShapeError
from segkit.image import Array, Image
from segkit.io import Format, ReadSettings, read_image, read_mask, sniff
from segkit.io.png import read_header
from segkit.io.sniff import open_file
from segkit.layouts import FoundCase

PALETTE = 3
"""Colour type of a PNG whose pixels are numbers of a palette."""

HALF = 127
"""Above it a pixel of a grey mask is foreground, where black and white are all that was meant."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """What masks hold, as numbers: (H, W) or (S, H, W).

    values : as stored; of one file for each class the number of the class, of one file for each object 255
    overlap : pixels that several classes claim; the last one has them
    """

    values: Array
    overlap: int = 0


def read_picture(case: FoundCase, settings: ReadSettings) -> Image:
    """The picture; files of one channel each become its channels.

    Raises
    ------
    ShapeError
        The channels differ in size.
    ReadError
        One of its kinds.
    """
    parts = [read_image(path, settings) for path in case.images]
    first = parts[0]
    for part in parts[1:]:
        if part.shape != first.shape:
            sizes = [by(one.shape) for one in (first, part)]
            raise ShapeError(f"{first.name} is {sizes[0]}, {part.name} is {sizes[1]}; the channels of a picture have one size: correct them or leave it out")
    return first if len(parts) == 1 else replace(first, pixels=np.concatenate([part.pixels for part in parts], axis=-3))


def read_drawn(case: FoundCase, like: Image | None, classes: Sequence[str], settings: ReadSettings) -> Drawn:
    """The masks of a case; `classes` numbers those that have files of their own, from 1.

    Raises
    ------
    ShapeError
        A mask has another size than the picture, or than the other masks.
    MaskValuesError, ReadError
        As `segkit.io.read_mask`.
    """
    if case.combine == "one":
        return Drawn(read_mask(case.masks[0], like, settings))
    together: Array | None = None
    overlap = 0
    names = case.classes or ("",) * len(case.masks)
    for path, name in zip(case.masks, names, strict=True):
        raw = read_mask(path, like, settings)
        together = np.zeros(raw.shape, np.uint8) if together is None else together
        if raw.shape != together.shape:
            raise ShapeError(f"mask {path} is {by(raw.shape)}, others of the same picture are {by(together.shape)}; correct it or leave the picture out")
        here = raw > (HALF if raw.max() > HALF else 0)
        overlap += int(np.count_nonzero(together[here])) if name else 0
        together[here] = classes.index(name) + 1 if name else 255
    assert together is not None
    return Drawn(together, overlap)


def is_palette(path: Path) -> bool:
    """Whether the pixels of a mask are numbers of a palette: programs that turn it into grey change them."""
    kind = sniff(path)
    if kind is not Format.PNG:
        return kind is Format.GIF
    with open_file(path) as file:
        return read_header(file, str(path)).colour == PALETTE


def is_lossy(path: Path) -> bool:
    """A JPEG, whose values are only about what was drawn."""
    try:
        return sniff(path) is Format.JPEG
    except ReadError:
        return False


def by(shape: Sequence[int]) -> str:
    """(33, 47) -> "33x47"."""
    return "x".join(map(str, shape))
