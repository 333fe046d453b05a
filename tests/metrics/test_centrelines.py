"""clDice against centrelines drawn by hand and against its definition, computed with scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drawing import GRIDS, Bools, blobs, mask

from segkit.metrics import Comparison, cldice, dice


def by_definition(prediction: Bools, truth: Bools) -> float:
    from skimage.morphology import skeletonize

    ours, theirs = skeletonize(prediction) > 0, skeletonize(truth) > 0
    correct = (ours & truth).sum() / ours.sum()
    complete = (theirs & prediction).sum() / theirs.sum()
    return float(2 * correct * complete / (correct + complete))


def test_lines_of_one_pixel_are_their_own_centrelines() -> None:
    # 7 of the 8 pixels of the truth's line are found, all 7 of the prediction's are there: 2 * 1 * 7/8 / (1 + 7/8)
    assert cldice(Comparison(mask("####.###"), mask("########"))) == pytest.approx(14 / 15)


def test_the_width_of_a_vessel_does_not_matter_while_its_centre_is_found() -> None:
    thin, wide = np.zeros((9, 100), bool), np.zeros((9, 100), bool)
    thin[4, 5:95] = wide[3:6, 5:95] = True
    assert dice(Comparison(thin, wide)) == 0.5
    assert cldice(Comparison(thin, wide)) > 0.98  # thinning shortens a wide vessel a little at its ends


def test_a_gap_in_a_thin_vessel_weighs_as_in_a_wide_one() -> None:
    truth = np.zeros((20, 40), bool)
    truth[2, 5:35] = truth[10:15, 5:35] = True
    thin, wide = truth.copy(), truth.copy()
    thin[2, 15:20] = wide[10:15, 15:20] = False
    assert cldice(Comparison(thin, truth)) == pytest.approx(cldice(Comparison(wide, truth)), abs=0.02)


def test_vessels_that_run_beside_each_other_score_0() -> None:
    assert cldice(Comparison(mask("#####", ".....", "....."), mask(".....", ".....", "#####"))) == 0


def test_empty_masks_score_as_an_overlap_does() -> None:
    line, empty = mask("####"), mask("....")
    assert cldice(Comparison(line, empty)) == cldice(Comparison(empty, line)) == 0
    assert math.isnan(cldice(Comparison(empty, empty)))


def test_an_object_that_thinning_removes_is_its_own_centreline() -> None:
    corner = np.zeros((4, 4, 4), bool)
    corner[1, 1, 1] = corner[1, 1, 2] = corner[2, 1, 1] = True
    from skimage.morphology import skeletonize

    assert not skeletonize(corner).any()
    assert cldice(Comparison(corner, corner)) == 1


@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
@pytest.mark.parametrize("share", [0.5, 0.15])
def test_cldice_is_its_definition_whatever_the_spacing(shape: tuple[int, ...], spacing: tuple[float, ...], share: float) -> None:
    prediction, truth = blobs(shape, 1, share), blobs(shape, 2, 0.5)
    assert cldice(Comparison(prediction, truth, spacing)) == pytest.approx(by_definition(prediction, truth), abs=1e-12)
