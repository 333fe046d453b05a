"""A clean copy of a data set that training takes as it is: images/, masks/, manifest.csv and labels.json; the originals stay untouched.

What can be decided is repaired, what a person has to decide is left out and said. The folder is there whole, or not at all.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segkit.check.likeness import clusters
from segkit.check.reading import read_drawn, read_picture
from segkit.check.report import CheckReport, Evidence
from segkit.check.rules import can_be_joined, inverted_cases
from segkit.check.values import MaskValues, class_names
from segkit.errors import SettingsError, WriteError
from segkit.image import Array, Image
from segkit.io import mask_suffix, write_channels, write_csv, write_json, write_mask, write_png
from segkit.io.atomic import TEMPORARY_PREFIX, reason
from segkit.io.files import stem
from segkit.io.manifest import COLUMNS
from segkit.labels import IGNORE_INDEX, Labels, Mask
from segkit.layouts import FoundCase

TRAIN = "train"

HELD_BY_PNG = {(1, "uint8"), (1, "uint16"), (3, "uint8")}
"""Channels and types of pixels."""

Place = tuple[str, str, str, str]
"""A line of the manifest: image, mask, split, group."""


@dataclass(frozen=True)
class Cleaned:
    """What became of the cases.

    Attributes
    ----------
    left_out : name of the picture -> why
    moved : pictures whose split is another one now
    grouped : pictures that share a group now with others that they had not shared it with
    """

    folder: Path
    labels: Labels
    written: int
    left_out: Mapping[str, str]
    moved: int
    grouped: int


def write_clean(report: CheckReport, folder: Path | str, progress: Callable[[Sequence[int]], Iterable[int]] = iter) -> Cleaned:
    """Write the copy.

    Raises
    ------
    SettingsError
        The folder is not empty, or lies within the data set; it is not clear what the masks mean; no case would be left.
    WriteError
        The disk says no; nothing of the folder is there then.
    """
    folder, evidence = Path(folder), report.evidence
    _require_free(folder, evidence.found.folder)
    labels = _clean_labels(report.values)
    if labels is None:
        raise SettingsError(f"{report.dataset}: it is not clear what the values in the masks mean; say it with --labels")
    left_out = _left_out(evidence)
    kept = [number for number in range(len(evidence.facts)) if number not in left_out]
    if not kept:
        raise SettingsError(f"{report.dataset}: no case would be left; repair some first, the report says how")
    groups, splits = _rearranged(evidence, kept)
    writer = _Writer(report, labels, _channels(evidence, kept))
    temporary = folder.absolute().parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        names = _names([evidence.found.cases[number] for number in kept])
        rows: list[Place] = []
        for number, name in zip(progress(kept), names, strict=True):
            image, mask = writer.write(number, temporary, name)
            rows.append((image, mask, splits[number] or "", groups[number]))
        _finish(temporary, folder, rows, labels)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    cases = evidence.found.cases
    return Cleaned(
        folder,
        labels,
        len(kept),
        {evidence.found.name(cases[number].image): why for number, why in left_out.items()},
        sum(splits[number] != cases[number].split for number in kept),
        sum(groups[number] != cases[number].group for number in kept),
    )


def _require_free(folder: Path, dataset: Path) -> None:
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise SettingsError(f"{folder}: is there already, and not empty; name a new folder for the clean copy")
    if folder.resolve().is_relative_to(dataset.resolve()):
        raise SettingsError(f"{folder}: lies within the data set; name a folder outside of it")


def _clean_labels(values: MaskValues) -> Labels | None:
    """0 and 255 for two classes; class numbers for more, or where 255 is to be ignored."""
    if len(values.names) < 2:
        return None
    ignored = None if values.ignore is None else IGNORE_INDEX
    numbers = (0, 255) if len(values.names) == 2 and ignored is None else range(len(values.names))
    return Labels(values.names, tuple(numbers), ignored)


def _left_out(evidence: Evidence) -> dict[int, str]:
    """Number of a case -> why it is left out; the first reason counts."""
    reasons: dict[int, str] = {}
    for number, fact in enumerate(evidence.facts):
        if fact.problem is not None:
            reasons[number] = fact.problem.message
        elif fact.image is not None and fact.image.low == fact.image.high:
            reasons[number] = "one value everywhere"
    if evidence.values.kind != "0 and 255":
        reasons |= {number: "holds values of no class" for cases in evidence.values.strays.values() for number in cases if number not in reasons}
    reasons |= {number: "seems inverted" for number in inverted_cases(evidence) if number not in reasons}
    exact = [pair for pair in evidence.twins if pair.exact and not {pair.first, pair.second} & reasons.keys()]
    for same in clusters(exact):
        if len({_sha(evidence, number) for number in same}) > 1:
            reasons |= dict.fromkeys(same, "the same picture has different masks")
        else:
            reasons |= dict.fromkeys(same[1:], f"a copy of {evidence.image_names(same[:1])[0]}")
    writable = {number: why for number in evidence.images if number not in reasons and (why := _unwritable(evidence, number)) is not None}
    return dict(sorted((reasons | writable).items()))


def _sha(evidence: Evidence, number: int) -> str:
    mask = evidence.facts[number].mask
    return "" if mask is None else mask.sha


def _channels(evidence: Evidence, numbers: Iterable[int]) -> int | None:
    """What all pictures are brought to, 1 or 3; None where they are alike, or of other kinds."""
    counts = {evidence.images[number].channels for number in numbers}
    if counts != {1, 3}:
        return None
    return 1 if all(evidence.images[number].is_grey for number in numbers) else 3


def _unwritable(evidence: Evidence, number: int) -> str | None:
    """Why a picture that has to be written anew can't be; those that are copied always can."""
    image, case = evidence.images[number], evidence.found.cases[number]
    wanted = _channels(evidence, evidence.images)
    if len(case.images) == 1 and wanted in (None, image.channels):
        return None
    if can_be_joined(image):
        return None
    what = "lies in several files, one for each channel" if len(case.images) > 1 else f"has another number of channels than {wanted}"
    lost = "slices" if image.is_volume else "spacing"
    return f"{what}, and its {lost} would be lost in one picture of {wanted or image.channels} channels"


def _rearranged(evidence: Evidence, kept: Sequence[int]) -> tuple[dict[int, str], dict[int, str | None]]:
    """Group and split of each case: what shows the same view is one group, a group that stood in several splits goes into training."""
    cases = evidence.found.cases
    groups = {number: cases[number].group for number in range(len(cases))}
    name_of = {group: group for group in groups.values()}

    def lead(group: str) -> str:
        while name_of[group] != group:
            group = name_of[group]
        return group

    for pair in evidence.twins:
        one, other = sorted((lead(groups[pair.first]), lead(groups[pair.second])))
        name_of[other] = one
    together = {number: lead(group) for number, group in groups.items()}
    sides: dict[str, set[str]] = {}
    for number, case in enumerate(cases):
        sides.setdefault(together[number], set()).update({case.split} if case.split else ())
    words = Counter(case.split for case in cases if case.split)
    training = TRAIN if TRAIN in words or not words else words.most_common(1)[0][0]
    splits = {number: training if len(sides[together[number]]) > 1 else cases[number].split for number in kept}
    return {number: together[number] for number in kept}, splits


def _names(cases: Sequence[FoundCase]) -> list[str]:
    """Stems; where two pictures share one, with the folders before it."""
    plain = [stem(case.image if len(case.images) == 1 else case.masks[0]) for case in cases]             # a_0000 is only a channel of a
    taken = Counter(name.casefold() for name in plain)
    names = ["_".join((*_folders(case), name)) if taken[name.casefold()] > 1 else name for case, name in zip(cases, plain, strict=True)]
    again = Counter(name.casefold() for name in names)
    return [f"{number:05}_{name}" if again[name.casefold()] > 1 else name for number, name in enumerate(names)]


def _folders(case: FoundCase) -> tuple[str, ...]:
    return tuple(part for part in case.image.parent.parts[-2:] if part not in (os.sep, ".", ".."))


@dataclass(frozen=True)
class _Writer:
    report: CheckReport
    labels: Labels
    channels: int | None

    def write(self, number: int, folder: Path, name: str) -> tuple[str, str]:
        """The picture and its mask, below the folder; where they lie."""
        case = self.report.evidence.found.cases[number]
        image = read_picture(case, self.report.read)
        drawn = read_drawn(case, image, class_names(self.report.evidence.found), self.report.read)
        picture, image = self._picture(case, image, folder, name)
        indices = self._classes(drawn.values)
        mask = f"masks/{name}{mask_suffix(image)}"
        write_mask(Mask(indices, self.labels, image.spacing_mm), image, folder / mask)
        return picture, mask

    def _picture(self, case: FoundCase, image: Image, folder: Path, name: str) -> tuple[str, Image]:
        """Copied as it is where it can be; else upright as a PNG, or a TIFF where a PNG does not hold its channels."""
        if len(case.images) == 1 and self.channels in (None, image.channels):
            place = f"images/{name}{case.image.name[len(stem(case.image)) :]}"
            _copy(case.image, folder / place)
            return place, image
        pixels = _with_channels(image.pixels, self.channels or image.channels)
        if (len(pixels), str(pixels.dtype)) in HELD_BY_PNG:
            place = f"images/{name}.png"
            write_png(folder / place, pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
        else:
            place = f"images/{name}.tif"
            write_channels(folder / place, pixels)
        return place, replace(image, pixels=pixels, origin=None)

    def _classes(self, raw: Array) -> Array:
        values = self.report.values
        if values.kind == "0 and 255" and values.strays:
            return (raw > 127).astype(np.uint8)
        return values.encode(raw)


def _with_channels(pixels: Array, channels: int) -> Array:
    """(C, H, W) -> (1, H, W) of a picture whose channels are alike, or (3, H, W) of a grey one."""
    return pixels if len(pixels) == channels else pixels[:1] if channels == 1 else np.repeat(pixels, 3, axis=0)


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise WriteError(f"{target}: not written: {reason(error)}") from error


def _finish(temporary: Path, folder: Path, rows: Sequence[Place], labels: Labels) -> None:
    """The tables, and the name."""
    write_csv(temporary / "manifest.csv", COLUMNS, rows)
    write_json(temporary / "labels.json", {"labels": labels.mapping, "ignore": labels.ignore})
    try:
        if folder.is_dir():
            folder.rmdir()
        os.replace(temporary, folder)
    except OSError as error:
        raise WriteError(f"{folder}: not written: {reason(error)}") from error
