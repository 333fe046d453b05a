"""What a folder or file holds: which picture goes with which mask, however people lay such things out.

Nothing is read but names and small tables; what is wrong with the pictures themselves is found by `segkit.check`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segkit.errors import PairingError, VanishedError
from segkit.layouts import coco, datalist, nnunet, parts, per_object, suffixes, table, two_folders
from segkit.layouts.found import Combine, FoundCase, FoundDataset, with_groups
from segkit.layouts.listing import folders_in, holds_pictures, pictures_in
from segkit.layouts.pairing import MOST_CLASSES

__all__ = ["LAYOUTS", "MOST_CLASSES", "Combine", "FoundCase", "FoundDataset", "find_dataset"]

LAYOUTS: tuple[Callable[[Path], FoundDataset | None], ...] = (
    table.find,
    nnunet.find,
    datalist.find,
    two_folders.find,
    per_object.find,
    lambda root: parts.find_splits(root, _search),
    two_folders.find_by_likeness,
    suffixes.find,
    lambda root: parts.find_inside(root, _search),
    coco.find,
)
"""Asked in turn, what says most of itself first; each answers None where a place is not laid out its way."""


def find_dataset(path: Path | str) -> FoundDataset:
    """The pairs in a folder, a table of pairs or a JSON list.

    Raises
    ------
    PairingError
        No pairs; the message says what lies there instead.
    FormatError
        COCO, or a file that is no table.
    SettingsError
        A table or JSON list that contradicts itself.
    VanishedError, DeniedError
        Nothing is there, or it may not be read.
    """
    root = Path(path)
    if not root.exists():
        raise VanishedError(f"{root}: no such file or folder; was it moved or renamed?")
    found = _search(root)
    if found is None or not found.cases:
        raise PairingError(_nothing(root))
    return with_groups(found)


def _search(root: Path) -> FoundDataset | None:
    return next((found for layout in LAYOUTS if (found := layout(root)) is not None), None)


def _nothing(root: Path) -> str:
    accepted = "segkit takes images/ with masks/, masks with a suffix (a_mask.png), nnU-Net, Decathlon, or a CSV with the columns image and mask"
    if root.is_file():
        return f"{root}: is neither a table of pairs (CSV, TSV, JSONL) nor a JSON list of them; {accepted}"
    count = len(pictures_in(root))
    if count == 0:
        return f"{root}: holds no pictures; {accepted}"
    inside = [folder.name for folder in folders_in(root) if holds_pictures(folder)]
    shown = f" in {', '.join(inside[:4])}{', …' if len(inside) > 4 else ''}" if inside else ""
    each = "; if each of them is a set, name one" if len(inside) > 1 else ""
    drawn = next((ending for ending in (".xml", ".json", ".geojson", ".roi") if any(root.rglob(f"*{ending}"))), None)
    outlines = f"; outlines in {drawn} files are not read: draw them into one mask for each picture" if drawn else ""
    return f"{root}: holds {count} pictures{shown}, and none that can be told to be the mask of another{each}{outlines}; {accepted}"
