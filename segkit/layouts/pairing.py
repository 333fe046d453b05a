"""Two lists of files become pairs by their names, in the way that pairs the most of them.

::

    images/07.png          masks/07.png            the same name
    images/21_training.tif 1st_manual/21_manual1.gif    the same but for words that say what a file is
    images/07.png          masks/07_nerve.png      the name of the picture, and more behind it: classes or parts
                           masks/07_vessel.png
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.errors import PairingError
from segkit.io.files import stem
from segkit.layouts.found import Combine, FoundCase, FoundDataset
from segkit.layouts.words import IMAGE_WORDS, MASK_WORDS, SECOND_OBSERVER, core

MOST_CLASSES = 32
"""So many different words behind the names of pictures, or values in masks, may be classes; more are something else."""

Matches = dict[Path, list[tuple[Path, str]]]
"""Picture -> its masks, each with what its name has more."""


@dataclass(frozen=True)
class Place:
    """A folder and the files in it: a file is called by where it lies below the folder."""

    folder: Path
    files: Sequence[Path]

    def keys(self, name: Callable[[str], str], with_folders: bool) -> dict[Path, str]:
        return {file: self._key(file, name, with_folders) for file in self.files}

    def _key(self, file: Path, name: Callable[[str], str], with_folders: bool) -> str:
        below = file.relative_to(self.folder).parent.as_posix() if with_folders else "."
        return name(stem(file)) if below == "." else f"{below}/{name(stem(file))}"


def pair_places(root: Path, layout: str, images: Place, masks: Place, notes: Sequence[str] = ()) -> FoundDataset:
    """Pictures and masks of two folders.

    Raises
    ------
    PairingError
        No name of a mask has anything to do with that of a picture.
    """
    others = [mask for mask in masks.files if core(stem(mask), SECOND_OBSERVER) != stem(mask)]
    kept = Place(masks.folder, [mask for mask in masks.files if mask not in others])
    said = [*notes, *([f"{len(others)} masks of a second observer are left out"] if others else [])]
    words, matches = max(_ways(images, kept), key=lambda way: len(way[1]))  # the first among equals
    if not matches:
        raise PairingError(
            f"{root}: {len(images.files)} pictures in {images.folder.name} and {len(masks.files)} masks in {masks.folder.name}, and no two names go together "
            f"({_few(images.files)} / {_few(masks.files)}); name a mask as its picture, or write a manifest (CSV with columns image and mask)"
        )
    return from_matches(root, layout, images.files, kept.files, matches, [*said, words])


def from_matches(root: Path, layout: str, images: Sequence[Path], masks: Sequence[Path], matches: Matches, notes: Sequence[str]) -> FoundDataset:
    """The data set of what was matched; what several masks of a picture are is told by what their names have more."""
    classes, words = _meaning(matches)
    taken = {mask for of_image in matches.values() for mask, _ in of_image}
    paired = [image for image in images if image in matches]
    combine: Combine = "classes" if classes else "one" if words is None else "instances"
    cases = []
    for image in paired:
        drawn = sorted(matches[image])
        cases.append(FoundCase((image,), tuple(mask for mask, _ in drawn), "", combine, tuple(rest for _, rest in drawn) if classes else ()))
    return FoundDataset(
        root, layout, tuple(cases),
        notes=(*notes, *([words] if words else [])),
        unpaired_images=tuple(image for image in images if image not in matches),
        unpaired_masks=tuple(mask for mask in masks if mask not in taken),
    )  # fmt: skip


def _ways(images: Place, masks: Place) -> list[tuple[str, Matches]]:
    """What each way of pairing finds, the plainest first."""
    ways: list[tuple[str, Matches]] = []
    for with_folders in (True, False):
        where = "" if with_folders else ", wherever below the folders they lie"
        ways.append((f"paired by the same name{where}", _equal(images.keys(str, with_folders), masks.keys(str, with_folders))))
        image_keys = images.keys(lambda name: core(name, IMAGE_WORDS), with_folders)
        mask_keys = masks.keys(lambda name: core(name, MASK_WORDS), with_folders)
        ways.append((f"paired by names without words such as _mask{where}", _equal(image_keys, mask_keys)))
        longer = _longer(images.keys(str, with_folders), masks.keys(str, with_folders))
        ways.append((f"paired by the name of the picture, with more behind it{where}", longer))
    return ways


def _equal(images: Mapping[Path, str], masks: Mapping[Path, str]) -> Matches:
    """Keys that stand once on either side."""
    image_of, mask_of = _unique(images), _unique(masks)
    return {image: [(mask_of[key], "")] for key, image in image_of.items() if key in mask_of}


def _unique(keys: Mapping[Path, str]) -> dict[str, Path]:
    counts = Counter(keys.values())
    return {key: path for path, key in keys.items() if counts[key] == 1}


def _longer(images: Mapping[Path, str], masks: Mapping[Path, str]) -> Matches:
    """Masks whose key begins with that of a picture and a separator; the longest such picture."""
    image_of = _unique(images)
    matches: Matches = defaultdict(list)
    for mask, key in masks.items():
        cuts = [found.start() for found in re.finditer(r"[-_. ]", key)]
        start = next((cut for cut in [len(key), *reversed(cuts)] if key[:cut] in image_of), None)
        if start is not None:
            matches[image_of[key[:start]]].append((mask, key[start + 1 :]))
    return dict(matches)


def _meaning(matches: Matches) -> tuple[bool, str | None]:
    """Whether masks are classes, and words for what several masks of a picture are; None where each has one."""
    rests = {rest for drawn in matches.values() for _, rest in drawn}
    named = {rest for rest in rests if rest and not _is_number(rest)}
    if len(named) > 1 and named == rests and len(named) <= MOST_CLASSES:
        return True, f"one mask for each class: {', '.join(sorted(named))}; a pixel that none of them has is background"
    if all(len(drawn) == 1 for drawn in matches.values()):
        return False, None
    return False, "several masks of a picture are taken for its objects or parts: together they are the foreground"


def _is_number(rest: str) -> bool:
    """``3``, or ``mask_1``, or the bare word ``mask``."""
    return all(part.isdigit() or part.casefold() in MASK_WORDS for part in re.split(r"[-_. ]+", rest))


def _few(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files[:2]) + (", …" if len(files) > 2 else "")
