"""What to look at first: the cases with the lowest expected Dice, on a sheet.

::

    OUT/review.png          the first `PAGE` of them: the picture, its mask, its name, the Dice that can be expected
    OUT/review-2.png, …     the next
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from segkit.attend import fullest_slice
from segkit.errors import CollisionError, SegkitError, SettingsError, VanishedError
from segkit.folder.ledger import Entry, Ledger
from segkit.image import Image
from segkit.io import ReadSettings, Source, find_sources, read_mask, read_source, write_png
from segkit.labels import Labels
from segkit.plot import captioned_sheet, overlay, to_display

PAGE = 24
"""Cases on a page."""

LONGEST_NAME = 44
"""Letters of a name that fit below a picture."""


def check_review(outputs: Iterable[tuple[str, str]], cases: int) -> None:
    """CollisionError where the mask of a picture, by (its name, where its mask goes without ending), would lie where a page does."""
    pages = {path.stem for path in _pages(Path(), cases)}
    clash = next((name for name, output in outputs if output in pages), None)
    if clash is not None:
        raise CollisionError(f"{clash}: its mask would lie where --review writes its sheet; rename it, or leave --review out")


def require_expected(is_learnt: bool, whose: str, cases: int) -> None:
    """SettingsError where a model has not learnt what Dice to expect."""
    if not is_learnt:
        raise SettingsError(
            f"--review {cases}: {whose} has not learnt what Dice to expect, so that nothing says what to look at first; "
            "use a model of segkit finetune, or leave --review out (results.csv has the mean confidence)"
        )


def _pages(out: Path, cases: int) -> list[Path]:
    return [out / ("review.png" if number == 0 else f"review-{number + 1}.png") for number in range(-(-cases // PAGE))]


def write_review(ledger: Ledger, out: Path, cases: int, labels: Labels, read: ReadSettings) -> tuple[Path, ...]:
    """Draw the cases with the lowest expected Dice; the pages, none where nothing went well."""
    chosen = ledger.least_sure(cases)
    pages = _pages(out, len(chosen))
    for number, path in enumerate(pages):
        shown = chosen[number * PAGE : (number + 1) * PAGE]
        title = f"to review first: {len(chosen)} of {len(ledger)} files, page {number + 1} of {len(pages)}"
        write_png(path, captioned_sheet([_tile(entry, out, labels, read) for entry in shown], title))
    return tuple(pages)


def _tile(entry: Entry, out: Path, labels: Labels, read: ReadSettings) -> tuple[str, NDArray[np.uint8]]:
    """Caption and drawing; a picture that has gone since is told in its place."""
    assert entry.result is not None
    assert entry.outputs is not None
    name, told = entry.key, f"expected Dice {entry.result.expected_dice:.2f}"
    try:
        image = read_source(_source(entry), read)
        values = read_mask(out / next(iter(entry.outputs)), like=image, settings=read)
        drawn, plane = _draw(image, labels.encode(values, name))
    except SegkitError as error:
        return f"{_short(name)}\n{told}; can't be drawn: {error.code}", np.full((1, 1, 3), 235, np.uint8)
    return f"{_short(name)}\n{told}{plane}", drawn


def _source(entry: Entry) -> Source:
    """What was read: a file, or of a folder the series that has this name."""
    assert entry.result is not None
    path = Path(entry.result.file)
    if not path.is_dir():
        return Source((path,), PurePath(entry.key))
    series = next((source for source in find_sources(path).sources if source.output.name == PurePath(entry.key).name), None)
    if series is None:
        raise VanishedError(f"{path}: holds the series {entry.key} no more")
    return series


def _draw(image: Image, indices: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], str]:
    """The picture under its mask; of a volume the busiest slice, which the text names."""
    plane = fullest_slice(indices)
    (picture,) = to_display(image, [plane])
    drawn = overlay(Image(np.moveaxis(picture, -1, 0)), indices[plane] if image.is_volume else indices)
    return drawn, f", slice {plane + 1} of {len(indices)}" if image.is_volume else ""


def _short(name: str) -> str:
    """In letters that can be drawn; of a long name its end, which tells it from others."""
    plain = name.encode("utf-8", "replace").decode("utf-8").replace("\n", " ")
    return plain if len(plain) <= LONGEST_NAME else f"…{plain[1 - LONGEST_NAME :]}"
