"""Whether the model is as sure as it is right, of pixels and of whole cases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from segkit.confidence import FEWEST_TO_TRUST
from segkit.errors import counted
from segkit.report.charts import reliability_chart, square_chart
from segkit.report.markup import Markup, figure, note, section, tag
from segkit.report.material import Material
from segkit.report.scores import score

CORRELATED = 0.5
"""Correlation of the expected and the true Dice from which cases can be sorted by it."""

CAPTION = "Pixels by the probability that the model gives its choice. On the dashed line it is as often right as it says; below it, it is too sure of itself."


def calibration_section(material: Material) -> Markup:
    told = material.calibration
    if told is None:
        line = "There is no test/calibration.json: it was not measured whether the model's probabilities are true."
        return section("calibration", "Can its confidence be trusted?", note(line))
    curves = {"as trained": _curve(told["before"]), "calibrated, as stored": _curve(told["after"])}
    drawn = figure(reliability_chart(curves, "Share of right pixels by confidence"), CAPTION, class_="chart")
    return section("calibration", "Can its confidence be trusted?", _in_words(told), *_reliance(material), tag("div", drawn, _cases(material), class_="charts"))


def _curve(bins: list[list[float]]) -> list[tuple[float, float, float]]:
    return [(said, right, share) for said, right, share in bins]


def _in_words(told: dict[str, Any]) -> Markup:
    count = told["cases"]
    tested = f"{counted(count, 'case')} that {'was' if count == 1 else 'were'} never trained on"
    whose = tested if told["scored_on"] == "test" else f"{counted(count, 'validation case')}, which calibrated it too: somewhat too good"
    before, after = (score(_number(told[key])) for key in ("ece_before", "ece_after"))
    gap = f"The mean gap between what the model says and what is right (expected calibration error) was {before} as trained"
    return tag("p", f"Measured on {whose}. {gap} and is {after} with its temperature of {_number(told['temperature']):.2f}.")


def _reliance(material: Material) -> Iterator[Markup]:
    """Why the temperature, and what Dice is expected, are little to rely on."""
    count = sum(len((training.facts or {}).get("data", {}).get("validation", ())) for training in material.trainings)
    if 0 < count < FEWEST_TO_TRUST:
        yield note(f"The temperature, and what Dice is expected of a case, were learnt from {counted(count, 'case')}: that is little to rely on.")
    if (material.calibration or {}).get("temperature") == 1:
        yield note("No temperature was found that makes it better, and so it stays 1.")


def _cases(material: Material) -> Markup:
    """Expected against true Dice."""
    told = material.calibration or {}
    if material.expected is None:
        return note("There is no test/confidence.csv: what Dice was expected of each case is not known.")
    points = [(expected, dice) for _, expected, dice in material.expected if math.isfinite(expected) and math.isfinite(dice)]
    if not points:
        return note("The model expects no Dice of a case: too few validation cases to learn it from.")
    chart = square_chart(points, "expected Dice", "true Dice", "True Dice of each case by the expected one")
    return figure(chart, _sorting(_number(told.get("correlation"))), class_="chart")


def _sorting(correlation: float) -> str:
    if math.isnan(correlation):
        return "Each dot is a case."
    worth = "what to look at first can be told by it" if correlation >= CORRELATED else "it is of little use to tell which cases need a second look"
    return f"Each dot is a case. Spearman's correlation is {correlation:.2f}: {worth}."


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
