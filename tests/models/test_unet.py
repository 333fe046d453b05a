"""The house U-Net: its counts, its sizes, its start."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.config import validate_run
from segkit.errors import SettingsError, ShapeError
from segkit.models import UNetSettings, build_classifier, build_model
from segkit.models.blocks import pad_to_multiple
from segkit.models.upsampling import BilinearUpsampling

COUNTS = {
    (1, "bilinear", True): 28_950_786,
    (1, "bilinear", False): 28_942_850,
    (1, "deconv", True): 31_039_746,
    (1, "deconv", False): 31_031_810,
    (2, "bilinear", True): 7_241_858,
    (2, "bilinear", False): 7_237_890,
    (2, "deconv", True): 7_764_098,
    (2, "deconv", False): 7_760_130,
    (4, "bilinear", True): 1_812_546,
    (4, "bilinear", False): 1_810_562,
    (4, "deconv", True): 1_943_106,
    (4, "deconv", False): 1_941_122,
}


@pytest.mark.parametrize(("feature_scale", "upsampling", "batchnorm"), list(COUNTS))
def test_it_has_the_published_number_of_parameters(feature_scale: float, upsampling: str, batchnorm: bool) -> None:
    with torch.device("meta"):
        network = build_model("unet", encoder="plain", feature_scale=feature_scale, upsampling=upsampling, batchnorm=batchnorm, in_channels=3, num_classes=2)
    assert sum(parameter.numel() for parameter in network.parameters()) == COUNTS[feature_scale, upsampling, batchnorm]


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (5, 63), (1, 9), (17, 1), (1, 1)])
@pytest.mark.parametrize("upsampling", ["bilinear", "deconv"])
def test_any_size_goes_in_and_comes_out(size: tuple[int, int], upsampling: str) -> None:
    network = build_model("unet", feature_scale=16, upsampling=upsampling, in_channels=2, num_classes=3).eval()
    assert network(torch.zeros(2, 2, *size)).shape == (2, 3, *size)


def test_a_picture_scores_the_same_alone_and_in_a_batch() -> None:
    network = build_model("unet", feature_scale=8).eval()
    pictures = torch.randn(3, 3, 33, 47, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(pictures)[1], network(pictures[1:2])[0], rtol=1e-4, atol=1e-4)


def test_the_convolution_commutes_with_the_interpolation() -> None:
    up = BilinearUpsampling(6, 4)
    x = torch.randn(2, 6, 5, 7)
    interpolated_first = up.conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))
    torch.testing.assert_close(up(x), interpolated_first, rtol=1e-5, atol=1e-5)


def test_it_starts_with_kaiming_normal_weights() -> None:
    torch.manual_seed(0)
    network = build_model("unet", feature_scale=2)
    conv = network.encoder.stages[3][3]                       # 256 -> 256 channels, 3x3: fan-in 2304
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.01)
    assert not conv.bias.any()
    norms = torch.cat([module.weight for module in network.modules() if isinstance(module, nn.BatchNorm2d)])
    assert norms.mean().item() == pytest.approx(1.0, abs=0.002)
    assert norms.std().item() == pytest.approx(0.02, rel=0.05)


def test_padding_mirrors_where_it_can_and_repeats_where_it_must() -> None:
    row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    assert pad_to_multiple(row, 4).tolist() == [[[[1, 2, 3, 2]] * 4]]
    assert pad_to_multiple(row[..., :1], 2).tolist() == [[[[1, 1], [1, 1]]]]


def test_the_decoder_has_no_batch_norm() -> None:
    assert not any(isinstance(module, nn.BatchNorm2d) for module in build_model("unet").decoder.modules())


def test_settings_that_are_made_take_no_options_beside_them() -> None:
    settings = UNetSettings(feature_scale=16)
    assert build_model(settings).encoder.widths == (4, 8, 16, 32, 64)
    with pytest.raises(SettingsError, match="was given a UNetSettings and beside it skip, num_classes; give what is beside it to UNetSettings itself"):
        build_model(settings, skip="cbam", num_classes=3)


@pytest.mark.parametrize("name", [["unet"], {"unet": 1}, 3, None])
def test_a_name_that_is_no_text_is_refused_in_words(name: object) -> None:
    with pytest.raises(SettingsError, match="model"):
        validate_run({"model": {"name": name}}, "test.yaml")


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match="no model is called 'unett'; did you mean unet"):
        build_model("unett")


@pytest.mark.parametrize(("name", "plain"), [("UNet", "unet"), ("U-Net", "unet"), ("unet++", "unetplusplus"), ("UNet++", "unetplusplus"), ("CPFNet", "cpfnet")])
def test_a_network_goes_by_the_ways_its_name_is_written(name: str, plain: str) -> None:
    with torch.device("meta"):
        assert build_model(name).state_dict().keys() == build_model(plain).state_dict().keys()


@pytest.mark.parametrize("given", [None, 3, {}, ["unet"]])
def test_what_is_neither_a_name_nor_settings_is_refused(given: object) -> None:
    with pytest.raises(SettingsError, match=r"is no network; give a name, one of unet, unetplusplus, cpfnet, or settings"):
        build_model(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("unet", "classes", r"build_model\('unet'\): classes is not a setting of UNetSettings; did you mean num_classes\?"),
        ("unet++", "skip", r"skip is not a setting of UNetPlusPlusSettings; it has: encoder, feature_scale, "),
        ("cpfnet", "pretrained", "pretrained is not a setting of UNetSettings; it has: "),
    ],
)
def test_an_unknown_option_gets_the_nearest_one_or_all(name: str, option: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_model(name, **{option: 3})


@pytest.mark.parametrize("num_classes", [-5, 0, "ten", 2.5, True])
def test_a_classifier_has_a_whole_number_of_classes(num_classes: int) -> None:
    with pytest.raises(SettingsError, match=r"build_classifier\('resnet18'\): num_classes is .*; expected a whole number from 1 on"):
        build_classifier("resnet18", num_classes)


def test_a_picture_without_its_batch_is_refused_in_words() -> None:
    with torch.device("meta"), pytest.raises(ShapeError, match=r"it was given \(3, 32, 32\); picture\[None\] is a batch of one"):
        build_model("unet")(torch.zeros(3, 32, 32))


def test_a_wrong_option_is_named() -> None:
    with pytest.raises(SettingsError, match="feature_scale.*given: 0"):
        build_model("unet", feature_scale=0)
