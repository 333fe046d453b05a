"""Folders for the splits, train/ and val/ or test/, each with pictures and masks of its own in any layout; and a folder in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from segkit.layouts.found import FoundDataset
from segkit.layouts.listing import folders_in, holds_pictures, pictures_in
from segkit.layouts.words import split_of

Finder = Callable[[Path], FoundDataset | None]


def find_splits(root: Path, find: Finder) -> FoundDataset | None:
    """Folders whose names speak of splits, at least one of them with pairs."""
    if not root.is_dir():
        return None
    named = [(split, folder) for folder in folders_in(root) if (split := split_of(folder.name)) is not None and holds_pictures(folder)]
    if not any(split == "train" for split, _ in named) or len({split for split, _ in named}) < len(named):
        return None
    found = [(split, folder, find(folder)) for split, folder in named]
    held = [(split, folder, part) for split, folder, part in found if part is not None]
    if not held:
        return None
    unlabelled = [path for _, folder, part in found if part is None for path in pictures_in(folder)]
    first = held[0][2]
    return FoundDataset(
        root,
        f"{', '.join(folder.name for _, folder, _ in held)}: {first.layout} each",
        tuple(
            replace(case, split=split) for split, _, part in held for case in part.cases
        ),
        first.labels,
        first.ignore,
        first.channel_names,
        tuple(dict.fromkeys(note for _, _, part in held for note in part.notes)),
        tuple(path for _, _, part in held for path in part.unpaired_images),
        tuple(path for _, _, part in held for path in part.unpaired_masks),
        (*(path for _, _, part in held for path in part.unlabelled), *unlabelled),
    )


def find_inside(root: Path, find: Finder) -> FoundDataset | None:
    """The only folder in a folder, as archives unpack."""
    if not root.is_dir() or pictures_in(root, recursive=False):
        return None
    folders = [folder for folder in folders_in(root) if holds_pictures(folder)]
    found = find(folders[0]) if len(folders) == 1 else None
    return None if found is None else replace(found, root=root, notes=(f"all lies in {folders[0].name}", *found.notes))
