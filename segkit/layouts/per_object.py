"""A folder for each picture, with a file for each object in it: <id>/images/<id>.png and <id>/masks/*.png, as in the Data Science Bowl 2018."""

from __future__ import annotations

from pathlib import Path

from segkit.io.files import stem
from segkit.layouts.found import FoundCase, FoundDataset
from segkit.layouts.listing import folders_in, pictures_in

NAME = "a folder for each picture, with a mask for each object"


def find(root: Path) -> FoundDataset | None:
    """A folder of such folders."""
    if not root.is_dir():
        return None
    cases, lonely = [], []
    for folder in folders_in(root):
        if not (folder / "images").is_dir():
            continue
        images = pictures_in(folder / "images", recursive=False)
        masks = pictures_in(folder / "masks", recursive=False) if (folder / "masks").is_dir() else []
        if len(images) != 1 or stem(images[0]) != folder.name:
            return None
        if masks:
            cases.append(FoundCase((images[0],), tuple(masks), combine="instances"))
        else:
            lonely.append(images[0])
    if not cases:
        return None
    note = "all files in masks/ of a picture are its objects: together they are the foreground"
    return FoundDataset(root, NAME, tuple(cases), notes=(note,), unpaired_images=tuple(lonely))
