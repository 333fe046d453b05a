"""Labels and masks: the user's values there and back."""

from __future__ import annotations

import numpy as np
import pytest

from segkit.errors import MaskValuesError, SettingsError, ShapeError
from segkit.image import Image, image_from_array
from segkit.labels import COLOURS as COLOUR_TYPE
from segkit.labels import IGNORE_INDEX, Labels, Mask

MEMBRANE = Labels.from_mapping({"background": 255, "membrane": 0})
NERVE = Labels.from_mapping({"background": 0, "nerve": 38, "vessel": 75}, ignore=200)
COLOURS = Labels.from_mapping({"background": "#000000", "nerve": "#ff0000", "vessel": "#00ff7f"})


def test_the_background_may_have_any_value() -> None:
    assert MEMBRANE.encode(np.array([[0, 255]])).tolist() == [[1, 0]]


@pytest.mark.parametrize("labels", [MEMBRANE, NERVE, COLOURS], ids=["membrane", "nerve", "colours"])
def test_decode_gives_back_what_encode_was_given(labels: Labels) -> None:
    raw = np.random.default_rng(0).choice(labels.values, (33, 47))
    stored = labels.decode(labels.encode(raw))
    packed = stored.astype(int) @ [65536, 256, 1] if labels.colour else stored
    assert np.array_equal(packed, raw)


def test_ignored_pixels_stay_ignored() -> None:
    assert NERVE.encode(np.array([0, 200, 75])).tolist() == [0, IGNORE_INDEX, 2]
    assert NERVE.decode(np.array([IGNORE_INDEX], np.uint8)).tolist() == [200]


def test_values_above_255_are_written_with_16_bits() -> None:
    labels = Labels.from_mapping({"background": 0, "nerve": 1000})
    assert labels.decode(np.array([1], np.uint8)).dtype == np.uint16


def test_a_mapping_comes_back() -> None:
    assert COLOURS.mapping == {"background": "#000000", "nerve": "#ff0000", "vessel": "#00ff7f"}
    assert MEMBRANE.mapping == {"background": 255, "membrane": 0}


def test_grey_masks_stand_among_coloured_ones() -> None:
    labels = Labels.from_mapping({"background": "#000000", "all": "#ffffff"})
    assert labels.encode(np.array([0, 255])).tolist() == [0, 1]


def test_an_unknown_value_is_named_with_its_count() -> None:
    with pytest.raises(MaskValuesError, match=r"0043\.png: holds 1 value that no label names: 3 \(2 px\) but the labels are"):
        NERVE.encode(np.array([0, 3, 3]), "0043.png")


def test_an_antialiased_mask_gets_its_histogram_and_the_way_out() -> None:
    with pytest.raises(MaskValuesError, match=r"holds 3 values .*set a mask threshold \(data\.mask_threshold=127 or --mask-threshold\)"):
        MEMBRANE.encode(np.array([0, 1, 128, 254, 255]))


def test_a_threshold_cleans_an_antialiased_mask() -> None:
    labels = Labels.from_mapping({"background": 0, "vessel": 255}, threshold=127)
    assert labels.encode(np.array([0, 7, 127, 128, 248, 255])).tolist() == [0, 0, 0, 1, 1, 1]
    inverted = Labels.from_mapping({"background": 255, "membrane": 0}, threshold=127)
    assert inverted.encode(np.array([0, 7, 248])).tolist() == [1, 1, 0]


def test_a_threshold_leaves_ignored_pixels_alone() -> None:
    labels = Labels.from_mapping({"background": 0, "vessel": 255}, threshold=127, ignore=99)
    assert labels.encode(np.array([0, 99, 130])).tolist() == [0, IGNORE_INDEX, 1]


def test_a_float_mask_of_whole_numbers_is_as_good_as_an_integer_one() -> None:
    assert NERVE.encode(np.array([38.0, 0.0], np.float32)).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("mapping", "more", "message"),
    [
        ({"background": 0}, {}, "1 names and 1 values; expected the same number, 2 to 254"),
        ({"background": 0, "nerve": 0}, {}, "each name and each value may stand once"),
        ({"background": 0, "nerve": 1}, {"ignore": 1}, "each name and each value may stand once"),
        ({"background": 0, "nerve": 70000}, {}, r"values lie in 0\.\.65535"),
        ({"background": -1, "nerve": 1}, {}, r"values lie in 0\.\.65535"),
        ({"background": 0, "nerve": "red"}, {}, "'red' is neither a number nor a colour like '#ff0000'"),
        ({"background": 0, "nerve": 1, "vessel": 2}, {"threshold": 1}, "a mask threshold is for exactly two classes"),
    ],
)
def test_labels_that_make_no_sense_are_refused(mapping: dict[str, int | str], more: dict[str, int], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Labels.from_mapping(mapping, **more)


def test_areas_are_counted_in_pixels_and_square_millimetres() -> None:
    mask = Mask(np.array([[0, 1, 1], [2, IGNORE_INDEX, 1]], np.uint8), NERVE, spacing_mm=(0.5, 2.0))
    assert mask.areas_px() == {"nerve": 3, "vessel": 1}
    assert mask.areas_mm() == {"nerve": 3.0, "vessel": 1.0}
    assert Mask(mask.indices, NERVE).areas_mm() is None


def test_areas_are_the_same_however_few_pixels_are_counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    indices = np.random.default_rng(0).integers(0, 3, (33, 47)).astype(np.uint8)
    expected = {"nerve": int((indices == 1).sum()), "vessel": int((indices == 2).sum())}
    for at_once in (1551, 1550, 100):
        monkeypatch.setattr("segkit.labels.COUNTED_AT_ONCE", at_once)
        assert Mask(indices.T, NERVE).areas_px() == expected


@pytest.mark.parametrize(
    ("shape", "channels", "grid"),
    [((33, 47), 1, (33, 47)), ((33, 47, 3), 3, (33, 47)), ((33, 47, 4), 3, (33, 47)), ((5, 33, 47), 5, (33, 47)), ((3, 33, 3), 3, (33, 3))],
)
def test_arrays_become_images(shape: tuple[int, ...], channels: int, grid: tuple[int, int]) -> None:
    image = image_from_array(np.zeros(shape, np.uint8))
    assert (image.channels, image.shape) == (channels, grid)


def test_an_array_of_four_axes_needs_to_be_called_a_volume() -> None:
    with pytest.raises(ShapeError, match="for a volume use segkit.Image"):
        image_from_array(np.zeros((2, 3, 4, 5)))
    assert Image(np.zeros((2, 1, 4, 5))).shape == (2, 4, 5)


def test_an_image_without_pixels_or_with_too_little_spacing_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(C, H, W\)"):
        Image(np.zeros((3, 0, 4)))
    with pytest.raises(ShapeError, match="spacing_mm has 2 numbers; expected 3"):
        Image(np.zeros((2, 1, 4, 5)), spacing_mm=(1, 1))


def test_blue_of_a_coloured_mask_and_white_of_a_grey_one_are_told_apart_by_their_type() -> None:
    labels = Labels.from_mapping({"background": "#000000", "vessel": "#0000ff", "nerve": "#ffffff"})
    assert labels.encode(np.array([0, 0x0000FF], COLOUR_TYPE)).tolist() == [0, 1]
    assert labels.encode(np.array([0, 255], np.uint8)).tolist() == [0, 2]
