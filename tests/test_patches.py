"""Cut and stitch."""

from __future__ import annotations

import pytest
import torch

from segkit.errors import SettingsError, ShapeError
from segkit.patches import Band, Stitcher, TileSettings, Window, cut, join, plan_windows, starts, window_weights


def test_the_last_window_ends_on_the_border() -> None:
    assert starts(8, 4, 0.25) == [0, 3, 4]
    assert starts(8, 4, 0.0) == [0, 4]
    assert starts(4, 4, 0.5) == [0]


def test_a_small_picture_is_one_window() -> None:
    assert plan_windows((33, 47), TileSettings()) == [Window(0, 0, 33, 47)]


def test_a_large_picture_is_covered_by_tiles_of_one_size() -> None:
    tiles = TileSettings(whole_up_to=100, tile=(16, 24), overlap=0.25)
    windows = plan_windows((33, 47), tiles)
    seen = torch.zeros(33, 47)
    for window in windows:
        rows, columns = window.slices
        assert seen[rows, columns].shape == (16, 24)
        seen[rows, columns] += 1
    assert seen.min() >= 1


def test_a_strip_gets_tiles_as_narrow_as_itself() -> None:
    windows = plan_windows((3, 5000), TileSettings(whole_up_to=100, tile=(64, 64), overlap=0))
    assert {window.height for window in windows} == {3}


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (5, 63)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_stitch_gives_back_what_was_cut(shape: tuple[int, int], overlap: float) -> None:
    picture = torch.rand(3, *shape)
    windows = plan_windows(shape, TileSettings(whole_up_to=0, tile=(16, 16), overlap=overlap))
    torch.testing.assert_close(join(stitch(shape, cut(picture, windows), windows)), picture)


def stitch(shape: tuple[int, int], patches: torch.Tensor, windows: list[Window]) -> list[Band]:
    stitcher = Stitcher(shape)
    return [band for window, patch in zip(windows, patches, strict=True) for band in stitcher.add(patch, window)]


def test_rows_are_handed_out_as_soon_as_no_window_will_touch_them() -> None:
    windows = plan_windows((10, 4), TileSettings(whole_up_to=0, tile=(4, 4), overlap=0.25))
    assert [window.row for window in windows] == [0, 3, 6]
    picture = torch.rand(2, 10, 4)
    stitcher = Stitcher((10, 4))
    bands = [stitcher.add(patch, window) for window, patch in zip(windows, cut(picture, windows), strict=True)]
    assert [[(band.row, band.logits.shape[1]) for band in some] for some in bands] == [[], [(0, 3)], [(3, 3), (6, 4)]]


def test_weights_are_highest_in_the_middle_and_never_nothing() -> None:
    weights = window_weights(5, 9)
    assert weights[2, 4] == weights.max() == 1
    assert weights.min() >= 1e-3
    torch.testing.assert_close(weights, weights.flip(0, 1))


def test_where_windows_disagree_the_nearer_middle_counts_more() -> None:
    patches = torch.stack([torch.zeros(1, 1, 4), torch.ones(1, 1, 4)])
    left, right = join(stitch((1, 6), patches, [Window(0, 0, 1, 4), Window(0, 2, 1, 4)]))[0, 0, 2:4].tolist()
    assert left < 0.5 < right
    assert left == pytest.approx(1 - right)


def test_logits_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError, match="do not fit a window of 4x4"):
        Stitcher((8, 8)).add(torch.zeros(1, 3, 4), Window(0, 0, 4, 4))


@pytest.mark.parametrize("second", [Window(4, 4, 4, 4), Window(6, 0, 2, 8)])
def test_a_hole_between_the_windows_is_refused(second: Window) -> None:
    stitcher = Stitcher((8, 8))
    stitcher.add(torch.zeros(1, 4, 4), Window(0, 0, 4, 4))
    with pytest.raises(ShapeError, match="do not cover the picture of 8x8"):
        stitcher.add(torch.zeros(1, second.height, second.width), second)


def test_windows_come_in_their_order() -> None:
    stitcher = Stitcher((8, 4))
    with pytest.raises(ShapeError, match="row by row"):
        for window in (Window(0, 0, 4, 4), Window(2, 0, 4, 4), Window(1, 0, 4, 4)):
            stitcher.add(torch.zeros(1, 4, 4), window)


def test_a_tile_without_pixels_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least 1x1"):
        plan_windows((8, 8), TileSettings(tile=(0, 8)))
