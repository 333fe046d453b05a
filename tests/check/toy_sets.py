"""A small set without any fault, and ways to put one in: noise to tell pictures apart, a bright box, a mask of 0 and 255."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segkit.check import CheckReport, examine
from segkit.layouts import find_dataset

SIZE = (33, 47)
COUNT = 12

Pixels = NDArray[Any]


def picture(seed: int, size: tuple[int, int] = SIZE) -> Pixels:
    """(H, W) uint8, unlike that of any other seed."""
    return np.random.default_rng(seed).integers(20, 200, size).astype(np.uint8)


def mask(seed: int, size: tuple[int, int] = SIZE, value: int = 255) -> Pixels:
    """(H, W) uint8, a box off the border."""
    drawn = np.zeros(size, np.uint8)
    drawn[4 + seed % 5 : 16 + seed % 7, 6 + seed % 9 : 24 + seed % 11] = value
    return drawn


def save(path: Path, pixels: Pixels, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(path, **options)
    return path


def write_set(root: Path, count: int = COUNT) -> Path:
    """images/00.png and masks/00.png to 11."""
    for seed in range(count):
        save(root / f"images/{seed:02}.png", picture(seed))
        save(root / f"masks/{seed:02}.png", mask(seed))
    return root


def redraw(root: Path, drawn: Sequence[Pixels], kind: str = "masks", ending: str = "png", **options: Any) -> None:
    """Other masks, or pictures, for the first ones."""
    for number, pixels in enumerate(drawn):
        (root / f"{kind}/{number:02}.png").unlink()
        save(root / f"{kind}/{number:02}.{ending}", pixels, **options)


def write_manifest(root: Path, rows: Sequence[tuple[int, str, str]]) -> None:
    """Number, split and group."""
    lines = [f"images/{number:02}.png,masks/{number:02}.png,{split},{group}" for number, split, group in rows]
    (root / "manifest.csv").write_text("\n".join(["image,mask,split,group", *lines]), encoding="utf-8")


def check(root: Path, **options: Any) -> CheckReport:
    """In this process: starting others would take longer than looking."""
    return examine(find_dataset(root), workers=0, **options)


def codes(report: CheckReport) -> set[str]:
    return {finding.code for finding in report.findings}
