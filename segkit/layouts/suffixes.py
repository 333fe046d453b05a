"""Pictures and masks in the same folders: a.tif and a_mask.tif; further masks of a picture, a_mask_1.png, are parts of the same."""

from __future__ import annotations

from pathlib import Path

from segkit.io.files import stem
from segkit.layouts.found import FoundDataset
from segkit.layouts.listing import pictures_in
from segkit.layouts.pairing import Matches, from_matches
from segkit.layouts.words import IMAGE_WORDS, SECOND_OBSERVER, core, mask_suffix_of

NAME = "masks beside their pictures, told by what their names end in"


def find(root: Path) -> FoundDataset | None:
    """A folder, or folders below it, with at least one such pair."""
    if not root.is_dir():
        return None
    files = pictures_in(root)
    endings = {file: mask_suffix_of(stem(file)) for file in files}
    images = [file for file in files if endings[file] is None]
    by_name = {(file.parent, core(stem(file), IMAGE_WORDS)): file for file in images} | {(file.parent, stem(file)): file for file in images}
    matches: Matches = {}
    masks, others = [], 0
    for file, ending in endings.items():
        if ending is None:
            continue
        if ending[1].casefold() in SECOND_OBSERVER:
            others += 1
            continue
        masks.append(file)
        image = by_name.get((file.parent, ending[0]))
        if image is not None:
            matches.setdefault(image, []).append((file, ending[1]))
    if not matches:
        return None
    words = sorted({rest.rstrip("0123456789_-. ") or rest for drawn in matches.values() for _, rest in drawn})
    notes = [f"masks end in {', '.join(words)}", *([f"{others} masks of a second observer are left out"] if others else [])]
    return from_matches(root, NAME, images, masks, _as_parts(matches), notes)


def _as_parts(matches: Matches) -> Matches:
    """Words such as mask say no class; only numbers behind them tell files apart."""
    return {image: [(mask, str(number)) for number, (mask, _) in enumerate(sorted(drawn))] for image, drawn in matches.items()}
