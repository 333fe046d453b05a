"""What a search for pictures and masks hands back: which file belongs to which, and why it is thought so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from segkit.io.files import stem
from segkit.layouts.words import IMAGE_FOLDERS, plain

Combine = Literal["one", "classes", "instances"]
"""What the masks of a case are: one file for all, one for each class, one for each object or part (together they are the foreground)."""

FEWEST_GROUPS = 5
"""Folders, or beginnings of names, are taken for patients where there are so many; three folders are rather benign, malignant, normal."""

FEWEST_PATIENTS = 2
"""Where they are called patient07, subject-7 or case 7, so many are enough."""

_PATIENT = re.compile(r"^(.*?(?:patient|pat|subject|subj|sub|case|volume|vol|study|series)[-_ ]?\d+)(?:[-_ .].*)?$", re.IGNORECASE)

_SIDE = re.compile(r"^(.*\d)[-_ ]?(?:l|r|left|right|od|os)$", re.IGNORECASE)

_SURE = re.compile(r"(?:^|[^a-z])(?:patient|pat|subject|subj|sub|case)[-_ ]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class FoundCase:
    """A picture or volume, and the masks drawn on it.

    Attributes
    ----------
    images : one file, or one for each channel (nnU-Net's _0000, _0001), in their order
    masks : one file, or several as `combine` says
    classes : the names of the classes that `masks` hold, one each, where `combine` is "classes"; else empty
    split : "train", "val", "test" or the user's own word; None where the layout says nothing
    group : the patient, or whatever must not lie on both sides of a split; where nothing is known each picture's own name
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    group: str = ""
    combine: Combine = "one"
    classes: tuple[str, ...] = ()
    split: str | None = None

    @property
    def image(self) -> Path:
        """The picture's (first) file."""
        return self.images[0]

    @property
    def is_plain(self) -> bool:
        """One picture and one mask: what training reads as it is."""
        return len(self.images) == 1 and len(self.masks) == 1 and self.combine == "one"


@dataclass(frozen=True)
class FoundDataset:
    """All that a folder or file holds.

    Attributes
    ----------
    root : the folder or file that was searched
    layout : its name in words
    cases : the pairs, in the order of their names
    labels : class name -> value in the masks, background first, where the layout says it
    ignore : value of pixels that count neither in training nor in scores, where the layout says it
    channel_names : of the channels in their order, where the layout says them
    notes : what was decided and why, one line each
    unpaired_images, unpaired_masks : files that no partner was found for
    unlabelled : pictures that the layout itself leaves without masks, such as those to be predicted
    """

    root: Path
    layout: str
    cases: tuple[FoundCase, ...]
    labels: dict[str, int] | None = None
    ignore: int | None = None
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unpaired_images: tuple[Path, ...] = ()
    unpaired_masks: tuple[Path, ...] = ()
    unlabelled: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def folder(self) -> Path:
        """What names in reports are relative to."""
        return self.root if self.root.is_dir() else self.root.parent

    @property
    def is_plain(self) -> bool:
        """Each case is one picture and one mask."""
        return all(case.is_plain for case in self.cases)

    def name(self, path: Path) -> str:
        """A file as reports call it: below the folder, with slashes everywhere."""
        return (path.relative_to(self.folder) if path.is_relative_to(self.folder) else path).as_posix()


def with_groups(found: FoundDataset) -> FoundDataset:
    """Groups for cases that have none: patients as far as folders or names like patient07_slice12 tell, else each picture its own.

    Such a guess keeps pictures together that may not belong together, which costs little; pictures of one patient on both sides of a split cost the truth.
    """
    if all(case.group for case in found.cases):
        return found
    names = [found.name(case.image.with_name(stem(case.image))) for case in found.cases]
    if not any(case.group for case in found.cases):
        for words, guesses in (
            ("pictures in one folder", [_folder_of(found, case) for case in found.cases]),
            ("pictures whose names begin alike (patient07_...)", [_patient_of(case) for case in found.cases]),
            ("the left and the right of one name (07L, 07R)", [_pair_of(case) for case in found.cases]),
        ):
            groups = {guess for guess in guesses if guess}
            if all(guesses) and _fewest(groups) <= len(groups) < len(guesses):
                note = f"{words} are taken for those of one patient: {len(groups)} groups; a manifest with a column group says it better"
                return replace(found, cases=_grouped(found, guesses), notes=(*found.notes, note))
    return replace(found, cases=_grouped(found, names))


def _grouped(found: FoundDataset, groups: Sequence[str]) -> tuple[FoundCase, ...]:
    return tuple(case if case.group else replace(case, group=group) for case, group in zip(found.cases, groups, strict=True))


def _fewest(groups: Iterable[str]) -> int:
    return FEWEST_PATIENTS if all(_SURE.search(group) for group in groups) else FEWEST_GROUPS


def _folder_of(found: FoundDataset, case: FoundCase) -> str:
    """The name of the nearest folder that is not called images; nothing in the searched folder itself."""
    parent = next((folder for folder in case.image.parents if plain(folder.name) not in IMAGE_FOLDERS), case.image.parent)
    return parent.name if parent != found.root and parent.is_relative_to(found.root) else ""


def _patient_of(case: FoundCase) -> str:
    matched = _PATIENT.match(stem(case.image))
    return matched.group(1) if matched else ""


def _pair_of(case: FoundCase) -> str:
    """The name of a left or right eye, knee or breast without its side."""
    matched = _SIDE.match(stem(case.image))
    return matched.group(1) if matched else ""
