"""COCO: polygons in JSON, which are no masks; recognised so that it can be said."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from segkit.errors import FormatError
from segkit.layouts.found import FoundDataset

HEAD = 2**16
"""Bytes looked at: such files are large, and their first keys say what they are."""

CANDIDATES = ("*.json", "annotations/*.json", "*/_annotations.coco.json")


def find(root: Path) -> FoundDataset | None:
    """Nothing, or words that say why not.

    Raises
    ------
    FormatError
        A COCO file, or a folder with one.
    """
    files = [root] if root.is_file() else [file for pattern in CANDIDATES for file in sorted(root.glob(pattern))]
    for file in files:
        if file.suffix.lower() == ".json" and _is_coco(file):
            _refuse(file)
    return None


def _is_coco(file: Path) -> bool:
    try:
        with open(file, "rb") as stream:
            head = stream.read(HEAD)
            stream.seek(max(0, file.stat().st_size - HEAD))
            tail = stream.read()
    except OSError:
        return False
    keys = (b'"images"', b'"annotations"', b'"categories"', b'"segmentation"', b'"file_name"')
    return sum(key in head or key in tail for key in keys) >= 3


def _refuse(file: Path) -> NoReturn:
    repair = "first draw the polygons into one mask for each picture (pycocotools: annToMask)"
    raise FormatError(f"{file}: is COCO (polygons in JSON), which segkit does not read; {repair}")
