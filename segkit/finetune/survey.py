"""From a folder of pictures to cases on two or three sides, and to all that the rules read of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.check import CheckReport, Measurements, examine, write_clean
from segkit.config import DataSettings
from segkit.errors import MaskValuesError, PairingError, SettingsError, counted
from segkit.finetune.splits import TRAIN, VALIDATION, Division, Shelf
from segkit.io import write_csv
from segkit.io.manifest import COLUMNS
from segkit.labels import Labels
from segkit.layouts import FoundCase, find_dataset

TO_COPY = ("0/1 and 0/255 mixed", "object numbers", "files of classes", "files of objects")
"""What masks may be that training can't read as they are: a clean copy of them is trained on."""

MENDED = {
    "soft-masks": "they are told apart at 127",
    "mixed-values": "all are written as 0 and 255",
    "object-numbers": "all objects are written as 255",
    "several-masks": "they are written as one mask",
}
"""Faults of a set that stop `segkit train` and not `segkit finetune`, by their codes, and what is done about them."""

WORTH_WORKERS = 48
"""Cases from which on it pays to start processes that read them."""

MOST_STRAY = 0.1
"""Of the pairs, that may be left out because their masks hold values of no class."""

FEW_STRAYS = 6
"""Values that are named in a message."""

Progress = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Survey:
    """A data set that was looked at, and can be trained on.

    report : of `segkit.check`; of the clean copy, where one was made
    measurements : of all cases that could be read
    labels : what the masks mean
    notes : what was decided, for people to read
    """

    report: CheckReport
    measurements: Measurements
    labels: Labels
    notes: tuple[str, ...]

    @property
    def cases(self) -> tuple[FoundCase, ...]:
        return self.report.evidence.found.cases

    @property
    def names(self) -> list[str]:
        return [self.report.evidence.found.name(case.image) for case in self.cases]

    @property
    def held(self) -> NDArray[np.bool_]:
        """(cases, K - 1) whether a case holds each class but the background."""
        held = np.zeros((len(self.cases), self.labels.num_classes - 1), bool)
        for number, mask in self.report.evidence.masks.items():
            held[number] = self.report.values.pixels(mask)[1:] > 0
        return held

    def shelf(self) -> Shelf:
        """What `segkit.finetune.splits` divides."""
        evidence = self.report.evidence
        unfit = {number: fact.problem.message for number, fact in enumerate(evidence.facts) if fact.problem is not None}
        unfit |= {number: f"its mask holds {value}, which is no class" for value, numbers in self.report.values.strays.items() for number in numbers}
        pairs = [(twins.first, twins.second) for twins in evidence.twins]
        copies = [(twins.first, twins.second) for twins in evidence.twins if twins.exact or twins.is_near]
        return Shelf([case.group for case in self.cases], [case.split for case in self.cases], pairs, copies, self.held, unfit)


def survey(dataset: Path, folder: Path, labels: Labels | None, progress: Progress = iter) -> Survey:
    """Find the pairs, read each once, and make a clean copy in `folder` where training could not read them as they are.

    Raises
    ------
    PairingError
        There are no pairs, or none that can be read.
    MaskValuesError
        It is not clear what the values in the masks mean, or many masks hold values of no class.
    SettingsError
        No mask holds one of the classes.
    """
    found = find_dataset(dataset)
    report = examine(found, labels=labels, workers=0 if len(found.cases) < WORTH_WORKERS else None, progress=progress)
    notes = [f"{report.layout}: {counted(len(report.evidence.found.cases), 'pair')}", *report.decided, *_told_of(report)]
    measurements, known = _require_usable(report)
    if report.values.kind in TO_COPY or not report.evidence.found.is_plain:
        copy = _make_way(folder / "data")
        cleaned = write_clean(report, copy)
        notes.append(f"written as plain pictures and masks to {copy}: {counted(cleaned.written, 'pair')}, {len(cleaned.left_out)} left out")
        report = examine(find_dataset(copy))
        measurements, known = _require_usable(report)
    return Survey(report, measurements, known, tuple(notes))


def _told_of(report: CheckReport) -> Iterator[str]:
    """What was found and does not stop: what is mended by itself as a note that says how, pairs that are left out later, with their number."""
    for finding in (*report.of("error"), *report.of("warning")):
        if finding.code in MENDED:
            yield f"note: {finding.meaning.partition('; ')[0]}: {MENDED[finding.code]}"
        elif finding.code != "stray-values":
            yield f"warning: {finding.meaning}"


def _require_usable(report: CheckReport) -> tuple[Measurements, Labels]:
    """The measurements, and labels that stand for what is in the masks."""
    errors, only = report.of("error"), report.evidence.only_value
    if report.measurements is None:
        first = errors[0].meaning if errors else "there is none"
        raise PairingError(f"{report.dataset}: no pair can be used: {first}; segkit check {report.dataset} says more")
    if only is not None:
        raise MaskValuesError(f"{report.dataset}: the masks hold {only} in every pixel, and nothing else; what is drawn needs another value")
    labels = report.values.as_labels()
    if labels is None:
        unclear = next(finding for finding in errors if finding.code == "values-unclear")
        raise MaskValuesError(f"{report.dataset}: {unclear.meaning}: {unclear.repair}")
    missing = [one.name for one in report.measurements.classes if one.pixel_share == 0]
    if missing:
        raise SettingsError(f"{report.dataset}: no mask holds {' or '.join(missing)}; the masks are read as {report.values.describe()}: correct --labels")
    _require_most(report)
    return report.measurements, labels


def _require_most(report: CheckReport) -> None:
    """Raises MaskValuesError where values of no class throw out so many pairs that a class was forgotten, or is meant as background."""
    values, pairs = report.values, len(report.evidence.facts)
    thrown_out = {number for numbers in values.strays.values() for number in numbers}
    if len(thrown_out) > MOST_STRAY * pairs:
        more = ", …" if len(values.strays) > FEW_STRAYS else ""
        raise MaskValuesError(
            f"{report.dataset}: {len(thrown_out)} of {counted(pairs, 'pair')} would be left out, as their masks hold {', '.join(_strays(report))}{more}, "
            f"which {'is' if len(values.strays) == 1 else 'are'} no class: {' or '.join(_ways_out(report))}"
        )


def _strays(report: CheckReport) -> list[str]:
    """The first values of no class, as --labels takes them."""
    colour = any(isinstance(value, str) for value in (report.values.labels or {}).values())
    return [f"#{value:06x}" if colour else str(value) for value in list(report.values.strays)[:FEW_STRAYS]]


def _ways_out(report: CheckReport) -> list[str]:
    """What to do about values of no class, in words."""
    values, strays = report.values, _strays(report)
    numbers = sorted(value for value in (values.labels or {}).values() if isinstance(value, int))
    if len(numbers) == 2 and len(values.strays) > FEW_STRAYS and numbers[0] < min(values.strays) and max(values.strays) < numbers[1]:
        return [f"where these are soft edges between {numbers[0]} and {numbers[1]}, as JPEG makes them, give --mask-threshold {sum(numbers) // 2} too"]
    named = ",".join([str(values.argument), *(f"class_{value.lstrip('#')}={value}" for value in strays)])
    ways = [f"name what is a class (--labels {named})"]
    if values.ignore is None and len(values.strays) == 1:
        ways.append(f"leave its pixels out of the count (--labels {values.argument},ignore={strays[0]})")
    return [*ways, "draw what is background with the value of the background"]


def _make_way(folder: Path) -> Path:
    """A copy of an earlier try goes."""
    if (folder / "manifest.csv").is_file() and (folder / "labels.json").is_file():
        shutil.rmtree(folder)
    return folder


def write_manifest(survey: Survey, division: Division, path: Path) -> None:
    """The cases that are used, as `segkit train` reads them; paths are relative to the file where that is possible."""
    rows = []
    for number, side in division.sides.items():
        case = survey.cases[number]
        rows.append([_from(path.parent, case.image), _from(path.parent, case.masks[0]), side, division.groups[number]])
    write_csv(path, COLUMNS, rows)


def _from(folder: Path, path: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:                                                       # another drive
        return str(path.resolve())


def data_settings(survey: Survey, manifest: Path) -> DataSettings:
    """How `write_manifest`'s file is read."""
    values = survey.report.values
    labels = survey.labels
    return DataSettings(
        manifest=manifest,
        split=TRAIN,
        validation_split=VALIDATION,
        labels=labels.mapping,
        ignore=values.ignore,
        mask_threshold=labels.threshold,
    )


