"""The words by which people tell pictures from masks, in the names of folders and files; and splits from each other."""

from __future__ import annotations

import re

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "pictures", "jpegimages", "original", "originals", "inputs", "input", "scans", "frames", "data", "x")
"""Names of folders with pictures, the surest first."""

MASK_FOLDERS = (
    *("masks", "1stmanual", "manual1", "groundtruth", "groundtruths", "segmentationclass", "segmentations", "segmentation", "labels", "annotations"),
    *("mask", "label", "annotation", "ann", "anns", "gts", "gt", "seg", "segs", "manual", "truth", "targets", "target", "y"),
)
"""Names of folders with masks, the surest first: where DRIVE has 1st_manual and mask, the latter is the field of view."""

MASK_WORDS = (
    *("mask", "masks", "segmentation", "seg", "manual1", "manual", "1stho", "label", "labels", "gt", "groundtruth", "truth"),
    *("annotation", "anno", "target"),
)
"""What the name of a mask has behind (or before) the name of its picture."""

SECOND_OBSERVER = ("manual2", "2ndho", "2ndmanual")
"""Masks by a second person: passed over."""

IMAGE_WORDS = ("image", "img", "im", "original", "orig", "training", "train", "test", "input", "raw")
"""What the name of a picture has behind or before what it shares with its mask: 21_training.tif, img_07.png."""

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test", "testing": "test"}
"""Folder name -> split."""

_SEPARATOR = re.compile(r"([-_. ]+)")


def plain(name: str) -> str:
    """``Ground Truth`` -> ``groundtruth``."""
    return _SEPARATOR.sub("", name).casefold()


def split_of(folder: str) -> str | None:
    """The split that the name of a folder speaks of: also stage1_train, ISIC2018_Training."""
    words = [word.casefold() for word in _SEPARATOR.split(folder)[::2]]
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def core(name: str, words: tuple[str, ...]) -> str:
    """A stem without such words at its ends: ``21_manual1`` -> ``21``, ``mask_07`` -> ``07``; itself where nothing else would be left."""
    parts = _SEPARATOR.split(name)
    while len(parts) > 2 and parts[-1].casefold() in words:
        parts = parts[:-2]
    while len(parts) > 2 and parts[0].casefold() in words:
        parts = parts[2:]
    return "".join(parts)


def mask_suffix_of(name: str) -> tuple[str, str] | None:
    """``a_mask`` -> (``a``, ``mask``), ``a_mask_1`` -> (``a``, ``mask_1``); None for a stem that ends in no such word."""
    parts = _SEPARATOR.split(name)
    numbered = len(parts) > 4 and parts[-1].isdigit()
    last = parts[-3] if numbered else parts[-1]
    if len(parts) < 3 or last.casefold() not in MASK_WORDS + SECOND_OBSERVER:
        return None
    cut = -4 if numbered else -2
    return "".join(parts[:cut]), "".join(parts[cut + 1 :])


def mask_prefix_of(name: str) -> tuple[str, str] | None:
    """``mask_a`` -> (``a``, ``mask``); None for a stem that begins with no such word."""
    first, _, *rest = [*_SEPARATOR.split(name), ""]
    return ("".join(rest), first) if first.casefold() in MASK_WORDS and any(rest) else None
