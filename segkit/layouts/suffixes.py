"""Pictures and masks in the same folders, told by their names.

::

    a.tif  a_mask.tif                  the name of a mask ends in such a word, or (mask_a.tif) begins with one
    a.png  a_mask.png  a_mask_1.png    further masks of a picture are parts of the same
    a.png  a_liver.png  a_spleen.png   where every file is a picture or such a mask: classes
    a.jpg  a.png                       where every picture is a JPEG, and every mask is none
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from segkit.io.files import stem
from segkit.io.sniff import Format, named
from segkit.layouts.found import FoundDataset
from segkit.layouts.listing import pictures_in
from segkit.layouts.pairing import Matches, from_matches
from segkit.layouts.words import IMAGE_WORDS, SECOND_OBSERVER, core, mask_prefix_of, mask_suffix_of

NAME = "masks beside their pictures, told by their names"


def find(root: Path) -> FoundDataset | None:
    """A folder, or folders below it, with at least one such pair; by classes and by endings only where no file is left over."""
    if not root.is_dir():
        return None
    files = pictures_in(root)
    by_words = _by_words(root, files, mask_suffix_of, "end in") or _by_words(root, files, mask_prefix_of, "begin with")
    return by_words or _by_classes(root, files) or _by_endings(root, files)


def _by_words(root: Path, files: list[Path], word_of: Callable[[str], tuple[str, str] | None], where: str) -> FoundDataset | None:
    words = {file: word_of(stem(file)) for file in files}
    images = [file for file in files if words[file] is None]
    by_name = {(file.parent, core(stem(file), IMAGE_WORDS)): file for file in images} | {(file.parent, stem(file)): file for file in images}
    matches: Matches = {}
    masks, others = [], 0
    for file, word in words.items():
        if word is None:
            continue
        if word[1].casefold() in SECOND_OBSERVER:
            others += 1
            continue
        masks.append(file)
        image = by_name.get((file.parent, word[0]))
        if image is not None:
            matches.setdefault(image, []).append((file, word[1]))
    if not matches:
        return None
    told = sorted({rest.rstrip("0123456789_-. ") or rest for drawn in matches.values() for _, rest in drawn})
    notes = [f"masks {where} {', '.join(told)}", *([f"{others} masks of a second observer are left out"] if others else [])]
    return from_matches(root, NAME, images, masks, _as_parts(matches), notes)


def _by_classes(root: Path, files: list[Path]) -> FoundDataset | None:
    """Several words, each behind several pictures: one word alone, or a word that stands once, may be anything."""
    names = {(file.parent, stem(file)): file for file in files}
    matches: Matches = {}
    for file in files:
        name = stem(file)
        cuts = [cut.start() for cut in re.finditer(r"[-_. ]", name)]
        start = next((cut for cut in reversed(cuts) if (file.parent, name[:cut]) in names), None)
        if start is not None:
            matches.setdefault(names[file.parent, name[:start]], []).append((file, name[start + 1 :]))
    masks = [mask for drawn in matches.values() for mask, _ in drawn]
    counts = Counter(rest for drawn in matches.values() for _, rest in drawn)
    is_clear = len(counts) > 1 and min(counts.values()) > 1 and not any(rest.isdigit() for rest in counts)
    return from_matches(root, NAME, list(matches), masks, matches, []) if is_clear and {*masks, *matches} == set(files) and not {*masks} & {*matches} else None


def _by_endings(root: Path, files: list[Path]) -> FoundDataset | None:
    images = {(file.parent, stem(file)): file for file in files if named(file) is Format.JPEG}
    masks = {(file.parent, stem(file)): file for file in files if named(file) is not Format.JPEG}
    if not images or images.keys() != masks.keys() or len(images) + len(masks) < len(files):
        return None
    matches: Matches = {image: [(masks[name], "")] for name, image in images.items()}
    return from_matches(root, NAME, list(images.values()), list(masks.values()), matches, ["pictures are JPEG, their masks of the same name are none"])


def _as_parts(matches: Matches) -> Matches:
    """Words such as mask say no class; only numbers behind them tell files apart."""
    return {image: [(mask, str(number)) for number, (mask, _) in enumerate(sorted(drawn))] for image, drawn in matches.items()}
