"""A picture from an array: what is taken for one, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segkit.errors import SettingsError, ShapeError, UnsupportedError
from segkit.image import Image, image_from_array


@pytest.mark.parametrize(
    ("shape", "channels", "grid"),
    [
        ((33, 47), 1, (33, 47)),
        ((33, 47, 1), 1, (33, 47)),
        ((33, 47, 3), 3, (33, 47)),
        ((33, 47, 4), 3, (33, 47)),
        ((1, 33, 47), 1, (33, 47)),
        ((3, 33, 1), 3, (33, 1)),  # a first axis of 1 or 3 is channels, whatever the last one is
        ((5, 33, 47), 5, (33, 47)),
    ],
)
def test_the_axes_of_an_array_are_told_by_their_lengths(shape: tuple[int, ...], channels: int, grid: tuple[int, int]) -> None:
    image = image_from_array(np.zeros(shape, np.uint8))
    assert (image.channels, image.shape) == (channels, grid)


def test_a_last_axis_of_1_holds_the_grey_values() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert image_from_array(grey[..., None]).pixels.tolist() == [grey.tolist()]


def test_true_is_as_white_as_in_a_file_of_one_bit() -> None:
    image = image_from_array(np.array([[True, False]]))
    assert (image.pixels.tolist(), image.pixels.dtype) == ([[[255, 0]]], np.uint8)
    assert image.notes == ("true and false taken as 255 and 0",)


def test_what_numpy_makes_an_array_of_is_a_picture() -> None:
    assert image_from_array([[0, 1], [2, 3]]).pixels.tolist() == [[[0, 1], [2, 3]]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, r"None \(NoneType\)"),
        (b"\x89PNG", r"b'\\x89PNG' \(bytes\)"),
        (0.5, r"0\.5 \(float\)"),
        ([[1, 2], [3]], r"\[\[1, 2\], \[3\]\] \(list\)"),
        (np.array([["a", "b"]]), r"array.* \(ndarray\)"),
    ],
)
def test_what_is_no_array_of_numbers_is_named(given: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=f"^{words} is no picture; give the name of a file, an array of numbers or a segkit.Image"):
        image_from_array(given)


@pytest.mark.parametrize("dtype", [np.complex64, bool, object])
def test_pixels_that_are_no_real_numbers_are_refused(dtype: Any) -> None:
    with pytest.raises(UnsupportedError, match="array: its pixels are of type .*; expected whole or floating-point numbers"):
        Image(np.zeros((1, 4, 5), dtype))


def test_complex_arrays_are_refused_as_the_readers_do() -> None:
    with pytest.raises(UnsupportedError, match="of type complex128; expected whole or floating-point numbers"):
        image_from_array(np.zeros((4, 5), complex))


@pytest.mark.parametrize("spacing_mm", [(0.5, 0.0), (-1.0, 1.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_a_spacing_that_no_grid_has_is_refused(spacing_mm: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match="spacing_mm is .*; expected positive numbers of millimetres"):
        image_from_array(np.zeros((4, 5)), spacing_mm)


@pytest.mark.parametrize("spacing_mm", [0.5, (0.5,), (1, 0.5, 0.5)])
def test_one_spacing_for_each_axis(spacing_mm: Any) -> None:
    with pytest.raises(ShapeError, match="spacing_mm has [13] numbers; expected 2, one for each axis of the grid"):
        image_from_array(np.zeros((4, 5)), spacing_mm)
