"""How sure to be, learnt from masks that are drawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from segkit.calibrate import calibrate, evidence, load_evidence, save_evidence
from segkit.config import PredictSettings
from segkit.labels import IGNORE_INDEX, Labels, Mask
from segkit.patches import TileSettings
from segkit.postprocess import PieceRules, PostprocessSettings
from segkit.tune import ScoredCase, Seen

LABELS = Labels(("background", "nerve", "vessel"), (0, 7, 200))

PLAIN = PredictSettings()


def draw(*rows: str) -> NDArray[np.uint8]:
    """Classes by their number; "?" says nothing."""
    classes = {".": 0, "1": 1, "2": 2, "?": IGNORE_INDEX}
    return np.array([[classes[letter] for letter in row] for row in rows], np.uint8)


TRUTH = draw("111...", "111...", "111..2")
SPECK = draw("111..1", "111...", "111..2")           # Dice of nerve: 18 / 19


def scored(truth: NDArray[np.uint8], found: NDArray[np.uint8], said: float | NDArray[np.float64], pixels: tuple[tuple[float, int], ...] = ()) -> ScoredCase:
    """What was found was said with this probability (of all, or of each pixel); `pixels` are (probability of class 1, truth) beside it."""
    places = np.flatnonzero(found)
    sure = np.broadcast_to(said, len(places))
    both = np.array([[1 - one, one] for one, _ in pixels], np.float32).reshape(-1, 2)
    logits = np.log(np.stack([1 - sure, sure], axis=1)).astype(np.float32)
    seen = Seen(found, np.log(both), np.array([true for _, true in pixels], np.uint8), logits, places)
    return ScoredCase("a", "a", Mask(truth, LABELS), seen, None)


def test_a_temperature_is_learnt_from_all_cases_and_tells_what_it_mends() -> None:
    """0.9 is said of ten pixels of which eight are right: log 9 / T = log 4, and then what is said is right."""
    settings = PredictSettings(tiles=TileSettings(overlap=0.5))
    case = scored(TRUTH, TRUTH, 0.9, ((0.9, 0), *[(0.9, 1)] * 4))
    found = calibrate([evidence(case, settings)] * 2, settings)
    assert found.predict.temperature == pytest.approx(np.log(9) / np.log(4), rel=1e-3)
    assert (found.before, found.after, found.cases) == (pytest.approx(0.1, abs=1e-6), pytest.approx(0, abs=1e-3), 2)
    assert found.predict.tiles.overlap == 0.5


def test_the_expected_dice_of_a_case_is_learnt_from_tempered_probabilities_and_tidied_masks() -> None:
    """Of sure cases the tidied mask is right, of unsure ones half of a class is missing (Dice 1/2 and 1)."""
    rules = PredictSettings(postprocess=PostprocessSettings(classes={"nerve": PieceRules(largest_only=True)}))
    half = draw("111...", "......", "1....2")                                                   # nerve: 2 · 3 / (3 + 9) = 1/2, vessel 1
    pixels = ((0.9, 0), *[(0.9, 1)] * 4)
    two = [scored(TRUTH, SPECK, 0.9, pixels), scored(TRUTH, half, 0.6, pixels)]
    found = calibrate([evidence(two[number % 2], rules) for number in range(8)], rules).predict
    assert found.expected_dice is not None
    sure, unsure = (1 / (1 + (1 / one - 1) ** (1 / found.temperature)) for one in (0.9, 0.6))
    assert (found.expected_dice.of(sure), found.expected_dice.of(unsure)) == pytest.approx((1, 0.75))
    assert found.expected_dice.learnt_from == "8 cases"


def test_the_parts_of_a_picture_are_sixteen_tiles_and_of_a_volume_its_slices() -> None:
    """A picture of 4 x 8 has tiles of 1 x 2; the truth of the first pixel of tile 1 is not known."""
    truth, found = draw("11?1....", *["........"] * 3), draw("1.11....", *["........"] * 3)
    one = evidence(scored(truth, found, np.array([0.9, 0.8, 0.7])), PLAIN)
    assert one.dice_of_parts.tolist() == [pytest.approx(2 / 3), 1, *[1] * 14]
    assert one.pixels.tolist() == [3, 2, *[0] * 14]
    assert one.part.tolist() == [0, 1, 1]
    whole, parts = one.confidence(1.0)
    assert whole == pytest.approx(0.8)
    assert parts[:2] == pytest.approx([0.9, 0.75])
    assert np.isnan(parts[2:]).all()
    stack = evidence(scored(np.stack([TRUTH, TRUTH]), np.stack([SPECK, draw(*["......"] * 3)]), 0.9), PLAIN)
    assert stack.dice_of_parts.tolist() == [pytest.approx((18 / 19 + 1) / 2), 0]
    assert stack.pixels.tolist() == [19 + 2, 10]
    assert set(stack.part.tolist()) == {0}
    odd = evidence(scored(np.ones((5, 7), np.uint8), np.ones((5, 7), np.uint8), 0.9), PLAIN)
    assert odd.pixels.tolist() == [8, 8, 8, 4, *[4, 4, 4, 2] * 3]                               # rows 2 + 1 + 1 + 1, columns 2 + 2 + 2 + 1, in both masks


def test_of_few_cases_the_slope_is_that_of_their_parts_and_the_level_their_own() -> None:
    """Two pictures whose sure tiles are right and whose unsure tiles are half right, in rows of eight tiles each."""
    truth = np.zeros((8, 8), np.uint8)
    truth[:, ::2] = truth[1::2] = 1                                                             # of each 2 x 2 tile three pixels, of which ...
    found = truth.copy()
    found[4:][1::2] = 0                                                                         # ... below only one is found: 2 / (1 + 3)
    rows = np.flatnonzero(found) // 8
    case = evidence(scored(truth, found, np.where(rows < 4, 0.9, 0.6), ((0.9, 1),) * 9 + ((0.9, 0),)), PLAIN)
    settings = calibrate([case, case], PLAIN).predict
    assert settings.temperature == pytest.approx(1, rel=1e-2)
    line = settings.expected_dice
    assert line is not None
    assert line.learnt_from == "32 parts of 2 cases"
    assert 2 * (line.at_one - line.at_half) == pytest.approx((1 - 0.5) / (0.9 - 0.6), rel=2e-2)
    assert line.of(case.confidence(settings.temperature)[0]) == pytest.approx(case.dice)


def test_evidence_comes_back_from_its_file(tmp_path: Path) -> None:
    cases = [evidence(scored(TRUTH, SPECK, 0.9, ((0.75, 1), (0.5, 0))), PLAIN), evidence(scored(TRUTH, np.zeros_like(TRUTH), 0.9), PLAIN)]
    save_evidence(tmp_path / "evidence.npz", cases)
    back = load_evidence(tmp_path / "evidence.npz")
    assert len(back) == 2
    for one, again in zip(cases, back, strict=True):
        for key, value in vars(one).items():
            np.testing.assert_allclose(vars(again)[key], value, atol=1e-3)
            assert np.asarray(vars(again)[key]).dtype == np.asarray(value).dtype
    assert math.isnan(back[1].confidence(1.0)[0])
