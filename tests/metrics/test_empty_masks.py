"""What empty masks count: each rule, each metric, each way of being empty, with numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segkit.errors import SettingsError
from segkit.metrics import EMPTY_MASKS, METRICS, Comparison, EmptyRule, ScoreSettings, measure, score

EMPTY, FULL = np.zeros((4, 5), bool), np.ones((4, 5), bool)
SPACING_MM = (2.0, 2.0)
DIAGONAL = 10.0  # three steps of 2 mm down, four across: 6 and 8

UNDEFINED = math.nan
OVERLAPS = ("dice", "iou", "nsd", "cldice", "ap50", "ap")
DISTANCES = ("hd95", "assd")

# rule -> both empty, missed, spurious, each as (overlaps, precision, recall, distances)
EXPECTED: dict[EmptyRule, tuple[tuple[float, ...], ...]] = {
    "leave-out": ((UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED), (0, UNDEFINED, 0, UNDEFINED), (0, 0, UNDEFINED, UNDEFINED)),
    "perfect": ((1, 1, 1, 0), (0, 0, 0, DIAGONAL), (0, 0, 0, DIAGONAL)),
    "worst": ((0, 0, 0, DIAGONAL), (0, 0, 0, DIAGONAL), (0, 0, 0, DIAGONAL)),
}
PAIRS = ((EMPTY, EMPTY), (EMPTY, FULL), (FULL, EMPTY))


@pytest.mark.parametrize("rule", EXPECTED)
@pytest.mark.parametrize("case", [0, 1, 2], ids=["both empty", "missed", "spurious"])
def test_each_metric_follows_the_rule(rule: EmptyRule, case: int) -> None:
    overlap, precision, recall, distance = EXPECTED[rule][case]
    expected = dict.fromkeys(OVERLAPS, overlap) | {"precision": precision, "recall": recall} | dict.fromkeys(DISTANCES, distance)
    comparison = Comparison(*PAIRS[case], SPACING_MM, ScoreSettings(empty=rule))
    assert {name: measure(name, comparison) for name in METRICS} == pytest.approx(expected, nan_ok=True)


def test_without_a_spacing_the_diagonal_is_in_pixels() -> None:
    assert measure("assd", Comparison(EMPTY, FULL, None, ScoreSettings(empty="worst"))) == 5.0  # 3 down, 4 across
    assert measure("assd", Comparison(EMPTY[None], FULL[None], None, ScoreSettings(empty="worst"))) == 5.0


def test_no_distance_on_a_grid_is_larger_than_its_diagonal() -> None:
    corner, opposite = EMPTY.copy(), EMPTY.copy()
    corner[0, 0] = opposite[-1, -1] = True
    assert measure("hd95", Comparison(corner, opposite, SPACING_MM)) == DIAGONAL


@pytest.mark.parametrize("rule", EXPECTED)
def test_masks_that_are_not_empty_score_the_same_under_every_rule(rule: EmptyRule) -> None:
    one, other = np.array([[0, 1, 1, 0]]), np.array([[0, 0, 1, 1]])
    everything = tuple(METRICS)
    assert score(one, other, 2, metrics=everything, settings=ScoreSettings(empty=rule)) == score(one, other, 2, metrics=everything)


def test_every_rule_has_its_text_and_names_every_distance() -> None:
    assert set(EMPTY_MASKS) == set(EXPECTED)
    distances = ", ".join(name for name, metric in METRICS.items() if metric.unit == "distance")
    assert all(f"distances ({distances})" in text for text in EMPTY_MASKS.values())


def test_a_rule_that_is_not_known_is_refused() -> None:
    with pytest.raises(SettingsError, match="empty 'one': is no rule for empty masks; choose among leave-out, perfect, worst"):
        ScoreSettings(empty="one")  # type: ignore[arg-type]
