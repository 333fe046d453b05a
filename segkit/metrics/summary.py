"""The scores of many cases, and what is read from them: means that say how many cases they leave out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from segkit.metrics.catalogue import METRICS
from segkit.metrics.settings import DEFAULT_SETTINGS, EmptyRule, ScoreSettings

EMPTY_MASKS: Mapping[EmptyRule, str] = {
    "leave-out": (
        "A class that is empty in both masks of a case is left out of its means (left_out). "
        "Where it is empty in the prediction alone (missed) or in the truth alone (spurious), distances (hd95, assd) are null and left out, "
        "precision is null where nothing was predicted, recall where nothing was there, and all other metrics are 0 and count."
    ),
    "perfect": (
        "A class that is empty in both masks of a case counts as perfect: distances (hd95, assd) are 0, all other metrics 1. "
        "Where it is empty in the prediction alone (missed) or in the truth alone (spurious) it counts as the worst: "
        "distances are the diagonal of the case, the largest on its grid, all other metrics 0."
    ),
    "worst": (
        "A class that is empty in a case, in both masks, in the prediction alone (missed) or in the truth alone (spurious), counts as the worst: "
        "distances (hd95, assd) are the diagonal of the case, the largest on its grid, all other metrics 0."
    ),
}
"""The rules for empty masks, `ScoreSettings.empty`, as they are written into every result."""

MANY_EMPTY = 0.9
"""With more than this share of the truths empty, the scores rest on few cases, and a warning says so."""


@dataclass(frozen=True)
class ClassScore:
    """One class of one case: metric -> number (NaN where it is not defined), and the pixels of both masks."""

    scores: Mapping[str, float]
    prediction_px: int
    truth_px: int


@dataclass(frozen=True)
class CaseScore:
    """One picture or volume: class name -> scores; distances are in mm where the spacing is known, else in px."""

    case: str
    spacing_mm: tuple[float, ...] | None
    classes: Mapping[str, ClassScore]

    @property
    def unit(self) -> Literal["mm", "px"]:
        return "px" if self.spacing_mm is None else "mm"


@dataclass(frozen=True)
class ClassSummary:
    """One class over all cases.

    Attributes
    ----------
    means : metric -> mean over the cases where it is defined; NaN where it is nowhere
    cases : number of cases
    left_out : cases that are in no mean: those where both masks are empty, if the rule for empty masks leaves them out
    both_empty : cases where both masks are empty
    missed : cases where only the prediction is empty
    spurious : cases where only the truth is empty
    """

    means: Mapping[str, float]
    cases: int
    left_out: int
    both_empty: int
    missed: int
    spurious: int


@dataclass(frozen=True)
class Evaluation:
    """All scores of a set of cases.

    Attributes
    ----------
    names : the classes that are scored, all but the background
    metrics : names out of `METRICS`
    cases : in the order in which they were scored
    notes : how files and labels were found, as far as a reader of the scores must know
    settings : those that the cases were scored with
    """

    names: tuple[str, ...]
    metrics: tuple[str, ...]
    cases: tuple[CaseScore, ...]
    notes: tuple[str, ...] = ()
    settings: ScoreSettings = DEFAULT_SETTINGS

    @cached_property
    def classes(self) -> dict[str, ClassSummary]:
        """Each class over all cases."""
        return {name: self._summary([case.classes[name] for case in self.cases]) for name in self.names}

    @cached_property
    def means(self) -> dict[str, float]:
        """Metric -> mean over the classes of the means over cases; a class without one is left out, and `warnings` names it."""
        return {metric: _mean(summary.means[metric] for summary in self.classes.values()) for metric in self.metrics}

    @property
    def unit(self) -> Literal["mm", "px", "mixed"]:
        """Of the distances; without one unit for all cases their means are NaN."""
        units = {case.unit for case in self.cases}
        return units.pop() if len(units) == 1 else "mixed"

    @property
    def titles(self) -> list[str]:
        """The metrics as a table calls them: with their unit, and with what they depend on."""
        return [self._title(name) for name in self.metrics]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the means alone do not show, one sentence each."""
        return (*self.notes, *self._warnings())

    def to_json(self) -> dict[str, Any]:
        """Plain and strict: None instead of NaN."""
        return {
            "mean": _nulls(self.means),
            "classes": {name: _summary_json(summary) for name, summary in self.classes.items()},
            "unit": self.unit,
            **({"tolerance": self.settings.tolerance} if any(METRICS[metric].tolerance for metric in self.metrics) else {}),
            "empty_rule": self.settings.empty,
            "empty_masks": EMPTY_MASKS[self.settings.empty],
            "warnings": list(self.warnings),
            "cases": [_case_json(case) for case in self.cases],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Evaluation:
        """The way back from `to_json`."""
        names, scored = tuple(told["classes"]), [_case_from_json(case) for case in told["cases"]]
        metrics = tuple(metric for metric in METRICS if metric in told["mean"])
        settings = ScoreSettings(told.get("tolerance", DEFAULT_SETTINGS.tolerance), told["empty_rule"])
        made = cls(names, metrics, tuple(scored), settings=settings)
        return replace(made, notes=tuple(note for note in told["warnings"] if note not in made.warnings))

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Header and one row for each class of each case; None where a metric is not defined."""
        header = ["case", "class", *self.metrics, "unit", "prediction_px", "truth_px"]
        rows = [
            [case.case, name, *_nulls(scored.scores).values(), case.unit, scored.prediction_px, scored.truth_px]
            for case in self.cases
            for name, scored in case.classes.items()
        ]
        return header, rows

    def _summary(self, scored: Sequence[ClassScore]) -> ClassSummary:
        mixed = self.unit == "mixed"
        means = {
            metric: math.nan if mixed and METRICS[metric].needs_one_unit else _mean(one.scores[metric] for one in scored)
            for metric in self.metrics
        }
        found = [(one.prediction_px > 0, one.truth_px > 0) for one in scored]
        both_empty = found.count((False, False))
        left_out = both_empty if self._leaves_out else 0
        return ClassSummary(means, len(scored), left_out, both_empty, missed=found.count((False, True)), spurious=found.count((True, False)))

    @property
    def _leaves_out(self) -> bool:
        return self.settings.empty == "leave-out"

    def _title(self, name: str) -> str:
        metric = METRICS[name]
        tolerance = f" {self.settings.tolerance:g}" if metric.tolerance else ""
        return f"{name}{tolerance} {self.unit}" if metric.needs_one_unit else name

    def _warnings(self) -> Iterator[str]:
        empty = sum(all(scored.truth_px == 0 for scored in case.classes.values()) for case in self.cases)
        if empty > MANY_EMPTY * len(self.cases):
            consequence = "rest on few cases" if self._leaves_out else "are mostly those of empty masks"
            yield f"{empty} of {len(self.cases)} truth masks hold no object at all: the scores {consequence}"
        for name, summary in self.classes.items():
            if summary.both_empty == summary.cases:
                consequence = "it is left out of the means" if self._leaves_out else "its scores are those of empty masks"
                yield f"{name} stands in no truth and in no prediction: {consequence}"
            elif summary.both_empty + summary.missed == summary.cases:
                yield f"every prediction of {name} is empty"
        if self.unit == "mixed" and any(METRICS[metric].needs_one_unit for metric in self.metrics):
            yield "some distances are in mm and some in px, so they have no mean: give the spacing of the files that hold none (--spacing)"


def _mean(values: Iterable[float]) -> float:
    """Of the numbers that are not NaN; NaN where there is none."""
    kept = [value for value in values if not math.isnan(value)]
    return math.fsum(kept) / len(kept) if kept else math.nan


def _nulls(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {metric: None if math.isnan(value) else value for metric, value in scores.items()}


def _summary_json(summary: ClassSummary) -> dict[str, Any]:
    counts = ("cases", "left_out", "both_empty", "missed", "spurious")
    return {**_nulls(summary.means), **{count: getattr(summary, count) for count in counts}}


def _case_json(case: CaseScore) -> dict[str, Any]:
    classes = {
        name: {**_nulls(scored.scores), "prediction_px": scored.prediction_px, "truth_px": scored.truth_px} for name, scored in case.classes.items()
    }
    spacing_mm = None if case.spacing_mm is None else list(case.spacing_mm)
    return {"case": case.case, "unit": case.unit, "spacing_mm": spacing_mm, "classes": classes}


def _case_from_json(told: Mapping[str, Any]) -> CaseScore:
    classes = {name: dict(scored) for name, scored in told["classes"].items()}
    pixels = {name: (scored.pop("prediction_px"), scored.pop("truth_px")) for name, scored in classes.items()}
    scores = {name: {metric: math.nan if value is None else value for metric, value in scored.items()} for name, scored in classes.items()}
    spacing_mm = None if told["spacing_mm"] is None else tuple(told["spacing_mm"])
    return CaseScore(told["case"], spacing_mm, {name: ClassScore(scores[name], *pixels[name]) for name in classes})
