"""Bootstrap intervals: the mean by hand, the ends against a loop that draws one patient at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segkit.errors import ShapeError
from segkit.metrics.intervals import Interval, bootstrap_mean

NAN = math.nan


def test_of_two_patients_that_differ_every_mean_between_them_is_possible() -> None:
    found = bootstrap_mean(np.array([[0.0], [1.0]]), ["a", "b"])                      # draws: aa, ab, ba, bb
    assert found == Interval(0.5, 0.0, 1.0, 2)


def test_the_cases_of_a_patient_are_drawn_together() -> None:
    scores = np.array([0.0] * 50 + [1.0] * 50)[:, None]
    by_patient = bootstrap_mean(scores, ["a"] * 50 + ["b"] * 50)
    by_case = bootstrap_mean(scores, [str(number) for number in range(100)])
    assert (by_patient.low, by_patient.high, by_patient.groups) == (0.0, 1.0, 2)
    assert by_case.low == pytest.approx(0.4, abs=0.02)                               # 1.96 standard errors of 0.05
    assert by_case.high == pytest.approx(0.6, abs=0.02)


def test_the_mean_is_over_classes_of_means_over_cases_and_what_is_left_out_is_in_neither() -> None:
    scores = np.array([[0.5, NAN], [0.7, 0.9], [NAN, NAN]])
    found = bootstrap_mean(scores, ["a", "b", "c"])
    assert found.mean == pytest.approx((0.6 + 0.9) / 2)
    assert found.groups == 2                                                         # c has no number


def test_the_interval_is_that_of_a_loop_over_patients() -> None:
    rng = np.random.default_rng(1)
    scores, groups = rng.random((30, 2)), [f"p{number // 3}" for number in range(30)]
    scores[rng.random(scores.shape) < 0.2] = NAN
    means = []
    for _ in range(4000):
        drawn = [case for patient in rng.integers(0, 10, 10) for case in range(30) if groups[case] == f"p{patient}"]
        means.append(np.nanmean(scores[drawn], axis=0).mean())
    found = bootstrap_mean(scores, groups)
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]).tolist(), abs=0.012)
    assert found == bootstrap_mean(scores, groups)                                   # the same each time


@pytest.mark.parametrize("scores", [np.array([[0.3], [0.5]]), np.array([[NAN], [0.5]])])
def test_one_patient_has_a_mean_and_no_interval(scores: np.ndarray) -> None:
    found = bootstrap_mean(scores, ["a", "a"])
    assert found.mean == pytest.approx(np.nanmean(scores))
    assert not found.is_known
    assert not found.is_apart_from(Interval(0.9, 0.8, 1.0, 3))


def test_nothing_scored_has_no_mean() -> None:
    assert math.isnan(bootstrap_mean(np.full((2, 1), NAN), ["a", "b"]).mean)


def test_intervals_that_touch_are_not_apart() -> None:
    low = Interval(0.3, 0.2, 0.4, 5)
    assert not low.is_apart_from(Interval(0.5, 0.4, 0.6, 5))
    assert low.is_apart_from(Interval(0.5, 0.41, 0.6, 5))
    assert Interval(0.5, 0.41, 0.6, 5).is_apart_from(low)


def test_each_case_needs_a_group() -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 1\), and there are 1 groups"):
        bootstrap_mean(np.zeros((2, 1)), ["a"])
