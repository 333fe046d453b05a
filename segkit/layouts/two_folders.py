"""images/ and masks/, by these names or others that people use; also one mask for each class or object, in folders or by longer names.

::

    masks/07.png                 one mask
    masks/07_mask.png            the same
    masks/nerve/07.png           a folder for each class
    masks/07/1.png               a folder for each picture, a file for each object
    masks/train/07.png           a folder for each split, as below images/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segkit.io.files import stem
from segkit.layouts.found import FoundDataset
from segkit.layouts.listing import folders_in, holds_pictures, pictures_in
from segkit.layouts.pairing import Matches, Place, from_matches, pair_places
from segkit.layouts.words import IMAGE_FOLDERS, MASK_FOLDERS, plain, split_of

NAME = "a folder of pictures and a folder of masks"


def find(root: Path) -> FoundDataset | None:
    """Folders called images and masks, or as people call them; pictures may also lie beside the folder of masks."""
    if not root.is_dir():
        return None
    folders = folders_in(root)
    masks = _first(folders, MASK_FOLDERS)
    if masks is None:
        return None
    images = _first(folders, IMAGE_FOLDERS)
    if images is None:
        beside = pictures_in(root, recursive=False)
        return _pair(root, Place(root, beside), masks) if beside else None
    return _pair(root, Place(images, pictures_in(images)), masks)


def find_by_likeness(root: Path) -> FoundDataset | None:
    """Two folders, one of them with a word for masks in its name: train and train_masks, Part1_Data and Part1_GroundTruth."""
    if not root.is_dir():
        return None
    folders = [folder for folder in folders_in(root) if holds_pictures(folder)]
    masks = [folder for folder in folders if any(word in plain(folder.name) for word in MASK_FOLDERS if len(word) > 3)]
    if len(masks) != 1:
        return None
    images = [folder for folder in folders if folder != masks[0]]
    like = [folder for folder in images if plain(masks[0].name).startswith(plain(folder.name))]
    chosen = like if len(like) == 1 else images
    return _pair(root, Place(chosen[0], pictures_in(chosen[0])), masks[0]) if len(chosen) == 1 else None


def _first(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The folder whose name stands first in the list, if it holds any picture."""
    ranked = sorted((names.index(plain(folder.name)), folder) for folder in folders if plain(folder.name) in names)
    return next((folder for _, folder in ranked if holds_pictures(folder)), None)


def _pair(root: Path, images: Place, masks: Path) -> FoundDataset:
    drawn = Place(masks, pictures_in(masks))
    where = images.folder.name if images.folder != root else "this folder"
    notes = [f"pictures in {where}, masks in {masks.name}"]
    matches = _folder_for_each_picture(images, drawn) or _folder_for_each_class(images, drawn)
    if matches:
        found = from_matches(root, NAME, images.files, drawn.files, matches, notes)
    else:
        found = pair_places(root, NAME, images, drawn, notes)
    return _with_splits(found, images.folder)


def _folder_for_each_picture(images: Place, masks: Place) -> Matches:
    """masks/07/1.png; nothing unless all masks lie so, and one of the pictures has several."""
    image_of = {stem(image): image for image in images.files if image.parent == images.folder}
    matches: Matches = {}
    for mask in masks.files:
        below = mask.relative_to(masks.folder)
        if len(below.parts) != 2 or below.parts[0] not in image_of:
            return {}
        matches.setdefault(image_of[below.parts[0]], []).append((mask, str(len(matches))))
    return matches


def _folder_for_each_class(images: Place, masks: Place) -> Matches:
    """masks/nerve/07.png; nothing unless all masks lie so in folders that are no splits and are not found below the pictures too."""
    image_of = {stem(image): image for image in images.files if image.parent == images.folder}
    matches: Matches = {}
    for mask in masks.files:
        below = mask.relative_to(masks.folder)
        if len(below.parts) != 2 or split_of(below.parts[0]) or (images.folder / below.parts[0]).is_dir():
            return {}
        if stem(mask) in image_of:
            matches.setdefault(image_of[stem(mask)], []).append((mask, below.parts[0]))
    return matches


def _with_splits(found: FoundDataset, images: Path) -> FoundDataset:
    """images/train/07.png is of the split train."""
    below = [case.image.relative_to(images).parts for case in found.cases]
    splits = [split_of(parts[0]) if len(parts) > 1 else None for parts in below]
    if not all(splits) or len(set(splits)) < 2:
        return found
    cases = tuple(replace(case, split=split) for case, split in zip(found.cases, splits, strict=True))
    return replace(found, cases=cases, notes=(*found.notes, "the folders below the pictures say the splits"))
