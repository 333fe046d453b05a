"""The learning rate over the budget."""

from __future__ import annotations

import pytest

from segkit.config import TrainSettings
from segkit.train.schedule import progress, schedule

KINDS = ["cosine", "poly"]


def settings(**train: object) -> TrainSettings:
    return TrainSettings.model_validate(train)


@pytest.mark.parametrize("kind", KINDS)
def test_it_rises_in_the_warm_up_falls_after_it_and_ends_at_0(kind: str) -> None:
    given = settings(schedule=kind, warmup_share=0.2)
    rates = [schedule(number / 100, given) for number in range(101)]
    assert rates[10] == pytest.approx(0.5)
    assert rates[20] == 1
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[100] == 0


def test_half_way_down_a_cosine_is_half_and_a_polynomial_a_little_more() -> None:
    assert schedule(0.5, settings(schedule="cosine", warmup_share=0)) == pytest.approx(0.5)
    assert schedule(0.5, settings(schedule="poly", warmup_share=0)) == pytest.approx(0.5**0.9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_learns_something(kind: str) -> None:
    assert schedule(0, settings(schedule=kind)) > 0
    assert schedule(0, settings(schedule=kind, warmup_share=0)) == 1


def test_steps_are_counted_where_no_time_is_given() -> None:
    assert [progress(step, 1e9, 0, settings(steps=4)) for step in (0, 1, 4, 5)] == [0, 0.25, 1, 1]


def test_time_is_counted_where_it_is_given() -> None:
    assert [progress(10**9, seconds, 0, settings(minutes=2)) for seconds in (0, 30, 120, 999)] == [0, 0.25, 1, 1]


def test_the_last_validation_fits_into_the_time() -> None:
    assert progress(0, 100, 20, settings(minutes=2)) == 1


def test_a_validation_longer_than_the_time_leaves_half_of_it_for_training() -> None:
    assert progress(0, 30, 999, settings(minutes=2)) == 0.5
