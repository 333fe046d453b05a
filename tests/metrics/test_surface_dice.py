"""NSD against outlines drawn by hand and against MONAI; the search along lines that makes distances quick."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from drawing import GRIDS, blobs, mask

from segkit.errors import SettingsError
from segkit.metrics import Comparison, ScoreSettings, nsd, score
from segkit.metrics.distances import REACH, _nearest_by_lines, _nearest_by_tree, surface


def at(tolerance: float, *rows: tuple[str, ...], spacing_mm: tuple[float, ...] | None = None) -> float:
    prediction, truth = (mask(*one) for one in rows)
    return nsd(Comparison(prediction, truth, spacing_mm, ScoreSettings(tolerance=tolerance)))


def test_the_share_of_outline_pixels_within_the_tolerance_is_counted_by_hand() -> None:
    # distances: from the prediction 0, 0 and 3; from the truth 0 and 0
    drawn = ("##..#",), ("##...",)
    assert at(2.9, *drawn) == 4 / 5
    assert at(3.0, *drawn) == 1


def test_a_tolerance_of_0_counts_what_both_outlines_share() -> None:
    assert at(0, ("##.",), (".##",)) == 2 / 4


def test_the_tolerance_is_in_mm_along_each_axis() -> None:
    across = ("#...",), ("...#",)
    down = ("#", ".", ".", "."), (".", ".", ".", "#")
    assert at(2.0, *across, spacing_mm=(1.0, 0.5)) == 1  # 1.5 mm
    assert at(2.0, *down, spacing_mm=(1.0, 0.5)) == 0  # 3 mm
    assert at(2.0, *across) == 0  # 3 px


def test_three_steps_of_a_tenth_lie_within_three_tenths() -> None:
    assert 3 * 0.1 > 0.3
    assert at(0.3, ("#...",), ("...#",), spacing_mm=(0.1, 0.1)) == 1


def test_a_larger_tolerance_never_lowers_the_score() -> None:
    one, other = blobs((33, 47), 1), blobs((33, 47), 2)
    scores = [nsd(Comparison(one, other, (0.5, 2.0), ScoreSettings(tolerance=tolerance))) for tolerance in (0, 0.5, 1, 2, 4, 100)]
    assert scores == sorted(scores) and scores[0] < scores[2] < scores[-1] == 1


@pytest.mark.parametrize("tolerance", [-0.1, math.nan, math.inf])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance: float) -> None:
    with pytest.raises(SettingsError, match="tolerance .*: expected a distance of 0 or more, in mm"):
        ScoreSettings(tolerance=tolerance)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # MONAI's, about its own arguments and empty masks
@pytest.mark.parametrize("tolerance", [0.0, 0.8, 2.5])
@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
def test_nsd_is_that_of_monai_also_for_empty_masks(shape: tuple[int, ...], spacing: tuple[float, ...], tolerance: float) -> None:
    import torch
    from monai.metrics import compute_surface_dice

    empty = np.zeros(shape, bool)
    ours = [blobs(shape, 5), blobs(shape, 6, 0.07), empty, blobs(shape, 7), empty]
    theirs = [blobs(shape, 8), blobs(shape, 9, 0.2), blobs(shape, 7), empty, empty]

    def stacked(masks: list[Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack(masks)[None]).float()

    expected = compute_surface_dice(stacked(ours), stacked(theirs), [tolerance] * 5, include_background=True, spacing=spacing)[0].tolist()
    settings = ScoreSettings(tolerance=tolerance)
    found = [score(one, other, 2, spacing, metrics=("nsd",), settings=settings)[1]["nsd"] for one, other in zip(ours, theirs, strict=True)]
    assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert found[2:4] == [0, 0] and math.isnan(found[4])


@pytest.mark.parametrize("shape", [(33, 47), (5, 63), (1, 29), (29, 1), (7, 3 * REACH)])
@pytest.mark.parametrize("share", [0.4, 0.02])
def test_searching_along_lines_and_in_a_tree_agree(shape: tuple[int, int], share: float) -> None:
    start, end = surface(blobs(shape, 3, share)), surface(blobs(shape, 4, share))
    np.testing.assert_allclose(_nearest_by_lines(start, end, (0.5, 2.0)), _nearest_by_tree(start, end, (0.5, 2.0)), rtol=1e-12)


def test_what_lies_beyond_the_reach_of_lines_is_found() -> None:
    start, end = np.zeros((5, 3 * REACH), bool), np.zeros((5, 3 * REACH), bool)
    start[0, 0] = start[2, -2] = end[4, -1] = True
    far, near = _nearest_by_lines(start, end, (3.0, 1.0))
    assert far == pytest.approx(math.hypot(4 * 3, 3 * REACH - 1))
    assert near == pytest.approx(math.hypot(2 * 3, 1))
