"""The score: one sentence that tells the truth, then each class with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from segkit.errors import counted
from segkit.metrics import EMPTY_MASKS, EmptyRule, Evaluation
from segkit.metrics.intervals import Floats, Interval, bootstrap_mean
from segkit.report.charts import forest_chart
from segkit.report.markup import Markup, figure, folded, join, note, section, table, tag
from segkit.report.material import Material

FEW_GROUPS = 10
"""Of fewer patients intervals by the bootstrap are too narrow."""

RULES: dict[EmptyRule, str] = {
    "leave-out": "A class that stands in neither mask of a case is left out of that case's score",
    "perfect": "A class that stands in neither mask of a case counts as 1 there",
    "worst": "A class that stands in neither mask of a case counts as 0 there",
}
"""For empty masks, in a sentence; `EMPTY_MASKS` has them in full."""

MEANINGS = {
    "dice": "Dice: how well the predicted and the true area cover each other, from 0 (not at all) to 1 (the same)",
    "iou": "iou: what both areas share, divided by what either covers; from 0 to 1 too, and always below Dice in between",
    "precision": "precision: how much of what was predicted is right",
    "recall": "recall: how much of what is there was found (sensitivity)",
    "hd95": "hd95: how far apart the two outlines are at their worst, leaving out the worst 5 %; 0 is best",
    "assd": "assd: how far apart the two outlines are on average; 0 is best",
    "nsd": "nsd: share of the outlines that are no farther apart than the tolerance",
    "cldice": "clDice: how well the centre lines of the two cover each other, for vessels and the like",
    "ap50": "ap50: share of the objects that were found with an iou of 0.5 at least, of all that were found or should have been",
    "ap": "ap: the same, the mean over stricter and stricter demands",
}
"""Metrics in the words of who reads them."""


def dice_of(evaluation: Evaluation) -> Floats:
    """(N, K), NaN where the rule for empty masks leaves a case out."""
    return np.array([[case.classes[name].scores["dice"] for name in evaluation.names] for case in evaluation.cases])


def headline(material: Material) -> Markup:
    """The one sentence, with the rule for empty masks."""
    evaluation = material.evaluation
    if evaluation is None:
        return tag("p", _validation_score(material), class_="lead")
    interval = bootstrap_mean(dice_of(evaluation), material.groups)
    classes = "" if len(evaluation.names) == 1 else f", the mean of {len(evaluation.names)} classes,"
    count = with_patients(len(evaluation.cases), len(set(material.groups)), known=material.groups_unknown is None)
    whose = f"on {count} that {_were(evaluation)} never trained on." if material.is_tested else f"on {count} that validated. {_why_too_good(material)}"
    rule = RULES[evaluation.settings.empty]
    said = tag("strong", f"Dice {score(interval.mean)}")
    return tag("p", said, f" {in_words(interval)}{classes} {whose} {rule}.", class_="lead")


def _were(evaluation: Evaluation) -> str:
    return "was" if len(evaluation.cases) == 1 else "were"


def _why_too_good(material: Material) -> str:
    trained = "Each was scored by the fold that was not trained on it, but they" if len(material.trainings) > 1 else "They were not trained on, but they"
    return f"{trained} also chose the best weights, so that the score is somewhat too good."


def _validation_score(material: Material) -> Markup:
    facts = material.trainings[0].facts or {}
    outcome, names = facts.get("outcome"), facts.get("data", {}).get("validation", [])
    if outcome is None or len(material.trainings) > 1:
        return join(["This run has no score: it did not come to its end."])
    if (best := outcome["best"]) is None:
        return join(["This run has no score: no validation mask held any foreground."])
    said = tag("strong", f"Dice {score(best)}")
    why = "They also chose the best weights, so that the score is somewhat too good; no other cases were scored."
    return join([said, f" on {counted(len(names), 'validation case')}. {why}"])


def with_patients(cases: int, groups: int, *, known: bool = True) -> str:
    """20 cases of 7 patients; where each has a group of its own, that may be so only because nobody said whose they are."""
    told = counted(cases, "case")
    if not known or cases == 1:
        return told if known else f"{told} (whose they are is not known)"
    return f"{told} of {counted(groups, 'patient')}" if groups < cases else f"{told} (of as many patients, as far as is known)"


def score(value: float) -> str:
    """0.7854 -> "0.785"; an en dash where there is none."""
    return f"{value:.3f}" if math.isfinite(value) else "–"


def in_words(interval: Interval) -> str:
    return f"(95 % interval {score(interval.low)} to {score(interval.high)})" if interval.is_known else "(no interval: it takes two patients)"


def scores_section(material: Material) -> Markup:
    """Forest plot, table, and how to read them."""
    evaluation = material.evaluation
    if evaluation is None:
        line = "There is no test/evaluation.json: no case was scored by itself, so there are no intervals."
        return section("scores", "Score", note(line))
    scores = dice_of(evaluation)
    intervals = {name: bootstrap_mean(scores[:, [number]], material.groups) for number, name in enumerate(evaluation.names)}
    rows = {name: (interval, scores[:, number].tolist()) for number, (name, interval) in enumerate(intervals.items())}
    if len(rows) > 1:
        rows["all classes"] = bootstrap_mean(scores, material.groups), ()
    mean = "the mean with its 95 % interval" if _any_known(intervals) else "the mean"
    title = f"Dice of each class: {mean}, over the cases as dots"
    forest = figure(forest_chart(rows, "Dice", title), title, ".", class_="chart")
    return section("scores", "Score", forest, _class_table(evaluation, intervals, scores), *_reading(material, evaluation, _any_known(intervals)))


def _any_known(intervals: dict[str, Interval]) -> bool:
    return any(interval.is_known for interval in intervals.values())


def _class_table(evaluation: Evaluation, intervals: dict[str, Interval], scores: Floats) -> Markup:
    others = [(metric, title) for metric, title in zip(evaluation.metrics, evaluation.titles, strict=True) if metric != "dice"]
    header = ["class", "Dice", "95 % interval", "median", *(f"{title}" for _, title in others), "in the truth", "missed", "invented"]
    rows = []
    for number, (name, interval) in enumerate(intervals.items()):
        summary = evaluation.classes[name]
        held = summary.cases - summary.both_empty - summary.spurious
        ends = f"{score(interval.low)} to {score(interval.high)}" if interval.is_known else "–"
        known = scores[:, number][~np.isnan(scores[:, number])]
        middle = float(np.median(known)) if len(known) else math.nan
        means = [_shown(summary.means[metric]) for metric, _ in others]
        rows.append([name, score(interval.mean), ends, score(middle), *means, f"{held} of {summary.cases}", summary.missed, summary.spurious])
    return table("Scores of each class: means over the cases", header, rows, numbers=range(1, len(header)))


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _reading(material: Material, evaluation: Evaluation, has_intervals: bool) -> Sequence[Markup]:
    meanings = (f"{MEANINGS[metric]}." for metric in evaluation.metrics)
    told = [
        tag("p", _of_intervals(has_intervals)),
        tag("p", "Missed: cases that hold the class, and none of it was found. Invented: cases without it in which some was found."),
        folded("What the columns mean", tag("ul", *(tag("li", meaning) for meaning in meanings))),
        folded("How empty masks are scored, in full", tag("p", EMPTY_MASKS[evaluation.settings.empty])),
    ]
    if material.groups_unknown is not None:
        told.append(note(f"Each case counts as a patient of its own, since the manifest can't be read: {material.groups_unknown}"))
    elif has_intervals and len(set(material.groups)) < FEW_GROUPS:
        told.append(note(f"With {counted(len(set(material.groups)), 'patient')} the intervals are too narrow: the score may vary by more."))
    return [*told, *(note(warning[:1].upper(), warning[1:], ".") for warning in evaluation.warnings)]


def _of_intervals(there: bool) -> str:
    if not there:
        return "There is no interval: how much a score differs from patient to patient can't be told from one patient. With others it may be quite another."
    return (
        "The intervals say how far the mean would move with other patients of the same kind: 2,000 times as many patients as there are were drawn, each "
        "with all its cases, and 95 % of the means lie within. They don't say how far it would move with another training, or another hospital."
    )
