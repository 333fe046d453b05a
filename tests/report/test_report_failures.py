"""Where a model fails: thirds by hand, and no sentence where chance explains as much."""

from __future__ import annotations

import numpy as np
import pytest

from segkit.image import Image
from segkit.labels import Labels, Mask
from segkit.report.failures import BRIGHTNESS, Pattern, find_pattern, sentence, size_measure
from segkit.report.sight import Place, look

SIZE = size_measure("px")
PATIENTS = [f"p{number}" for number in range(12)]
TWELVE = [100.0, 200, 300, 400, 600, 700, 800, 900, 1100, 1200, 1300, 1400]
LABELS = Labels(("background", "nerve", "vessel"), (0, 1, 2), ignore=255)


def test_thirds_are_cases_in_the_order_of_the_measure() -> None:
    dice = [0.2, 0.3, 0.3, 0.4, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9, 0.8, 0.8]
    backwards = find_pattern(TWELVE[::-1], dice[::-1], PATIENTS)
    assert [(third.low, third.high, third.cases) for third in backwards.thirds] == [(100, 400, 4), (600, 900, 4), (1100, 1400, 4)]
    assert [third.dice.mean for third in backwards.thirds] == pytest.approx([0.3, 0.75, 0.85])
    assert sentence(SIZE, backwards) == "Small objects do worse: Dice 0.30 below 500 px, 0.85 above 1,000 px."


def test_the_middle_third_can_be_the_worst() -> None:
    dice = [0.9, 0.9, 0.8, 0.8, 0.2, 0.3, 0.3, 0.4, 0.9, 0.9, 0.9, 0.8]
    told = sentence(SIZE, find_pattern(TWELVE, dice, PATIENTS))
    assert told == "Objects of middling size do worse: Dice 0.30 from 500 to 1,000 px, 0.88 above 1,000 px."


def test_equal_values_are_not_torn_apart_and_two_parts_have_their_names() -> None:
    pattern = find_pattern([1.0] * 6 + [2.0] * 6, [0.9, 0.8, 0.9, 0.8, 0.9, 0.8, 0.2, 0.3, 0.2, 0.3, 0.2, 0.3], PATIENTS)
    assert [third.cases for third in pattern.thirds] == [6, 6]
    assert sentence(BRIGHTNESS, pattern) == "Bright pictures do worse: Dice 0.25 above 1.5, 0.85 below 1.5."


def test_nothing_is_said_where_all_are_alike() -> None:
    assert sentence(SIZE, find_pattern([5.0] * 12, list(np.linspace(0, 1, 12)), PATIENTS)) is None
    assert sentence(SIZE, find_pattern(TWELVE, [0.8] * 12, PATIENTS)) is None


def test_one_patient_in_a_third_is_no_evidence() -> None:
    groups = ["one"] * 4 + PATIENTS[4:]
    assert sentence(SIZE, find_pattern(TWELVE, [0.2] * 4 + [0.8] * 8, groups)) is None
    assert sentence(SIZE, find_pattern(TWELVE, [0.2] * 4 + [0.8] * 8, PATIENTS)) is not None


def test_chance_is_the_share_of_shuffles_with_as_large_a_gap() -> None:
    clear, none = (find_pattern(TWELVE, dice, PATIENTS).chance for dice in ([0.0] * 4 + [1.0] * 8, [0.0, 1.0] * 6))
    assert clear == pytest.approx(3 / 495, abs=0.006)                    # all four zeros in one of three thirds, of 12 over 4 ways
    assert none == 1.0


def test_random_scores_seldom_look_like_a_pattern() -> None:
    rng = np.random.default_rng(0)
    said = [sentence(SIZE, find_pattern(rng.random(15).tolist(), rng.beta(4, 1.2, 15).tolist(), [str(n) for n in range(15)])) for _ in range(40)]
    assert sum(one is not None for one in said) <= 2


def test_what_chance_explains_is_not_said_though_the_intervals_are_apart() -> None:
    pattern = find_pattern(TWELVE, [0.2] * 4 + [0.9] * 8, PATIENTS)
    assert sentence(SIZE, Pattern(pattern.thirds, 0.009)) is not None
    assert sentence(SIZE, Pattern(pattern.thirds, 0.011)) is None


def test_a_place_is_the_centre_of_a_class_and_how_it_stands_out() -> None:
    indices = np.zeros((4, 8), np.uint8)
    indices[0:2, 6:8] = 1                                                # centre: row 1 of 4, column 7 of 8
    grey = np.where(indices == 1, 12.0, 4.0)                             # mean 5, deviation sqrt(28 / 32 * 4 / 32) * 8
    sight = look(Image(grey[None]), Mask(indices, LABELS))
    assert sight.brightness == 5
    assert set(sight.places) == {"nerve"}
    place = sight.places["nerve"]
    assert (place.row, place.column) == (0.25, 0.875)
    assert place.contrast == pytest.approx(8 / (8 * np.sqrt(28 / 32 * 4 / 32)))
    assert place.from_centre == pytest.approx(np.hypot(0.25, 0.375) / np.sqrt(0.5))


def test_the_corner_is_as_far_as_can_be_and_ignored_pixels_are_no_rest() -> None:
    assert Place(1.0, 0.0, 0.0).from_centre == pytest.approx(1.0)
    indices = np.array([[1, 0, 255]], np.uint8)
    place = look(Image(np.array([[[2.0, 1.0, 90.0]]])), Mask(indices, LABELS)).places["nerve"]
    assert place.contrast == pytest.approx(1.0 / np.std([2.0, 1.0, 90.0]))


def test_a_volume_is_seen_from_the_front() -> None:
    indices = np.zeros((3, 4, 4), np.uint8)
    indices[0, 0, 0], indices[2, 0, 3] = 2, 2
    place = look(Image(np.zeros((3, 1, 4, 4))), Mask(indices, LABELS)).places["vessel"]
    assert (place.row, place.column, place.contrast) == (0.125, 0.5, 0.0)
