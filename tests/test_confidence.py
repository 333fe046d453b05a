"""Probabilities that mean what they say, in numbers that can be redone by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segkit.confidence import (
    ExpectedDice,
    Found,
    calibration_error,
    fit_expected_dice,
    fit_temperature,
    negative_log_likelihood,
    rank_correlation,
    reliability,
    softmax,
)
from segkit.errors import ShapeError


def test_calibration_error_is_how_far_what_was_said_lies_from_what_was_right() -> None:
    """Four pixels at 0.9 of which two are right: 0.4 off. One at 0.55, right: 0.45 off. (4 · 0.4 + 0.45) / 5."""
    confidence, correct = np.array([0.9, 0.9, 0.9, 0.9, 0.55]), np.array([True, True, False, False, True])
    assert calibration_error(confidence, correct, bins=10) == pytest.approx((4 * 0.4 + 0.45) / 5)
    assert reliability(confidence, correct, bins=10) == [pytest.approx((0.55, 1, 0.2)), pytest.approx((0.9, 0.5, 0.8))]


def test_within_a_bin_too_much_and_too_little_balance() -> None:
    confidence, correct = np.array([0.72, 0.78]), np.array([True, False])
    assert calibration_error(confidence, correct, bins=10) == pytest.approx(0.25)          # |1/2 - 0.75|
    assert calibration_error(confidence, correct, bins=20) == pytest.approx((0.28 + 0.78) / 2)


def test_certainty_lies_in_the_last_bin_and_nothing_has_no_error() -> None:
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0
    assert math.isnan(calibration_error(np.empty(0), np.empty(0, bool)))


def test_likelihood_is_that_of_the_true_class() -> None:
    assert negative_log_likelihood(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 0])) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert negative_log_likelihood(np.array([[1e4, 0.0]]), np.array([0])) == 0              # no overflow
    assert math.isnan(negative_log_likelihood(np.empty((0, 2)), np.empty(0, int)))


@pytest.mark.parametrize(("said", "right"), [(0.99, 0.75), (0.75, 0.75), (0.6, 0.9)])
def test_a_temperature_makes_what_is_said_what_is_right(said: float, right: float) -> None:
    """One logit difference d = logit(said) everywhere: the best temperature is d / logit(right), whatever the classes are called."""
    difference = math.log(said / (1 - said))
    logits = np.tile([0.0, difference], (100, 1))
    truth = (np.arange(100) < 100 * right).astype(int)
    temperature = fit_temperature(logits, truth)
    assert temperature == pytest.approx(difference / math.log(right / (1 - right)), rel=1e-3)
    assert softmax(logits / temperature)[0, 1] == pytest.approx(right, abs=1e-3)
    assert fit_temperature(logits + 7, truth) == pytest.approx(temperature)


def test_where_no_temperature_is_best_it_stays_1() -> None:
    assert fit_temperature(np.array([[0.0, 1.0]]), np.array([1])) == 1                      # always right: the lower, the better
    assert fit_temperature(np.array([[0.0, 900.0]]), np.array([1])) == 1                    # as good as any
    assert fit_temperature(np.array([[0.0, 1.0]]), np.array([0])) == 1                      # always wrong: the higher, the better
    assert fit_temperature(np.empty((0, 3)), np.empty(0, int)) == 1


def test_the_line_goes_through_cases_that_lie_on_one() -> None:
    confidence = np.linspace(0.6, 0.95, 9)
    found = fit_expected_dice(Found(np.append(confidence, [np.nan] * 4), np.append(2 * confidence - 1, [1, 1, 1, 0])))
    assert found is not None
    assert (found.at_half, found.at_one, found.when_empty) == pytest.approx((0, 1, 0.75))
    assert [found.of(one) for one in (0.5, 0.8, 1.0, math.nan)] == pytest.approx([0, 0.6, 1, 0.75])


def test_the_line_minimises_squares() -> None:
    confidence = np.array([0.5] * 4 + [1.0] * 4)
    found = fit_expected_dice(Found(confidence, np.array([0.0, 0.2, 0.2, 0.4, 0.7, 0.9, 0.9, 0.9])))
    assert found is not None
    assert (found.at_half, found.at_one, found.when_empty) == pytest.approx((0.2, 0.85, 0))


def test_what_is_expected_stays_between_0_and_1() -> None:
    line = ExpectedDice(at_half=-0.5, at_one=1.5, when_empty=0)
    assert [line.of(one) for one in (0.5, 0.75, 1.0)] == [0, 0.5, 1]


def test_where_confidence_misleads_or_never_differs_the_line_is_level() -> None:
    falling = fit_expected_dice(Found(np.linspace(0.6, 0.9, 8), np.linspace(0.9, 0.6, 8)))
    constant = fit_expected_dice(Found(np.full(8, 0.7), np.linspace(0.9, 0.6, 8)))
    for found in (falling, constant):
        assert found is not None
        assert (found.of(0.5), found.of(1.0)) == pytest.approx((0.75, 0.75))


def test_an_empty_mask_is_expected_to_be_wrong_where_none_was_seen() -> None:
    found = fit_expected_dice(Found(np.linspace(0.6, 0.9, 8), np.linspace(0.6, 0.9, 8)))
    assert found is not None
    assert found.of(math.nan) == 0


def test_of_few_cases_nothing_is_learnt() -> None:
    assert fit_expected_dice(Found(np.append(np.linspace(0.6, 0.9, 7), [np.nan] * 9), np.ones(16))) is None


def test_of_few_cases_parts_give_the_slope_and_the_cases_the_level() -> None:
    """Through parts at 0.5 and 0.9 the weighted line rises by 0.2 / 0.4; it is moved to the cases' means, 0.8 and 0.6."""
    parts = Found(np.array([0.5] * 4 + [0.9] * 4 + [np.nan]), np.array([0.1, 0.1, 0.1, 0.7, 0.3, 0.3, 0.3, 0.3, 1]), np.array([1, 1, 1, 0, 1, 1, 1, 1, 9]))
    found = fit_expected_dice(Found(np.array([0.7, 0.9, np.nan]), np.array([0.5, 0.7, 1])), parts)
    assert found is not None
    assert (found.of(0.8), found.of(1.0), found.when_empty) == pytest.approx((0.6, 0.7, 1))
    assert found.learnt_from == "8 parts of 2 cases"
    assert fit_expected_dice(Found(np.array([np.nan]), np.array([1.0])), parts) is None         # nothing says how high the line lies


def test_with_cases_enough_parts_are_not_asked() -> None:
    confidence = np.linspace(0.6, 0.95, 8)
    found = fit_expected_dice(Found(confidence, 2 * confidence - 1), Found(confidence, 1 - confidence))
    assert found is not None
    assert (found.at_one, found.learnt_from) == (pytest.approx(1), "8 cases")


def test_ranks_correlate_whatever_the_distances() -> None:
    """1 - 6 · (1 + 1) / (4 · 15)."""
    assert rank_correlation(np.array([0.1, 0.2, 0.3, 0.9]), np.array([0.0, 0.6, 0.5, 0.7])) == pytest.approx(0.8)
    assert rank_correlation(np.array([1.0, 1.0, 3.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(1.5 / math.sqrt(1.5 * 2))    # ranks 1.5, 1.5, 3
    assert rank_correlation(np.array([0.1, 0.2]), np.array([0.1, 0.2])) is None
    assert rank_correlation(np.full(4, 0.5), np.arange(4) / 4) is None
    assert rank_correlation(np.arange(4) / 4, np.full(4, 0.5)) is None


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"logits have shape \(3, 2\), the truth \(2,\); expected \(N, K\) and \(N,\)"):
        fit_temperature(np.zeros((3, 2)), np.zeros(2, int))
    with pytest.raises(ShapeError, match=r"confidence has shape \(3,\), correct \(2,\)"):
        calibration_error(np.zeros(3), np.zeros(2, bool))
    with pytest.raises(ShapeError, match=r"confidence has shape \(3,\), dice \(2,\)"):
        Found(np.zeros(3), np.zeros(2))
