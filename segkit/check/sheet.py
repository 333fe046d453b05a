"""A page of pictures with the outlines of their masks, to look at: those with faults first, the others evenly from the set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from segkit.check.reading import read_drawn, read_picture
from segkit.check.report import CheckReport
from segkit.check.values import class_names
from segkit.io import write_png
from segkit.labels import IGNORE_INDEX
from segkit.plot import FONT, SHEET_GAP, TILE_SIDE, overlay, sheet

PICTURES = 24

OF_EACH = 3
"""Pictures shown of each fault, where there are so many."""

TINT = 0.12
"""Share of the colour within an outline: enough to see which side is meant."""


def draw_sheet(report: CheckReport, path: Path, progress: Callable[[Sequence[int]], Iterable[int]] = iter) -> list[str]:
    """Write the page as a PNG; the names of the pictures on it. `WriteError` where that fails."""
    chosen = _chosen(report)
    faults = _faults(report)
    tiles = [_tile(report, number, faults.get(number, "")) for number in progress(chosen)]
    if tiles:
        write_png(path, sheet(tiles, gap=SHEET_GAP))
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
    drawn = Pillow.fromarray(overlay(image, np.where(classes >= IGNORE_INDEX - 1, 0, classes), opacity=TINT))
    drawn.thumbnail((TILE_SIDE, TILE_SIDE), Pillow.Resampling.LANCZOS)
    canvas = Pillow.new("RGB", (TILE_SIDE, TILE_SIDE + 3 * FONT), "white")
    canvas.paste(drawn, ((TILE_SIDE - drawn.width) // 2, (TILE_SIDE - drawn.height) // 2))
    caption = f"{evidence.image_names([number])[0][-44:]}\n{fault}"
    ImageDraw.Draw(canvas).multiline_text((0, TILE_SIDE + 4), caption, fill="black", font=ImageFont.load_default(FONT), spacing=2)
    return np.asarray(canvas)
