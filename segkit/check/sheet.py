"""A page of pictures with the outlines of their masks, to look at: those with faults first, the others evenly from the set."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from segkit.check.reading import read_drawn, read_picture
from segkit.check.report import CheckReport
from segkit.check.values import class_names
from segkit.image import Image
from segkit.io import write_png
from segkit.labels import IGNORE_INDEX
from segkit.plot import FONT, SHEET_GAP, TILE_SIDE, colour_of, overlay, sheet, to_display

PICTURES = 24

OF_EACH = 3
"""Pictures shown of each fault, where there are so many."""

TINT = 0.12
"""Share of the colour within an outline: enough to see which side is meant."""

LETTERS = 44
"""Of a name that fit below a picture; of a longer one the end is shown."""


def draw_sheet(report: CheckReport, path: Path, progress: Callable[[Sequence[int]], Iterable[int]] = iter) -> list[str]:
    """Write the page as a PNG; the names of the pictures on it, none where nothing can be drawn and no page is written. `WriteError` where that fails."""
    chosen = _chosen(report)
    faults = _faults(report)
    tiles = [_tile(report, number, faults.get(number, "")) for number in progress(chosen)]
    if tiles:
        write_png(path, _with_legend(sheet(tiles, gap=SHEET_GAP), report.values.names[1:]))
    return list(report.evidence.image_names(chosen))


def _chosen(report: CheckReport) -> list[int]:
    """Numbers of at most `PICTURES` cases that can be drawn, in their order: some for each fault, the others evenly from the set."""
    drawable = list(report.evidence.masks) if report.values.labels is not None else []
    faulty = [number for number in _faults(report) if number in drawable][: PICTURES // 2]
    others = [number for number in drawable if number not in faulty]
    count = min(len(others), PICTURES - len(faulty))
    return sorted([*faulty, *(others[int(index)] for index in np.linspace(0, len(others) - 1, count))])


def _faults(report: CheckReport) -> dict[int, str]:
    """Number of a case -> code of a finding, of each finding that is no note its first `OF_EACH` cases."""
    evidence, numbers = report.evidence, range(len(report.evidence.facts))
    number_of = {name: number for names in (evidence.image_names, evidence.mask_names) for number, name in enumerate(names(numbers))}
    chosen: dict[int, str] = {}
    for finding in report.findings:
        if finding.severity != "note":
            names = [part for entry in finding.files for part in entry.split(" = ") if part in number_of]
            chosen = {number_of[name]: finding.code for name in names[:OF_EACH]} | chosen
    return chosen


def _tile(report: CheckReport, number: int, fault: str) -> NDArray[np.uint8]:
    """The drawing on a white square, with its name and fault below."""
    evidence = report.evidence
    case = evidence.found.cases[number]
    image = read_picture(case, report.read)
    classes = report.values.encode(read_drawn(case, image, class_names(evidence.found), report.read).values)
    classes[classes >= IGNORE_INDEX - 1] = 0
    plane, told = _plane(classes) if image.is_volume else (0, "")
    drawn = _drawn(to_display(image, [plane])[0], classes.reshape(-1, *classes.shape[-2:])[plane])
    canvas = Pillow.new("RGB", (TILE_SIDE, TILE_SIDE + 3 * FONT), "white")
    canvas.paste(drawn, ((TILE_SIDE - drawn.width) // 2, (TILE_SIDE - drawn.height) // 2))
    caption = f"{_end_of(evidence.image_names([number])[0])}\n{', '.join(filter(None, (told, fault)))}"
    ImageDraw.Draw(canvas).multiline_text((0, TILE_SIDE + 4), caption, fill="black", font=ImageFont.load_default(FONT), spacing=2)
    return np.asarray(canvas)


def _plane(classes: NDArray[np.uint8]) -> tuple[int, str]:
    """The slice with the most foreground, and its place in words."""
    plane = int(np.argmax(np.count_nonzero(classes, axis=(1, 2))))
    return plane, f"slice {plane + 1} of {len(classes)}"


def _drawn(picture: NDArray[np.uint8], classes: NDArray[np.uint8]) -> Pillow.Image:
    """(H, W, 3) and (H, W) at the size of a tile, small ones enlarged by a whole number; the outline is drawn then, and so is one pixel wide at any size."""
    height, width = classes.shape
    scale = TILE_SIDE / max(height, width)
    scale = int(scale) if scale >= 1 else scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    ways = Pillow.Resampling.NEAREST, Pillow.Resampling.LANCZOS
    shown = np.asarray(Pillow.fromarray(picture).resize(size, ways[scale < 1]))
    indices = np.asarray(Pillow.fromarray(classes).resize(size, Pillow.Resampling.NEAREST))
    return Pillow.fromarray(overlay(Image(np.ascontiguousarray(np.moveaxis(shown, -1, 0))), indices, opacity=TINT))


def _end_of(name: str) -> str:
    """In letters that the font of Pillow has, which are those of ASCII: für -> fur."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter)).encode("ascii", "replace").decode()
    return plain if len(plain) <= LETTERS else f"...{plain[3 - LETTERS :]}"


def _with_legend(board: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.uint8]:
    """The page with a margin, and the colour of each class below it, in as many lines as they need."""
    font = ImageFont.load_default(FONT)
    height, width = board.shape[:2]
    left, top, entries = 0, 0, []
    for index, name in enumerate(names, start=1):
        wide = round(2.5 * FONT + font.getlength(_end_of(name)))
        if left + wide > width and left > 0:
            left, top = 0, top + 2 * FONT
        entries.append((SHEET_GAP + left, height + 2 * SHEET_GAP + top, colour_of(index), _end_of(name)))
        left += wide + FONT
    canvas = Pillow.new("RGB", (width + 2 * SHEET_GAP, height + 3 * SHEET_GAP + top + FONT), "white")
    canvas.paste(Pillow.fromarray(board), (SHEET_GAP, SHEET_GAP))
    draw = ImageDraw.Draw(canvas)
    for column, row, colour, name in entries:
        draw.rectangle([column, row, column + 2 * FONT, row + FONT], fill=colour)
        draw.text((column + 2.5 * FONT, row + FONT / 2), name, fill="black", font=font, anchor="lm")
    return np.asarray(canvas)
