"""Steps of prediction chosen by what they gain, on masks that are drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from toys import disc

from segkit import tune as tune_room
from segkit.config import PredictSettings
from segkit.engines import TorchEngine
from segkit.image import Image
from segkit.labels import Labels, Mask
from segkit.patches import TileSettings
from segkit.postprocess import PieceRules, PostprocessSettings
from segkit.predict import Model, load, segment
from segkit.tune import ScoredCase, Seen, TuningCase, case_dice, object_sizes, samples_each, score_cases, smallest_size, tune

LABELS = Labels(("background", "nerve", "vessel"), (0, 7, 200))


def draw(*rows: str) -> NDArray[np.uint8]:
    return np.array([[0 if letter == "." else int(letter) for letter in row] for row in rows], np.uint8)


def case(group: str, truth: NDArray[np.uint8], plain: NDArray[np.uint8], mirrored: NDArray[np.uint8] | None = None) -> ScoredCase:
    return ScoredCase(group, group, Mask(truth, LABELS), seen(plain), None if mirrored is None else seen(mirrored))


def seen(indices: NDArray[np.uint8], *said: float, truth: tuple[int, ...] = (), foreground: float = 0.9) -> Seen:
    """Two classes: pixels for which class 1 was said to have these probabilities, and the probability of all that was found."""
    both = np.array([[1 - one, one] for one in said], np.float32).reshape(-1, 2)
    found = np.full((np.count_nonzero(indices), 2), [1 - foreground, foreground], np.float32)
    return Seen(indices, np.log(both), np.array(truth, np.uint8), np.log(found), np.flatnonzero(indices))


def decisions(scored: list[ScoredCase], **sizes: list[int]) -> dict[str, tuple[float, bool]]:
    """Step -> its gain, and whether it was taken."""
    tuning = tune(scored, LABELS, PredictSettings(), {name: np.array(found) for name, found in sizes.items()})
    return {step.name: (round(step.gain, 4), step.taken) for step in tuning.steps}


def flipping(run: Path, share: float, tiles: TileSettings) -> Model:
    """The model of the discs as if its training had turned that share of the pictures, left to right and upside down."""
    model = load(run, device="cpu", precision="fp32", engine="torch")
    augment = model.run.augment.model_copy(update={"horizontal_flip": share, "vertical_flip": share})
    return model.with_settings(model.run.model_copy(update={"augment": augment, "predict": PredictSettings(tiles=tiles)}))


TRUTH = draw("111...", "111...", "111..2")
SPECK = draw("111..1", "111...", "111..2")           # Dice of nerve: 18 / 19


def test_a_step_is_taken_where_it_gains_and_left_where_it_does_not() -> None:
    tuning = tune([case(group, TRUTH, SPECK) for group in "abc"], LABELS, PredictSettings(tiles=TileSettings(overlap=0.5)), {"nerve": np.array([5] * 9)})
    gain = 1 - 18 / 19
    table = {step.name: step for step in tuning.steps}
    assert list(table) == ["nerve: pieces from 5 px on", "nerve: largest piece", "nerve: holes filled", "vessel: largest piece", "vessel: holes filled"]
    first = table.pop("nerve: pieces from 5 px on")
    assert (first.before, first.after, first.gain) == pytest.approx((18 / 19, 1, gain))
    assert (first.standard_error, first.groups, first.taken) == (pytest.approx(0, abs=1e-9), 3, True)
    assert {(step.gain, step.taken) for step in table.values()} == {(0.0, False)}
    wanted = PostprocessSettings(classes={"nerve": PieceRules(min_size_px=5)})
    assert tuning.predict == PredictSettings(tiles=TileSettings(overlap=0.5), postprocess=wanted)
    assert tuning.table()[1][0] == ["nerve: pieces from 5 px on", first.before, first.after, first.gain, first.standard_error, 3, "taken"]


def test_steps_are_measured_on_top_of_those_that_were_taken() -> None:
    ring = draw("111..1", "1.1...", "111..2")
    found = decisions([case(group, TRUTH, ring) for group in "abc"])
    assert found["nerve: largest piece"] == (round(16 / 17 - 16 / 18, 4), True)
    assert found["nerve: holes filled"] == (round(1 - 16 / 17, 4), True)


def test_a_rule_for_one_class_leaves_the_others_alone() -> None:
    two = draw("1....2", ".....2", "2.2.22")
    tuning = tune([case(group, two, draw("1.1..2", ".....2", "2.2.22")) for group in "abc"], LABELS, PredictSettings(), {})
    assert list(tuning.predict.postprocess.classes) == ["nerve"]


def test_a_gain_within_its_standard_error_is_left() -> None:
    """One patient of four gains 0.0526, the others nothing: the mean is 0.0132, and so is its standard error."""
    scored = [case("a", TRUTH, SPECK), *(case(group, TRUTH, TRUTH) for group in "bcd")]
    found = tune(scored, LABELS, PredictSettings(), {}).steps[0]
    assert found.gain == pytest.approx(found.standard_error)
    assert not found.taken


def test_a_gain_too_small_to_be_worth_a_rule_is_left() -> None:
    truth = np.ones((33, 47), np.uint8)
    truth[:, 30:] = 0
    speck = truth.copy()
    speck[3, 40] = 1                                 # 1 - 1980 / 1981 = 0.0005
    assert decisions([case(group, truth, speck) for group in "abc"])["nerve: largest piece"] == (0.0005, False)


@pytest.mark.parametrize("groups", ["a", "ab", "aabb"])
def test_of_fewer_than_three_patients_nothing_is_concluded(groups: str) -> None:
    assert not any(taken for _, taken in decisions([case(group, TRUTH, SPECK) for group in groups]).values())


def test_slices_of_one_patient_count_as_one() -> None:
    scored = [case("a", TRUTH, SPECK)] * 5 + [case(group, TRUTH, TRUTH) for group in "bcd"]
    assert tune(scored, LABELS, PredictSettings(), {}).steps[0].gain == pytest.approx((1 - 18 / 19) / 4)


def test_to_clear_away_what_is_not_there_is_a_gain() -> None:
    nothing, speck = draw("......", ".....2"), draw("1.....", ".....2")
    assert decisions([case(group, nothing, speck) for group in "abc"], nerve=[3])["nerve: pieces from 3 px on"] == (1.0, True)


def test_mirror_images_are_taken_where_they_gain_over_all_classes() -> None:
    scored = [case(group, TRUTH, SPECK, TRUTH) for group in "abc"]
    tuning = tune(scored, LABELS, PredictSettings(tta=True), {})
    assert tuning.predict.tta
    assert tuning.steps[0].gain == pytest.approx((1 - 18 / 19) / 2)
    worse = tune([case(group, TRUTH, TRUTH, SPECK) for group in "abc"], LABELS, PredictSettings(tta=True), {})
    assert (worse.predict.tta, worse.steps[0].taken) == (False, False)


@pytest.mark.parametrize("usual", [True, False])
def test_where_little_can_be_known_mirror_images_stay_as_the_settings_have_them(usual: bool) -> None:
    two = [case(group, TRUTH, TRUTH, SPECK) for group in "ab"]
    one_of_four = [*(case(group, TRUTH, TRUTH, TRUTH) for group in "abc"), case("d", TRUTH, TRUTH, SPECK)]      # a quarter of the loss, with as large an error
    for scored in (two, one_of_four):
        tuning = tune(scored, LABELS, PredictSettings(tta=usual), {})
        assert (tuning.predict.tta, tuning.steps[0].decision) == (usual, "kept" if usual else "left")


def test_the_smallest_size_is_that_of_nearly_no_object_in_training() -> None:
    sizes = object_sizes([Mask(draw("11.1", "...2"), LABELS), Mask(draw("1..2"), LABELS)])
    assert {name: sorted(found.tolist()) for name, found in sizes.items()} == {"nerve": [1, 1, 2], "vessel": [1, 1]}
    assert smallest_size(np.arange(1, 202)) == 3     # the third of 201 has a hundredth below it
    assert smallest_size(np.empty(0, np.int64)) == 0


@pytest.mark.parametrize("tiles", [TileSettings(), TileSettings(whole_up_to=0, tile=(32, 32))])
def test_one_pass_gives_the_masks_without_and_with_mirror_images(disc_run: Path, tiles: TileSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four mirror images are four passes, where the two masks by themselves take five."""
    model = flipping(disc_run, 0.5, tiles)
    asked: list[int] = []
    scorer = TorchEngine.__call__
    monkeypatch.setattr(TorchEngine, "__call__", lambda engine, batch: asked.append(len(batch)) or scorer(engine, batch))
    for image in (Image(disc(50)[0][None]), Image(np.stack([disc(seed, (33, 47))[0][None] for seed in (51, 52)]))):
        asked.clear()
        (found,) = score_cases(model, [TuningCase("a", image, Mask(np.zeros(image.shape, np.uint8), model.labels), "a")])
        passes = sum(asked)
        asked.clear()
        np.testing.assert_array_equal(segment(image, model).mask.indices, found.plain.indices)
        assert passes == 4 * sum(asked)
        np.testing.assert_array_equal(segment(image, model, PredictSettings(tiles=tiles, tta=True)).mask.indices, found.mirrored.indices)


def test_the_dice_of_a_case_leaves_out_what_is_in_neither_mask() -> None:
    only = draw("11.1..", "......", "......")
    assert case_dice(case("a", draw("11....", "......", "......"), only), PredictSettings()) == pytest.approx(0.8)
    nothing = np.zeros((3, 6), np.uint8)
    assert case_dice(case("a", nothing, nothing), PredictSettings()) == 1


def test_of_a_case_a_sample_of_known_pixels_and_of_the_foreground_is_kept(disc_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_room, "SAMPLE", 100)
    model = flipping(disc_run, 0, TileSettings())
    pixels, drawn = disc(54)
    truth = (drawn > 0).astype(np.uint8)
    truth[:20] = 255                                                                            # says nothing
    image = Image(pixels[None])
    (scored,) = score_cases(model, [TuningCase("a", image, Mask(truth, model.labels), "a")])
    probabilities = segment(image, model, keep_probabilities=True).probabilities
    assert probabilities is not None
    places = np.flatnonzero(truth != 255)[::14]                                                 # 28 · 48 pixels are known, 1,344 / 14 = 96
    np.testing.assert_array_equal(scored.plain.truth, truth.ravel()[places])
    np.testing.assert_allclose(np.exp(scored.plain.logits), probabilities.reshape(2, -1)[:, places].T, atol=1e-3)
    assert 0 < len(scored.plain.foreground) <= 100
    np.testing.assert_allclose(np.exp(scored.plain.foreground), probabilities.reshape(2, -1)[:, scored.plain.places].T, atol=1e-3)
    assert (scored.plain.indices.ravel()[scored.plain.places] == 1).all()
    assert (scored.plain.foreground[:, 1] >= scored.plain.foreground[:, 0]).all()


def test_of_many_cases_fewer_pixels_each_are_kept() -> None:
    assert [samples_each(count) for count in (0, 1, 128, 256, 2**30)] == [2**14, 2**14, 2**14, 2**13, 1]


def test_without_mirror_images_in_training_none_are_tried(disc_run: Path) -> None:
    model = flipping(disc_run, 0, TileSettings())
    pixels, truth = disc(53)
    (scored,) = score_cases(model, [TuningCase("a", Image(pixels[None]), Mask((truth > 0).astype(np.uint8), model.labels), "a")])
    assert scored.mirrored is None
    names = [step.name for step in tune([scored], model.labels, model.run.predict, {}).steps]
    assert names == ["disc: largest piece", "disc: holes filled"]
    assert dataclasses.replace(scored, group="b").seen(tta=True) is scored.plain
