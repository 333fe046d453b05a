"""Encoders: published counts, foreign names, promised maps, and blocks worked out by hand."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.engines import fold_batch_norms
from segkit.errors import SettingsError
from segkit.models import ENCODERS, build_classifier, build_encoder, build_model
from segkit.models.encoders.resnet import BasicBlock, Bottleneck

RESNET_COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}
ATTENTION_COUNTS = {"se_resnet18": 11_776_552, "se_resnet50": 28_071_976, "cbam_resnet18": 11_777_336, "cbam_resnet50": 28_073_544}
LIGHT_COUNTS = {"mobilenet_v2": 3_504_872, "shufflenet_v2_x1_0": 2_278_604, "ghostnet": 5_182_508}
FULL_STEM_CBAM_COUNTS = {
    "cbam_resnet18": 11_769_656,
    "cbam_resnet34": 21_948_744,
    "cbam_resnet50": 28_065_864,
    "cbam_resnet101": 49_287_882,
    "cbam_resnet152": 66_768_204,
}

ONE_OF_EACH = ("resnext50_32x4d", "se_resnet18", "cbam_resnet18", *LIGHT_COUNTS)

Shapes = dict[str, tuple[int, ...]]
Named = Iterator[tuple[str, tuple[int, ...]]]


def size_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shapes_of(network: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def classifier(name: str, **options: Any) -> nn.Module:
    """On the meta device: shapes without numbers, at once for the largest."""
    with torch.device("meta"):
        return build_classifier(name, **options)


def picture(batch: int = 2, channels: int = 3, height: int = 64, width: int = 96) -> Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


def seasoned(network: nn.Module) -> nn.Module:
    """In eval mode, with batch norms that have seen something: statistics, weights and biases unlike those at the start."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in ((module.weight, 0.5, 1.0), (module.bias, -0.5, 0.5), (module.running_mean, -0.5, 0.5), (module.running_var, 0.5, 2.0)):
                nn.init.uniform_(values, low, high, generator=generator)
    return network.eval()


# Counts


@pytest.mark.parametrize(("name", "count"), [*RESNET_COUNTS.items(), *ATTENTION_COUNTS.items(), *LIGHT_COUNTS.items()])
def test_the_classifier_has_the_published_number_of_parameters(name: str, count: int) -> None:
    assert size_of(classifier(name)) == count


@pytest.mark.parametrize(("name", "count"), FULL_STEM_CBAM_COUNTS.items())
def test_cbam_with_the_full_resolution_stem_has_the_published_number_of_parameters(name: str, count: int) -> None:
    assert size_of(classifier(name, stem="full")) == count


def test_other_channels_and_classes_change_the_ends_only() -> None:
    assert size_of(classifier("resnet18", in_channels=1)) == 11_689_512 - 2 * 64 * 49
    assert size_of(classifier("resnet18", num_classes=10)) == 11_689_512 - 990 * 513
    assert size_of(classifier("resnet18", stem="deep")) == 11_689_512 - 64 * 3 * 49 + (32 * 3 + 32 * 32 + 64 * 32) * 9 + 2 * 64


# Maps


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_the_maps_have_the_promised_widths_and_strides(name: str) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name, in_channels=2).eval()
        maps = encoder(torch.empty(2, 2, 64, 96))
    expected = [(2, width, 64 // stride, 96 // stride) for width, stride in zip(encoder.widths, encoder.strides, strict=True)]
    assert [tuple(x.shape) for x in maps] == expected
    assert encoder.strides == ((1, 2, 4, 8, 16) if name == "plain" else (2, 4, 8, 16, 32))


def test_resnet101_ends_with_2048_maps_of_seven_by_seven() -> None:
    with torch.device("meta"):
        maps = build_encoder("resnet101")(torch.empty(3, 3, 224, 224))
    assert maps[-1].shape == (3, 2048, 7, 7)


@pytest.mark.parametrize(
    ("stem", "output_stride", "strides"),
    [
        ("default", 16, (2, 4, 8, 16, 16)),
        ("default", 8, (2, 4, 8, 8, 8)),
        ("deep", 32, (2, 4, 8, 16, 32)),
        ("deep", 8, (2, 4, 8, 8, 8)),
        ("full", 32, (1, 1, 2, 4, 8)),
        ("full", 16, (1, 1, 2, 4, 4)),
        ("full", 8, (1, 1, 2, 2, 2)),
    ],
)
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_dilation_and_stem_choose_the_strides(name: str, stem: str, output_stride: int, strides: tuple[int, ...]) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name, stem=stem, output_stride=output_stride)
        maps = encoder(torch.empty(1, 3, 64, 96))
    assert encoder.strides == strides
    assert [tuple(x.shape[-2:]) for x in maps] == [(64 // stride, 96 // stride) for stride in strides]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_dilated_kernels_look_at_the_pixels_that_the_strided_ones_looked_at(name: str) -> None:
    strided = seasoned(build_encoder(name))
    dilated = build_encoder(name, output_stride=8).eval()
    dilated.load_state_dict(strided.state_dict())                  # the same names and shapes
    with torch.no_grad():
        coarse, fine = strided(picture(1)), dilated(picture(1))
    torch.testing.assert_close(fine[3][..., ::2, ::2], coarse[3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fine[4][..., ::4, ::4], coarse[4], rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("name", ["cbam_resnet18", *LIGHT_COUNTS])
def test_a_traced_encoder_takes_other_sizes(name: str) -> None:
    encoder = seasoned(build_encoder(name, in_channels=1))
    traced = torch.jit.trace(encoder, picture(1, 1), strict=False, check_trace=False)   # not strict: it returns a list
    with torch.no_grad():
        torch.testing.assert_close(traced(picture(2, 1, 96, 32)), encoder(picture(2, 1, 96, 32)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_parameter_of_an_encoder_learns(name: str) -> None:
    encoder = build_encoder(name)
    sum(x.square().mean() for x in encoder(picture())).backward()
    assert [key for key, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_classifier_has_all_that_its_encoder_has(name: str) -> None:
    with torch.device("meta"):
        encoder = shapes_of(build_encoder(name))
    assert encoder.items() < shapes_of(classifier(name)).items()


@pytest.mark.parametrize("name", ["resnet18", "cbam_resnet18", *LIGHT_COUNTS])
def test_a_classifier_gives_one_row_of_logits_for_each_picture(name: str) -> None:
    assert build_classifier(name, num_classes=7, in_channels=1).eval()(picture(2, 1)).shape == (2, 7)


def test_the_plain_encoder_is_no_classifiers_trunk() -> None:
    with pytest.raises(SettingsError, match="the plain encoder has no classification network; choose a ResNet"):
        build_classifier("plain")


# Names and shapes of torchvision's state dicts, by the rule


def conv(name: str, out_channels: int, in_channels: int, kernel: int) -> Named:
    yield f"{name}.weight", (out_channels, in_channels, kernel, kernel)


def norm(name: str, channels: int) -> Named:
    yield from ((f"{name}.{part}", (channels,)) for part in ("weight", "bias", "running_mean", "running_var"))
    yield f"{name}.num_batches_tracked", ()


def linear(name: str, classes: int, channels: int) -> Named:
    yield from ((f"{name}.weight", (classes, channels)), (f"{name}.bias", (classes,)))


def resnet_table(blocks: tuple[int, ...], expansion: int, groups: int = 1, group_width: int = 64) -> Named:
    yield from itertools.chain(conv("conv1", 64, 3, 7), norm("bn1", 64))
    before = 64
    for layer, count in enumerate(blocks, start=1):
        width = 32 * 2**layer
        inner = width if expansion == 1 else width * group_width // 64 * groups
        for number in range(count):
            block = f"layer{layer}.{number}"
            yield from basic_table(block, before, width) if expansion == 1 else bottleneck_table(block, before, inner, groups, 4 * width)
            if number == 0 and before != expansion * width:
                yield from conv(f"{block}.downsample.0", expansion * width, before, 1)
                yield from norm(f"{block}.downsample.1", expansion * width)
            before = expansion * width
    yield from linear("fc", 1000, before)


def basic_table(block: str, before: int, width: int) -> Named:
    yield from itertools.chain(conv(f"{block}.conv1", width, before, 3), norm(f"{block}.bn1", width))
    yield from itertools.chain(conv(f"{block}.conv2", width, width, 3), norm(f"{block}.bn2", width))


def bottleneck_table(block: str, before: int, inner: int, groups: int, after: int) -> Named:
    yield from itertools.chain(conv(f"{block}.conv1", inner, before, 1), norm(f"{block}.bn1", inner))
    yield from itertools.chain(conv(f"{block}.conv2", inner, inner // groups, 3), norm(f"{block}.bn2", inner))
    yield from itertools.chain(conv(f"{block}.conv3", after, inner, 1), norm(f"{block}.bn3", after))


@pytest.mark.parametrize(
    ("name", "table", "entries"),
    [
        ("resnet18", resnet_table((2, 2, 2, 2), 1), 122),
        ("resnet50", resnet_table((3, 4, 6, 3), 4), 320),
        ("resnext50_32x4d", resnet_table((3, 4, 6, 3), 4, groups=32, group_width=4), 320),
    ],
)
def test_resnets_have_torchvisions_names_and_shapes(name: str, table: Named, entries: int) -> None:
    expected = dict(table)
    assert shapes_of(classifier(name)) == expected
    assert len(expected) == entries


def mobilenet_table() -> Named:
    yield from itertools.chain(conv("features.0.0", 32, 3, 3), norm("features.0.1", 32))
    plan = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    steps = [(expansion, width) for expansion, width, count in plan for _ in range(count)]
    before = 32
    for number, (expansion, width) in enumerate(steps, start=1):
        block, inner, at = f"features.{number}.conv", expansion * before, 0
        if expansion > 1:
            yield from itertools.chain(conv(f"{block}.0.0", inner, before, 1), norm(f"{block}.0.1", inner))
            at = 1
        yield from itertools.chain(conv(f"{block}.{at}.0", inner, 1, 3), norm(f"{block}.{at}.1", inner))
        yield from itertools.chain(conv(f"{block}.{at + 1}", width, inner, 1), norm(f"{block}.{at + 2}", width))
        before = width
    yield from itertools.chain(conv("features.18.0", 1280, 320, 1), norm("features.18.1", 1280), linear("classifier.1", 1000, 1280))


def shufflenet_table() -> Named:
    yield from itertools.chain(conv("conv1.0", 24, 3, 3), norm("conv1.1", 24))
    before = 24
    for stage, units, width in ((2, 4, 116), (3, 8, 232), (4, 4, 464)):
        half = width // 2
        for number in range(units):
            unit, into = f"stage{stage}.{number}", before if number == 0 else half
            if number == 0:
                yield from itertools.chain(conv(f"{unit}.branch1.0", into, 1, 3), norm(f"{unit}.branch1.1", into))
                yield from itertools.chain(conv(f"{unit}.branch1.2", half, into, 1), norm(f"{unit}.branch1.3", half))
            yield from itertools.chain(conv(f"{unit}.branch2.0", half, into, 1), norm(f"{unit}.branch2.1", half))
            yield from itertools.chain(conv(f"{unit}.branch2.3", half, 1, 3), norm(f"{unit}.branch2.4", half))
            yield from itertools.chain(conv(f"{unit}.branch2.5", half, half, 1), norm(f"{unit}.branch2.6", half))
        before = width
    yield from itertools.chain(conv("conv5.0", 1024, 464, 1), norm("conv5.1", 1024), linear("fc", 1000, 1024))


@pytest.mark.parametrize(("name", "table", "entries"), [("mobilenet_v2", mobilenet_table(), 314), ("shufflenet_v2_x1_0", shufflenet_table(), 338)])
def test_light_encoders_have_torchvisions_names_and_shapes(name: str, table: Named, entries: int) -> None:
    expected = dict(table)
    assert shapes_of(classifier(name)) == expected
    assert len(expected) == entries


def test_ghostnet_has_timms_names() -> None:
    shapes = shapes_of(classifier("ghostnet"))
    some = {
        "conv_stem.weight": (16, 3, 3, 3),
        "bn1.running_mean": (16,),
        "blocks.0.0.ghost1.primary_conv.0.weight": (8, 16, 1, 1),
        "blocks.0.0.ghost1.cheap_operation.1.running_var": (8,),
        "blocks.1.0.conv_dw.weight": (48, 1, 3, 3),
        "blocks.1.0.bn_dw.bias": (48,),
        "blocks.1.0.shortcut.0.weight": (16, 1, 3, 3),
        "blocks.1.0.shortcut.2.weight": (24, 16, 1, 1),
        "blocks.3.0.conv_dw.weight": (72, 1, 5, 5),
        "blocks.3.0.se.conv_reduce.weight": (20, 72, 1, 1),        # 72 / 4 = 18, rounded to a multiple of 4
        "blocks.3.0.se.conv_expand.bias": (72,),
        "blocks.4.0.se.conv_reduce.bias": (32,),                   # 120 / 4 = 30
        "blocks.6.3.shortcut.3.num_batches_tracked": (),           # 80 to 112 channels without a stride
        "blocks.8.3.ghost2.cheap_operation.0.weight": (80, 1, 3, 3),
        "blocks.9.0.conv.weight": (960, 160, 1, 1),
        "blocks.9.0.bn1.weight": (960,),
        "conv_head.weight": (1280, 960, 1, 1),
        "conv_head.bias": (1280,),
        "classifier.weight": (1000, 1280),
    }
    assert {key: shapes.get(key) for key in some} == some
    assert len(shapes) == 512


# Blocks against their formula


def normalised(x: Tensor, layer: nn.Module) -> Tensor:
    """Batch norm in eval mode, as it is written: γ (x - μ) / √(σ² + ε) + β."""
    mean, variance, gain, shift = (values[:, None, None] for values in (layer.running_mean, layer.running_var, layer.weight, layer.bias))
    return gain * (x - mean) / torch.sqrt(variance + 1e-5) + shift


def block_of(name: str, layer: str, number: int, kind: type[nn.Module]) -> nn.Module:
    block = getattr(seasoned(build_encoder(name)), layer)[number]
    assert isinstance(block, kind)
    return block


@torch.no_grad()
def test_a_basic_block_is_the_formula() -> None:
    block, x = block_of("resnet18", "layer2", 0, BasicBlock), picture(1, 64, 9, 7)
    inner = normalised(F.conv2d(x, block.conv1.weight, stride=2, padding=1), block.bn1).clamp(min=0)
    residual = normalised(F.conv2d(inner, block.conv2.weight, padding=1), block.bn2)
    shortcut = normalised(torch.einsum("bchw,dc->bdhw", x[..., ::2, ::2], block.downsample[0].weight[..., 0, 0]), block.downsample[1])
    torch.testing.assert_close(block(x), (residual + shortcut).clamp(min=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "groups"), [("resnet50", 1), ("resnext50_32x4d", 32), ("wide_resnet50_2", 1)])
@torch.no_grad()
def test_a_bottleneck_is_the_formula(name: str, groups: int) -> None:
    block, x = block_of(name, "layer2", 0, Bottleneck), picture(1, 256, 9, 7)
    inner = normalised(F.conv2d(x, block.conv1.weight), block.bn1).clamp(min=0)
    inner = normalised(F.conv2d(inner, block.conv2.weight, stride=2, padding=1, groups=groups), block.bn2).clamp(min=0)   # the stride is here
    residual = normalised(F.conv2d(inner, block.conv3.weight), block.bn3)
    shortcut = normalised(F.conv2d(x[..., ::2, ::2], block.downsample[0].weight), block.downsample[1])
    torch.testing.assert_close(block(x), (residual + shortcut).clamp(min=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attention", ["se", "cbam"])
@torch.no_grad()
def test_attention_stands_at_the_end_of_the_branch_before_the_addition(attention: str) -> None:
    block, x = block_of(f"{attention}_resnet18", "layer1", 1, BasicBlock), picture(1, 64, 9, 7)
    inner = normalised(F.conv2d(x, block.conv1.weight, padding=1), block.bn1).clamp(min=0)
    residual = normalised(F.conv2d(inner, block.conv2.weight, padding=1), block.bn2)
    torch.testing.assert_close(block(x), (block.attention(residual) + x).clamp(min=0), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_inverted_residual_is_the_formula() -> None:
    block, x = seasoned(build_encoder("mobilenet_v2")).features[3], picture(1, 24, 9, 7)
    (expand, norm1, _), (depthwise, norm2, _), project, norm3 = block.conv
    inner = normalised(F.conv2d(x, expand.weight), norm1).clamp(0, 6)
    inner = normalised(F.conv2d(inner, depthwise.weight, padding=1, groups=144), norm2).clamp(0, 6)
    torch.testing.assert_close(block(x), x + normalised(F.conv2d(inner, project.weight), norm3), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_shuffle_unit_keeps_one_half_in_the_even_channels() -> None:
    unit, x = seasoned(build_encoder("shufflenet_v2_x1_0")).stage2[1], picture(1, 116, 9, 7)
    y = unit(x)
    torch.testing.assert_close(y[:, ::2], x[:, :58])
    torch.testing.assert_close(y[:, 1::2], unit.branch2(x[:, 58:]), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_ghost_module_makes_its_second_half_from_its_first() -> None:
    module, x = seasoned(build_encoder("ghostnet")).blocks[1][0].ghost1, picture(1, 16, 9, 7)
    real = normalised(F.conv2d(x, module.primary_conv[0].weight), module.primary_conv[1]).clamp(min=0)
    ghosts = normalised(F.conv2d(real, module.cheap_operation[0].weight, padding=1, groups=24), module.cheap_operation[1]).clamp(min=0)
    torch.testing.assert_close(module(x), torch.cat([real, ghosts], dim=1), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_ghostnets_channel_weights_are_the_formula() -> None:
    weigh, x = build_encoder("ghostnet").blocks[3][0].se, picture(1, 72, 9, 7)
    nn.init.normal_(weigh.conv_expand.bias)
    hidden = (x.mean(dim=(2, 3)) @ weigh.conv_reduce.weight[..., 0, 0].T + weigh.conv_reduce.bias).clamp(min=0)
    weights = ((hidden @ weigh.conv_expand.weight[..., 0, 0].T + weigh.conv_expand.bias + 3) / 6).clamp(0, 1)
    torch.testing.assert_close(weigh(x), x * weights[..., None, None])


# How they start


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "se_resnet18", "cbam_resnet18"])
def test_with_zero_init_each_block_starts_as_its_shortcut(name: str, norm: str) -> None:
    encoder = build_encoder(name, zero_init=True, norm=norm).eval()
    x = encoder.maxpool(encoder.relu(encoder.bn1(encoder.conv1(picture(1)))))
    for block in itertools.chain(encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
        expected = torch.relu(block.downsample(x))
        torch.testing.assert_close(block(x), expected)
        x = expected


def test_without_it_the_branches_speak_from_the_start() -> None:
    block = build_encoder("resnet18").eval().layer1[1]
    x = picture(1, 64, 8, 8).relu()
    assert not torch.allclose(block(x), x)


@pytest.mark.parametrize(
    ("name", "layer", "fan_out"),
    [
        ("resnet18", "layer4.1.conv2", 512 * 9),
        ("mobilenet_v2", "features.17.conv.0.0", 960),
        ("shufflenet_v2_x1_0", "stage4.1.branch2.0", 232),
        ("ghostnet", "blocks.8.0.ghost1.primary_conv.0", 480),
    ],
)
def test_convolutions_start_kaiming_normal_by_fan_out(name: str, layer: str, fan_out: int) -> None:
    torch.manual_seed(0)
    weight = build_encoder(name).get_submodule(layer).weight
    assert weight.mean().item() == pytest.approx(0, abs=0.1 * weight.std().item())
    assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)


# Batch norms folded


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_folding_the_batch_norms_leaves_every_map_as_it_was(name: str) -> None:
    encoder = seasoned(build_encoder(name))
    folded = fold_batch_norms(copy.deepcopy(encoder))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(picture(1)), encoder(picture(1)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", [{"stem": "deep"}, {"stem": "full"}, {"output_stride": 8}], ids=str)
def test_folding_reaches_every_stem_and_dilated_stages(options: dict[str, Any]) -> None:
    encoder = seasoned(build_encoder("resnet18", **options))
    folded = fold_batch_norms(copy.deepcopy(encoder))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(picture(1)), encoder(picture(1)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", LIGHT_COUNTS)
def test_folding_leaves_the_logits_of_a_light_classifier_as_they_were(name: str) -> None:
    network = seasoned(build_classifier(name, num_classes=5))
    folded = fold_batch_norms(copy.deepcopy(network))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(picture(1)), network(picture(1)), rtol=1e-3, atol=1e-4)


# Refusals


@pytest.mark.parametrize(
    ("name", "option", "owner"),
    [
        ("resnet34", {"feature_scale": 2}, "the plain encoder"),
        ("mobilenet_v2", {"batchnorm": False}, "the plain encoder"),
        ("plain", {"stem": "deep"}, "ResNets"),
        ("shufflenet_v2_x1_0", {"output_stride": 16}, "ResNets"),
        ("ghostnet", {"zero_init": True}, "ResNets"),
        ("mobilenet_v2", {"norm": "group"}, "ResNets"),
    ],
)
def test_an_option_of_another_family_is_refused(name: str, option: dict[str, Any], owner: str) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(option))} is a setting of {owner}, the encoder is {name}; leave it out"):
        build_encoder(name, **option)


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("resnet_34", "resnet34"), ("se-resnet50", "se_resnet50"), ("mobilenetv2", "mobilenet_v2"), ("ghostnet_100", "ghostnet")]
)
def test_a_name_slightly_wrong_gets_the_nearest(wrong: str, nearest: str) -> None:
    for build in (build_encoder, build_classifier, lambda name: build_model("unet", encoder=name)):
        with pytest.raises(SettingsError, match=f"no encoder is called '{wrong}'; did you mean {nearest}?"):
            build(wrong)


def test_a_name_far_from_all_gets_a_list() -> None:
    with pytest.raises(SettingsError, match="no encoder is called 'quux'; there are: plain, resnet18, .*segkit models lists them"):
        build_model("unet", encoder="quux")


def test_a_norm_slightly_wrong_gets_the_nearest() -> None:
    with pytest.raises(SettingsError, match="no norm is called 'batsh'; did you mean batch?"):
        build_encoder("resnet18", norm="batsh")


def test_an_option_that_nobody_has_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"build_encoder\('resnet18'\): depth is not a setting of EncoderSettings; it has: encoder, "):
        build_encoder("resnet18", depth=3)
