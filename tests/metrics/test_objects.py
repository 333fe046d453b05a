"""AP against objects drawn by hand, against an assignment of all pairs, and against MONAI's panoptic quality."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from drawing import Bools, blobs, mask
from numpy.typing import NDArray

from segkit.errors import ShapeError
from segkit.metrics import Comparison, ap, ap50, compare_objects, score
from segkit.metrics.objects import pieces

Integers = NDArray[np.int64]

SHAPES = [(33, 47), (5, 63), (9, 14, 11)]


def objects(*rows: str) -> Integers:
    """A mask drawn as text: a digit numbers its object."""
    return np.array([[int(letter) if letter.isdigit() else 0 for letter in row] for row in rows])


def specks(shape: tuple[int, ...], seed: int) -> Bools:
    """Many small objects, which a second seed of the same shape partly shares."""
    shared, own = blobs(shape, 100, 0.5), np.random.default_rng(seed).random(shape) > 0.2
    return shared & own


def touching(shape: tuple[int, ...], seed: int) -> Integers:
    """Objects without gaps: blocks of random sizes, some of them background, numbered in no order."""
    rng = np.random.default_rng(seed)
    cuts = [np.searchsorted(np.sort(rng.choice(np.arange(1, size), size=size // 5, replace=False)), np.arange(size), side="right") for size in shape]
    number = sum(cut.reshape([-1 if axis == own else 1 for axis in range(len(shape))]) * 100**own for own, cut in enumerate(cuts)) + 1
    return np.where(rng.random(int(np.max(number)) + 1)[number] > 0.3, 7 * number, 0)


def by_assignment(prediction: Integers, truth: Integers) -> list[float]:
    """AP at each threshold, with the pairs chosen so that as many as can be reach it."""
    from scipy.optimize import linear_sum_assignment

    ours, theirs = ((one.ravel() == np.unique(one[one > 0])[:, None]).astype(float) for one in (prediction, truth))
    shared = ours @ theirs.T
    overlaps = shared / (ours.sum(axis=1)[:, None] + theirs.sum(axis=1) - shared)
    scores = []
    for threshold in np.linspace(0.5, 0.95, 10):
        reached = overlaps >= threshold - 1e-9
        found = reached[linear_sum_assignment(-reached.astype(int))].sum()
        scores.append(float(found / (len(ours) + len(theirs) - found)))
    return scores


def test_objects_found_over_all_there_are_on_either_side_is_counted_by_hand() -> None:
    # 1 and 3 are found, 2 by an object that shares one of their three pixels: TP 2, FP 1, FN 1
    comparison = compare_objects(objects("11..4455"), objects("11.22.55"))
    assert ap50(comparison) == 2 / 4
    assert ap(comparison) == pytest.approx(2 / 4)


def test_ap_is_the_mean_over_ten_thresholds() -> None:
    # 8 of 10 pixels: found at 0.50, 0.55, ... 0.80, seven of ten thresholds
    comparison = Comparison(mask("########..##"), mask("##########.."))
    assert ap50(Comparison(mask("########...."), mask("##########.."))) == 1
    assert ap(Comparison(mask("########...."), mask("##########.."))) == pytest.approx(7 / 10)
    assert ap(comparison) == pytest.approx((7 * 1 / 2) / 10)  # and a second object that is not there


def test_half_is_enough_and_of_two_halves_one_is_found() -> None:
    assert ap50(compare_objects(objects("11.."), objects("1111"))) == 1
    halves, whole = objects("1122"), objects("1111")
    assert ap50(compare_objects(halves, whole)) == ap50(compare_objects(whole, halves)) == 1 / 2
    assert ap(compare_objects(halves, whole)) == pytest.approx(1 / 20)


def test_objects_of_a_class_are_its_pieces_which_touch_at_corners() -> None:
    np.testing.assert_array_equal(pieces(mask("##....#", "..#...#")), objects("11....2", "..1...2"))
    slices = np.zeros((3, 1, 2), bool)
    slices[0, 0, 0] = slices[1, 0, 1] = True
    assert pieces(slices).max() == 1


def test_cells_that_touch_are_told_apart_by_their_numbers_alone() -> None:
    prediction, truth = objects("111222"), objects("111333")
    assert ap50(compare_objects(prediction, truth)) == 1
    merged = compare_objects(np.where(prediction > 0, 1, 0), truth)
    assert ap50(merged) == 1 / 2  # one object, of whose two halves one is found
    assert ap50(Comparison(prediction > 0, truth > 0)) == 1


def test_the_numbers_of_objects_may_have_gaps_and_be_large() -> None:
    assert ap50(compare_objects(objects("11.22") * 0x7FFFFF, objects("11.22"))) == 1
    assert ap50(compare_objects(objects("11.22").astype(np.uint8), objects("22.11").astype(np.uint16) * 300)) == 1


def test_masks_without_objects_score_as_an_overlap_does() -> None:
    some, none = mask("##.#"), mask("....")
    for metric in (ap50, ap):
        assert metric(Comparison(some, none)) == metric(Comparison(none, some)) == 0
        assert math.isnan(metric(Comparison(none, none)))


def test_masks_of_objects_of_two_sizes_are_refused() -> None:
    with pytest.raises(ShapeError, match="never resized"):
        compare_objects(objects("11"), objects("111"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [1, 2])
def test_ap_agrees_with_the_best_assignment(shape: tuple[int, ...], seed: int) -> None:
    pairs: list[tuple[Any, Any]] = [(touching(shape, seed), touching(shape, seed + 10)), (pieces(specks(shape, seed)), pieces(specks(shape, seed + 10)))]
    grown = touching(shape, seed)
    pairs.append((np.roll(grown, 1, axis=0), grown))
    for prediction, truth in pairs:
        comparison = compare_objects(prediction, truth)
        expected = by_assignment(prediction, truth)
        assert ap50(comparison) == pytest.approx(expected[0], abs=1e-12)
        assert ap(comparison) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_pairs_are_those_of_monai_but_for_halves(shape: tuple[int, ...]) -> None:
    import torch
    from monai.metrics.panoptic_quality import compute_panoptic_quality

    prediction, truth = specks(shape, 4), specks(shape, 5)
    labelled = [torch.from_numpy(pieces(one).astype(np.int32)) for one in (prediction, truth)]
    just_below_half = 0.5 - 1e-6  # MONAI asks for more than its threshold; below 0.5 it assigns
    found, spare, missed, _ = compute_panoptic_quality(*labelled, match_iou_threshold=just_below_half, output_confusion_matrix=True).tolist()
    assert found > 0
    assert score(prediction, truth, 2, metrics=("ap50",))[1]["ap50"] == pytest.approx(found / (found + spare + missed), rel=1e-6)
