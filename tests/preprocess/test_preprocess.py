"""Prepare and undo."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segkit import preprocess
from segkit.errors import ChannelsError, RangeError, SettingsError
from segkit.image import Image
from segkit.preprocess import PreprocessSettings, prepare
from segkit.preprocess.intensity import FixedRange, Window, cut_off_notes


def settings(**given: object) -> PreprocessSettings:
    return PreprocessSettings.model_validate({"channels": 1, **given})


def grey(values: object, dtype: type = np.uint8, **more: object) -> Image:
    return Image(np.array(values, dtype)[None], **more)  # type: ignore[arg-type]


def test_a_fixed_range_becomes_minus_one_to_one() -> None:
    image = grey([[0, 51, 255]])
    assert prepare(image, settings()).apply(image.pixels).tolist() == [[[-1.0, pytest.approx(-0.6), 1.0]]]


def test_a_window_is_cut_off_at_its_ends() -> None:
    image = grey([[-1000, -60, 40, 140, 3000]], np.int16)
    rule = settings(intensity={"kind": "window", "level": 40, "width": 400})
    assert prepare(image, rule).apply(image.pixels).tolist() == [[[-1.0, -0.5, 0.0, 0.5, 1.0]]]


def test_a_zscore_has_mean_0_and_deviation_1() -> None:
    image = Image(np.random.default_rng(0).normal(5000, 300, (2, 33, 47)).astype(np.float32))
    rule = PreprocessSettings.model_validate({"channels": 2, "intensity": {"kind": "zscore", "percentiles": [0, 100]}})
    picture = prepare(image, rule).apply(image.pixels)
    torch.testing.assert_close(picture.mean(dim=(1, 2)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(picture.std(dim=(1, 2), correction=0), torch.ones(2), atol=1e-3, rtol=0)


def test_a_volume_keeps_one_scale_for_all_slices() -> None:
    volume = Image(np.stack([np.zeros((1, 8, 8)), np.full((1, 8, 8), 10.0)]).astype(np.float32))
    preparation = prepare(volume, settings(intensity={"kind": "zscore"}))
    assert [preparation.apply(pixels).mean().item() for pixels in volume.slices] == [-1.0, 1.0]


def test_a_constant_picture_stays_finite() -> None:
    image = grey(np.full((9, 9), 77))
    assert not prepare(image, settings(intensity={"kind": "zscore"})).apply(image.pixels).any()


def test_another_bit_depth_is_refused() -> None:
    with pytest.raises(RangeError, match=r"pixels run from 0 to 40000 \(uint16\), the model takes 0 to 255"):
        prepare(grey([[0, 40000]], np.uint16), settings())


@pytest.mark.parametrize("shape", [(33, 47), (47, 33), (5, 63), (1, 9)])
@pytest.mark.parametrize("resize", [{"kind": "native"}, {"kind": "long_side", "pixels": 32}, {"kind": "spacing", "mm": 0.7}])
def test_undo_gives_back_the_size_that_apply_was_given(shape: tuple[int, int], resize: dict[str, object]) -> None:
    image = Image(np.zeros((1, *shape), np.uint8), spacing_mm=(0.5, 0.5))
    preparation = prepare(image, settings(resize=resize))
    assert preparation.undo(preparation.apply(image.pixels)).shape == (1, *shape)


def test_a_smooth_picture_survives_there_and_back() -> None:
    ramp = np.tile(np.arange(64, dtype=np.float32) * 4, (64, 1))[None]
    preparation = prepare(Image(ramp), settings(resize={"kind": "long_side", "pixels": 32}))
    back = (preparation.undo(preparation.apply(ramp)) + 1) * 127.5
    assert np.abs(back.numpy() - ramp)[..., 4:-4].max() < 1.0


def test_the_long_side_is_as_long_as_asked() -> None:
    assert prepare(Image(np.zeros((1, 512, 534), np.uint8)), settings(resize={"kind": "long_side", "pixels": 128})).target == (123, 128)


def test_spacing_uses_millimetres_for_each_axis() -> None:
    image = Image(np.zeros((1, 40, 40), np.uint8), spacing_mm=(0.5, 1.0))
    assert prepare(image, settings(resize={"kind": "spacing", "mm": 0.5})).target == (40, 80)


def test_spacing_that_the_file_does_not_say_is_refused() -> None:
    with pytest.raises(SettingsError, match="the file says nothing of its spacing"):
        prepare(grey([[1]]), settings(resize={"kind": "spacing", "mm": 1}))


def test_a_truth_pixel_takes_the_class_that_covers_most_of_it() -> None:
    truth = np.zeros((32, 32), np.uint8)
    truth[:, :20] = 2
    small = prepare(Image(np.zeros((1, 32, 32), np.uint8)), settings(resize={"kind": "long_side", "pixels": 16})).apply_to_truth(truth)
    assert small[0].tolist() == [2] * 10 + [0] * 6


def test_channels_are_converted_only_where_asked_for() -> None:
    colour = Image(np.array([[[100]], [[200]], [[50]]], np.uint8))
    with pytest.raises(ChannelsError, match=r"has 3 channels \(colour\), the model takes 1 channel \(grey\); allow it with --convert-channels"):
        prepare(colour, settings())
    luma = prepare(colour, settings(convert_channels=True, intensity={"kind": "fixed", "low": -1, "high": 1000})).apply(colour.pixels)
    assert (luma.item() + 1) * 500.5 - 1 == pytest.approx(0.299 * 100 + 0.587 * 200 + 0.114 * 50, rel=1e-4)


def test_a_grey_picture_is_repeated_for_a_colour_model() -> None:
    picture = prepare(grey([[0, 255]]), settings(channels=3, convert_channels=True)).apply(np.array([[[0, 255]]], np.uint8))
    assert picture.tolist() == [[[-1.0, 1.0]]] * 3


def test_five_channels_can_not_be_converted() -> None:
    with pytest.raises(ChannelsError, match="has 5 channels, the model takes 1 channel"):
        prepare(Image(np.zeros((5, 4, 4), np.uint8)), settings(convert_channels=True))


def test_a_slice_sees_its_neighbours_and_the_last_one_itself_again() -> None:
    volume = Image(np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((4, 1, 8, 8), np.float32))
    rule = settings(context=1, intensity={"kind": "fixed", "low": -8, "high": 8})
    walked = [(8 * picture[:, 0, 0]).tolist() for picture in prepare(volume, rule).walk(volume.slices)]
    assert walked == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert rule.in_channels == 3


def test_without_context_a_slice_walks_alone() -> None:
    volume = Image(np.random.default_rng(0).uniform(0, 255, (3, 1, 9, 7)).astype(np.float32))
    preparation = prepare(volume, settings())
    for walked, pixels in zip(preparation.walk(volume.slices), volume.slices, strict=True):
        torch.testing.assert_close(walked, preparation.apply(pixels))


def test_floats_from_0_to_1_are_not_taken_for_black() -> None:
    with pytest.raises(RangeError, match=r"floats from 0 to 1, the model takes 0 to 255; multiply them by 255"):
        prepare(grey([[0.0, 1.0]], np.float32), settings())


def test_floats_from_minus_1_to_1_are_not_taken_for_black() -> None:
    with pytest.raises(RangeError, match=r"floats from -1 to 0\.9, the model takes 0 to 255; scale them so"):
        prepare(grey([[-1.0, 0.9]], np.float32), settings())


def test_small_numbers_around_0_belong_to_a_range_around_0() -> None:
    image = grey([[-1.0, 1.0]], np.float32)
    rule = settings(intensity={"kind": "fixed", "low": -100, "high": 100})
    assert prepare(image, rule).apply(image.pixels).tolist() == [[[pytest.approx(-0.01), pytest.approx(0.01)]]]


@pytest.mark.parametrize(("lowest", "highest", "dtype"), [(-100, 155, np.int32), (0, 300, np.uint16), (0, 600, np.uint16), (-13, 255, np.float32)])
def test_values_more_than_a_twentieth_beyond_the_range_are_of_another_scale(lowest: int, highest: int, dtype: type) -> None:
    with pytest.raises(RangeError, match=f"pixels run from {lowest} to {highest} .*, the model takes 0 to 255"):
        prepare(grey([[lowest, highest]], dtype), settings())


def test_values_a_little_beyond_the_range_are_cut_off_and_said() -> None:
    image = grey([[-12, 0, 255, 267]], np.float32)
    assert prepare(image, settings()).apply(image.pixels).tolist() == [[[-1, -1, 1, 1]]]
    assert cut_off_notes(image, FixedRange()) == ("2 of 4 values lie beyond 0 to 255, the range that the model takes: cut off there",)
    assert cut_off_notes(grey([[0, 255]]), FixedRange()) == ()


def test_a_window_cuts_off_by_design() -> None:
    assert cut_off_notes(grey([[-1000, 3000]], np.int16), Window()) == ()


def test_prediction_cuts_off_where_training_does() -> None:
    pixels = np.zeros((1, 20, 20), np.float32)
    pixels[0, 0, :4] = 1000                                       # 1 % of the pixels, 10 deviations away
    rule = settings(intensity={"kind": "zscore", "percentiles": [0, 100]})
    assert prepare(Image(pixels), rule).apply(pixels).max().item() == 4.0


@pytest.mark.parametrize(
    ("intensity", "message"),
    [
        ({"kind": "fixed", "low": 5, "high": 5}, "low lies below high"),
        ({"kind": "zscore", "percentiles": [0.5, 199]}, "two numbers from 0 to 100, the lower one first"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(intensity: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(intensity=intensity)


# Large pictures, piece by piece.


@pytest.mark.parametrize("resize_to", [{"kind": "long_side", "pixels": 40}, {"kind": "long_side", "pixels": 61}, {"kind": "native"}])
@pytest.mark.parametrize("shape", [(90, 131), (131, 90)])
def test_a_large_picture_is_prepared_piece_by_piece_as_it_would_be_at_once(
    resize_to: dict[str, object], shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image(np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8))
    rule = PreprocessSettings.model_validate({"channels": 1, "convert_channels": True, "resize": resize_to})
    (at_once,) = prepare(image, rule).walk(image.slices)
    monkeypatch.setattr(preprocess, "LARGE", 1000)
    (piecewise,) = prepare(image, rule).views(image.slices)
    assert tuple(piecewise.shape) == tuple(at_once.shape)
    rows, columns = slice(3, 29), slice(7, 30)
    torch.testing.assert_close(piecewise[slice(None), rows, columns], at_once[:, rows, columns], atol=1e-5, rtol=1e-5)


def test_a_view_has_its_neighbours_as_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image(np.random.default_rng(0).integers(0, 256, (4, 1, 33, 47), dtype=np.uint8))
    preparation = prepare(image, PreprocessSettings(channels=1, context=1))
    walked = list(preparation.walk(image.slices))
    monkeypatch.setattr(preprocess, "LARGE", 1000)
    views = list(preparation.views(image.slices))
    assert all(isinstance(view, preprocess.View) for view in views)
    for view, whole in zip(views, walked, strict=True):
        torch.testing.assert_close(view[slice(None), slice(0, 33), slice(0, 47)], whole)


@pytest.mark.parametrize("shape", [(90, 131), (131, 90), (200, 41)])
def test_scores_come_back_piece_by_piece_as_they_would_at_once(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image(np.zeros((1, *shape), np.uint8))
    preparation = prepare(image, PreprocessSettings.model_validate({"channels": 1, "resize": {"kind": "long_side", "pixels": 40}}))
    logits = torch.randn(3, *preparation.target, generator=torch.Generator().manual_seed(0))
    at_once = preparation.undo(logits)
    monkeypatch.setattr(preprocess, "LARGE", 1000)
    pieces = list(preparation.undo_in_bands([(0, logits[:, :5]), (5, logits[:, 5:])]))
    assert [row for row, _ in pieces] == list(range(0, shape[0], 1000 // shape[1]))
    torch.testing.assert_close(torch.cat([piece for _, piece in pieces], dim=1), at_once, atol=1e-5, rtol=1e-5)
