"""Metrics against masks drawn by hand, against brute force and against MONAI."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from drawing import GRIDS, Bools, blobs, mask
from numpy.typing import NDArray

from segkit.errors import SettingsError, ShapeError
from segkit.metrics import METRICS, Comparison, assd, dice, hd95, iou, precision, recall, score
from segkit.metrics.distances import _nearest_by_transform, _nearest_by_tree, surface, surface_distances


def by_brute_force(prediction: Bools, truth: Bools, spacing: tuple[float, ...]) -> tuple[float, float]:
    """HD95 and ASSD from the table of all distances between all pairs of outline pixels."""
    from scipy.ndimage import binary_erosion
    from scipy.spatial.distance import cdist

    ours, theirs = (np.argwhere(one ^ binary_erosion(one)) * spacing for one in (prediction, truth))
    table = cdist(ours, theirs)
    to_truth, to_prediction = table.min(axis=1), table.min(axis=0)
    return max(np.percentile(to_truth, 95), np.percentile(to_prediction, 95)), np.concatenate([to_truth, to_prediction]).mean()


def test_half_of_each_mask_is_shared() -> None:
    assert dice(Comparison(mask("##.."), mask(".##."))) == 0.5


def test_overlap_metrics_are_the_ratios_of_the_drawing() -> None:
    comparison = Comparison(mask(".###.."), mask("..####"))
    assert dice(comparison) == 4 / 7
    assert iou(comparison) == 2 / 5
    assert precision(comparison) == 2 / 3
    assert recall(comparison) == 2 / 4


def test_equal_masks_are_perfect() -> None:
    drawn = mask("...", ".##", ".##")
    assert score(drawn.astype(np.uint8), drawn.astype(np.uint8), 2) == {1: {"dice": 1, "iou": 1, "precision": 1, "recall": 1, "hd95": 0, "assd": 0}}


def test_the_surface_of_a_square_is_its_rim() -> None:
    square = mask(".....", ".###.", ".###.", ".###.", ".....")
    rim = mask(".....", ".###.", ".#.#.", ".###.", ".....")
    np.testing.assert_array_equal(surface(square), rim)


def test_beyond_the_border_of_the_picture_is_outside() -> None:
    np.testing.assert_array_equal(surface(mask("###", "###", "###")), mask("###", "#.#", "###"))


def test_two_columns_a_few_pixels_apart_are_that_far_apart() -> None:
    apart_by_three = Comparison(mask("#....", "#....", "#...."), mask("...#.", "...#.", "...#."))
    assert hd95(apart_by_three) == 3
    assert assd(apart_by_three) == 3


def test_distances_are_in_the_unit_of_the_spacing_of_each_axis() -> None:
    across = mask("#..#"), mask("...#")
    down = mask("#", ".", ".", "#"), mask(".", ".", ".", "#")
    assert surface_distances(*across, (0.5, 2.0)).to_truth.max() == 6.0  # type: ignore[union-attr]
    assert surface_distances(*down, (0.5, 2.0)).to_truth.max() == 1.5  # type: ignore[union-attr]


def test_each_outline_pixel_counts_once_in_the_mean() -> None:
    # from the prediction: 0 and 3; from the truth: 0; their mean is 1, the mean of the two means would be 0.75
    assert assd(Comparison(mask("#..#"), mask("#..."))) == 1


def test_hd95_is_the_worse_direction() -> None:
    # from the prediction: 0 and 10, whose 95th percentile is 9.5; from the truth: 0
    wide, narrow = mask("#.........#"), mask("#..........")
    assert hd95(Comparison(wide, narrow)) == hd95(Comparison(narrow, wide)) == pytest.approx(9.5)


def test_a_pixel_far_out_among_many_does_not_set_hd95() -> None:
    truth = np.ones((1, 100), bool)
    truth[0, 41:] = False
    prediction = truth.copy()
    prediction[0, 99] = True  # one of 42 outline pixels lies 59 away
    assert hd95(Comparison(prediction, truth)) == 0
    assert assd(Comparison(prediction, truth)) == pytest.approx(59 / 83)


def test_two_empty_masks_have_no_score() -> None:
    assert all(math.isnan(value) for value in score(np.zeros((3, 5)), np.zeros((3, 5)), 2)[1].values())


def test_an_object_that_was_missed_scores_0_and_has_no_distance() -> None:
    missed = score(np.zeros((3, 5)), np.ones((3, 5)), 2)[1]
    assert (missed["dice"], missed["iou"], missed["recall"]) == (0, 0, 0)
    assert all(math.isnan(missed[name]) for name in ("precision", "hd95", "assd"))


def test_an_object_out_of_nothing_scores_0_and_has_no_distance() -> None:
    spurious = score(np.ones((3, 5)), np.zeros((3, 5)), 2)[1]
    assert (spurious["dice"], spurious["iou"], spurious["precision"]) == (0, 0, 0)
    assert all(math.isnan(spurious[name]) for name in ("recall", "hd95", "assd"))


def test_each_class_is_scored_on_its_own() -> None:
    scores = score(np.array([[0, 1, 1, 2, 2]]), np.array([[0, 1, 2, 2, 0]]), 4, metrics=("dice",))
    assert scores[1]["dice"] == 2 / 3
    assert scores[2]["dice"] == 2 / 4
    assert math.isnan(scores[3]["dice"])


def test_ignored_pixels_count_nowhere() -> None:
    truth = np.array([[1, 1, 255, 255, 0, 0]])
    prediction = np.array([[1, 1, 1, 1, 1, 0]])
    everything_but_the_middle = score(prediction[:, [0, 1, 4, 5]], truth[:, [0, 1, 4, 5]], 2, metrics=("dice", "precision"))
    assert score(prediction, truth, 2, metrics=("dice", "precision")) == everything_but_the_middle == {1: {"dice": 4 / 5, "precision": 2 / 3}}


def test_an_outline_inside_the_ignored_band_is_no_error() -> None:
    truth = np.array([[0, 1, 1, 1, 255, 255, 0]])
    prediction = np.array([[0, 1, 1, 1, 1, 0, 0]])
    assert score(prediction, truth, 2, metrics=("hd95", "assd")) == {1: {"hd95": 0, "assd": 0}}


def test_a_picture_that_is_ignored_altogether_has_no_score() -> None:
    assert math.isnan(score(np.ones((3, 5)), np.full((3, 5), 255), 2)[1]["dice"])


@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
@pytest.mark.parametrize("share", [0.4, 0.07])
def test_distances_agree_with_brute_force(shape: tuple[int, ...], spacing: tuple[float, ...], share: float) -> None:
    comparison = Comparison(blobs(shape, 1, share), blobs(shape, 2, share), spacing)
    expected_hd95, expected_assd = by_brute_force(comparison.prediction, comparison.truth, spacing)
    assert hd95(comparison) == pytest.approx(expected_hd95, rel=1e-12)
    assert assd(comparison) == pytest.approx(expected_assd, rel=1e-12)


@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_searching_a_tree_and_transforming_the_picture_agree(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    start, end = surface(blobs(shape, 3)), surface(blobs(shape, 4))
    np.testing.assert_allclose(_nearest_by_tree(start, end, spacing), _nearest_by_transform(start, end, spacing), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # MONAI's, about its own arguments
@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_all_metrics_agree_with_monai(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance, compute_iou

    prediction = blobs(shape, 5) * 1 + blobs(shape, 6, 0.2) * 1  # classes 0, 1, 2
    truth = blobs(shape, 7) * 1 + blobs(shape, 8, 0.2) * 1
    ours = score(prediction, truth, 3, spacing)

    def one_hot(indices: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack([indices == index for index in range(3)])[None]).float()

    pair = one_hot(prediction), one_hot(truth)
    theirs = {
        "dice": compute_dice(*pair, include_background=False)[0],
        "iou": compute_iou(*pair, include_background=False)[0],
        "hd95": compute_hausdorff_distance(*pair, percentile=95, spacing=spacing)[0],
        "assd": compute_average_surface_distance(*pair, symmetric=True, spacing=spacing)[0],
    }
    for name, values in theirs.items():
        assert [ours[1][name], ours[2][name]] == pytest.approx(values.tolist(), rel=1e-6), name


def test_swapping_prediction_and_truth_swaps_precision_and_recall_and_nothing_else() -> None:
    one, other = blobs((33, 47), 9).astype(int), blobs((33, 47), 10).astype(int)
    there, back = score(one, other, 2, metrics=tuple(METRICS))[1], score(other, one, 2, metrics=tuple(METRICS))[1]
    back["precision"], back["recall"] = back["recall"], back["precision"]
    assert there == back


def test_empty_space_around_the_masks_changes_no_metric() -> None:
    one, other = blobs((33, 47), 11).astype(int), blobs((33, 47), 12).astype(int)
    padded = score(np.pad(one, ((4, 9), (0, 30))), np.pad(other, ((4, 9), (0, 30))), 2, metrics=tuple(METRICS))
    assert padded == score(one, other, 2, metrics=tuple(METRICS))


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"prediction has shape \(3, 5\), the truth \(5, 3\).*never resized"):
        score(np.zeros((3, 5)), np.zeros((5, 3)), 2)
    with pytest.raises(ShapeError, match="never resized"):
        Comparison(mask("#"), mask("##"))


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (1.0, math.nan), (-1.0, 1.0)])
def test_a_spacing_that_does_not_fit_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match="expected 2 numbers above 0"):
        score(np.zeros((3, 5)), np.zeros((3, 5)), 2, spacing)


def test_an_unknown_metric_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"metrics: jacard; choose among dice, iou"):
        score(np.zeros((3, 5)), np.zeros((3, 5)), 2, metrics=("dice", "jacard"))
    with pytest.raises(SettingsError, match="none named"):
        score(np.zeros((3, 5)), np.zeros((3, 5)), 2, metrics=())


def test_each_metric_says_its_unit_and_direction() -> None:
    assert {name for name, metric in METRICS.items() if metric.unit == "distance"} == {"hd95", "assd"}
    assert {name for name, metric in METRICS.items() if metric.direction == "lower"} == {"hd95", "assd"}


def test_the_room_imports_neither_torch_nor_scipy() -> None:
    script = "import sys, segkit.metrics; print(sorted({'torch', 'scipy', 'skimage', 'monai'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
