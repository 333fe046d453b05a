"""Pictures for people."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segkit.image import Image
from segkit.labels import IGNORE_INDEX
from segkit.plot import (
    HEAT,
    HEAT_OPACITY,
    SHEET_SLICES,
    TILE_SIDE,
    _limits,
    _ticks,
    colour_of,
    contact_sheet,
    curves,
    heat_colours,
    heat_map,
    outline,
    overlay,
    sheet,
    strips,
    to_display,
    with_scale,
)


def grey(value: int = 100, size: tuple[int, int] = (33, 47)) -> Image:
    return Image(np.full((1, *size), value, np.uint8))


def square(index: int, size: tuple[int, int] = (33, 47)) -> np.ndarray:
    """A square of 5x5 at (10, 10)."""
    mask = np.zeros(size, np.uint8)
    mask[10:15, 10:15] = index
    return mask


def test_an_empty_mask_leaves_the_picture_as_it_is() -> None:
    drawn = overlay(grey(), np.zeros((33, 47), np.uint8))
    assert (drawn.shape, drawn.dtype) == ((33, 47, 3), np.uint8)
    assert (drawn == 100).all()


def test_a_class_is_outlined_in_its_colour_and_tinted_inside() -> None:
    drawn = overlay(grey(), square(2), opacity=0.5)
    assert tuple(drawn[10, 10]) == colour_of(2)
    assert tuple(drawn[12, 12]) == tuple((100 + channel) // 2 for channel in colour_of(2))
    assert tuple(drawn[0, 0]) == (100, 100, 100)


def test_the_truth_is_a_white_outline_and_what_it_ignores_is_not_drawn() -> None:
    truth = square(1)
    truth[20:25, 20:25] = IGNORE_INDEX
    drawn = overlay(grey(), np.zeros((33, 47), np.uint8), truth)
    assert (drawn == 255).all(axis=2).sum() == 16        # the rim of 5x5
    assert tuple(drawn[12, 12]) == (100, 100, 100)


def test_colours_start_again_after_the_last() -> None:
    assert colour_of(1) == colour_of(9) != colour_of(2)


def test_a_volume_becomes_a_sheet_of_its_busiest_slices() -> None:
    volume = Image(np.zeros((40, 1, 10, 12), np.uint8))
    indices = np.zeros((40, 10, 12), np.uint8)
    indices[35, 3, 3] = 1
    drawn = overlay(volume, indices)
    assert drawn.shape == (3 * 12 - 2, 4 * 14 - 2, 3)    # twelve slices in four columns, two pixels between them
    assert (drawn == colour_of(1)).all(axis=2).any()


@pytest.mark.parametrize("slices", [1, SHEET_SLICES, SHEET_SLICES + 1])
def test_any_number_of_slices_can_be_drawn(slices: int) -> None:
    assert overlay(Image(np.zeros((slices, 1, 5, 7), np.uint8)), np.zeros((slices, 5, 7), np.uint8)).dtype == np.uint8


def test_pictures_of_another_type_are_stretched_between_their_percentiles() -> None:
    ramp = np.arange(1000, dtype=np.uint16).reshape(1, 25, 40)
    shown = to_display(Image(ramp))[0]
    assert (shown.min(), shown.max()) == (0, 255)
    assert abs(int(shown[12, 20, 0]) - 127) <= 2


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_constant_picture_can_be_shown(dtype: type) -> None:
    assert np.unique(to_display(Image(np.full((1, 4, 5), 7, dtype)))).size == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_is_shown_in_three(channels: int) -> None:
    assert to_display(Image(np.zeros((channels, 4, 5), np.uint8))).shape == (1, 4, 5, 3)


def test_an_outline_is_the_rim_also_along_the_border() -> None:
    assert outline(np.ones((3, 3), bool)).tolist() == [[True, True, True], [True, False, True], [True, True, True]]


def test_one_tile_is_its_own_sheet() -> None:
    tile = np.zeros((4, 5, 3), np.uint8)
    assert sheet([tile]) is tile


@pytest.mark.parametrize("values", [[0.1, 0.5, 0.7], [math.nan, 0.5, 0.7], [math.nan] * 3, [0.5] * 3])
def test_curves_are_drawn_with_gaps_where_nothing_is_known(values: list[float]) -> None:
    chart = curves([10, 20, 30], {"nerve": values}, title="Dice", x_label="step")
    assert (chart.shape, chart.dtype) == ((360, 640, 3), np.uint8)
    plot = chart[34:318, 58:490]
    assert (plot == colour_of(1)).all(axis=2).any() == any(map(math.isfinite, values))


def test_a_curve_of_one_point_or_none_can_be_drawn() -> None:
    assert curves([5], {"loss": [0.3]}, title="t", x_label="x").shape == curves([], {"loss": []}, title="t", x_label="x").shape


def test_a_curve_with_more_numbers_than_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        curves([1], {"loss": [0.3, 0.4]}, title="t", x_label="x")


# Attention.


def test_a_heat_map_mixes_grey_with_the_colour_of_the_weight() -> None:
    drawn = heat_map(np.full((1, 2, 3), 100, np.uint8), np.array([[0, 1]], np.float32))
    for pixel, colour in zip(drawn[0], (HEAT[0], HEAT[-1]), strict=True):
        expected = [(1 - HEAT_OPACITY) * 100 + HEAT_OPACITY * channel for channel in colour]
        np.testing.assert_allclose(pixel, expected, atol=1)


def test_more_weight_is_lighter_all_the_way() -> None:
    lightness = heat_colours(np.linspace(0, 1, 101, dtype=np.float32)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (5, 900), (300, 20)])
def test_a_scale_below_a_heat_map_leaves_it_as_it_is(size: tuple[int, int]) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    scaled = with_scale(drawn)
    np.testing.assert_array_equal(scaled[: size[0], : size[1]], drawn)
    below = scaled[size[0] :].reshape(-1, 3).astype(int)
    for weight in (0, 1):
        colour = heat_map(np.full((1, 1, 3), 128, np.uint8), np.full((1, 1), weight, np.float32))[0, 0]
        assert np.abs(below - colour).sum(axis=1).min() == 0


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("size", [(33, 47), (700, 40)])
def test_a_contact_sheet_holds_any_number_of_drawings_of_any_size(count: int, size: tuple[int, int]) -> None:
    tile = np.full((*size, 3), (10, 200, 30), np.uint8)
    board = contact_sheet([("one\ntwo", tile)] * count, "title")
    drawn = round(size[0] * TILE_SIDE / max(size)) * round(size[1] * TILE_SIDE / max(size))
    assert (board == (10, 200, 30)).all(axis=2).sum() == count * drawn


def test_ticks_are_round_numbers_within_the_ends() -> None:
    assert _ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert _ticks(0.043, 0.92) == [0.2, 0.4, 0.6, 0.8]
    assert _ticks(100, 2100) == [500, 1000, 1500, 2000]


def test_an_axis_of_scores_does_not_reach_below_0() -> None:
    assert _limits([0.0, 1.0], 0.05)[0] == 0
    assert _limits([-1.0, 1.0], 0.05)[0] < -1


def test_strips_have_a_place_for_each_name_and_a_large_dot_at_each_mean() -> None:
    drawn = strips({"one": [0.2, 0.8], "other": [0.4]}, {"one": [0.5], "other": [0.4]}, title="Dice")
    assert drawn.shape == (420, 640, 3)
    for name in (1, 2):
        assert (drawn == colour_of(name)).all(axis=-1).sum() > 20


@pytest.mark.parametrize("count", [1, 2, 9])
def test_strips_fill_the_picture_to_its_right_edge(count: int) -> None:
    names = [f"skip={number}" for number in range(count)]
    drawn = strips(dict.fromkeys(names, (0.2, 0.8)), dict.fromkeys(names, (0.5,)), title="Dice")
    assert drawn.shape == (420, max(640, 74 + 90 * count), 3)
    inked = (drawn != 255).any(axis=(0, 2)).nonzero()[0]
    assert 8 <= drawn.shape[1] - inked[-1] <= 24
    large = (drawn == colour_of(count)).all(axis=-1).any(axis=0).nonzero()[0]                   # in the middle of the last strip
    assert large[-5:].mean() == pytest.approx(58 + (drawn.shape[1] - 74) * (1 - 0.5 / count), abs=5)
