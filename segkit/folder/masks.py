"""Which files of a folder are no pictures but masks of those beside them, told by their names."""

from __future__ import annotations

import os
from collections.abc import Sequence

from segkit.io import Source
from segkit.layouts.words import MASK_WORDS, SECOND_OBSERVER, mask_suffix_of

_WORDS = MASK_WORDS + SECOND_OBSERVER


def without_masks(sources: Sequence[Source]) -> tuple[Sequence[Source], Sequence[Source]]:
    """(pictures, masks): a_mask.png, a_seg.tif, a_mask_1.png are masks where a picture a of any format lies in the same folder, and pictures where none does.

    The words are those of `segkit.layouts`. All sources are listed before a run begins, so it looks at all of them at once; beside
    them it holds the names of pictures that a mask would belong to, and nothing where no name ends in such a word.
    """
    named = {number: picture for number, source in enumerate(sources) if (picture := _picture_of(source)) is not None}
    if not named:
        return sources, ()
    wanted = set(named.values())
    there = {place for source in sources if len(source.places) == 1 and (place := str(source.output)) in wanted}
    masks = {number for number, picture in named.items() if picture in there}
    return [source for number, source in enumerate(sources) if number not in masks], [sources[number] for number in sorted(masks)]


def _picture_of(source: Source) -> str | None:
    """Where the result of the picture would go that this file is a mask of, by its name; a series has no name of its own."""
    file = os.path.basename(source.places[0]).casefold()
    if len(source.places) > 1 or not any(word in file for word in _WORDS):  # which is quick: of most folders no name has one, and there may be millions
        return None
    found = mask_suffix_of(source.output.name)
    return None if found is None else os.path.join(source.folder, found[0])
