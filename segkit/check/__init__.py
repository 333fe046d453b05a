"""What a set of pictures and masks is like, and what is wrong with it, before a network is trained on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from segkit.check.clean import Cleaned, write_clean
from segkit.check.facts import CaseFacts
from segkit.check.likeness import Twins, find_twins
from segkit.check.measurements import Measurements, measure
from segkit.check.report import CheckReport, Evidence, Finding, Severity, in_order
from segkit.check.rules import RULES
from segkit.check.sheet import draw_sheet
from segkit.check.values import MaskValues, class_names, decide_values
from segkit.check.workers import look_at_all
from segkit.errors import counted
from segkit.io import ReadSettings
from segkit.labels import Labels
from segkit.layouts import FoundCase, FoundDataset

__all__ = [
    "RULES",
    "CheckReport",
    "Cleaned",
    "Evidence",
    "Finding",
    "MaskValues",
    "Measurements",
    "Severity",
    "draw_sheet",
    "examine",
    "write_clean",
]

DEFAULT = ReadSettings()


def examine(
    found: FoundDataset,
    *,
    labels: Labels | None = None,
    read: ReadSettings = DEFAULT,
    workers: int | None = None,
    progress: Callable[[Sequence[FoundCase]], Iterable[FoundCase]] = iter,
) -> CheckReport:
    """Read every case of a data set once, decide what its masks mean, measure it, and ask every rule.

    Parameters
    ----------
    labels : what the values in the masks mean; else the layout says it, or the values do
    read : how files are read
    workers : processes that read; None for one a processor, 0 for none
    progress : wrapped around the cases, to draw a bar

    Raises
    ------
    SettingsError
        Labels of the layout that contradict themselves.
    """
    looked = look_at_all(found.cases, class_names(found), read, workers)
    facts = tuple(fact for _, fact in zip(progress(found.cases), looked, strict=True))
    values = decide_values(found, facts, labels)
    measurements = measure([case.group for case in found.cases], [case.split for case in found.cases], facts, values)
    evidence = Evidence(found, facts, values, measurements, tuple(_twins(facts)))
    findings = in_order(finding for rule in RULES for finding in rule(evidence))
    waiting = f"to be predicted, and so passed over: {counted(len(found.unlabelled), 'picture')} without a mask"
    meant = f"{values.kind}: {values.describe()}" if evidence.only_value is None else f"{evidence.only_value} in every pixel of all, and nothing else"
    decided = (*found.notes, *([waiting] if found.unlabelled else []), f"masks: {meant}")
    return CheckReport(found.root, found.layout, decided, values, measurements, findings, evidence, read)


def _twins(facts: Sequence[CaseFacts]) -> list[Twins]:
    """Pictures on which nothing is to be seen are like none."""
    images = [fact.image if fact.image is not None and fact.image.low < fact.image.high else None for fact in facts]
    return find_twins([None if image is None else image.sha for image in images], [None if image is None else image.signature for image in images])
