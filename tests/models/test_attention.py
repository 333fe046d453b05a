"""Attention over channels and positions, against the formula in plain tensor operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.models.attention import ATTENTIONS, CBAM, ChannelAttention, SpatialAttention, SqueezeExcitation, hidden_width


def map_of(channels: int) -> Tensor:
    return torch.randn(2, channels, 5, 7, generator=torch.Generator().manual_seed(0))


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def two_layers(pooled: Tensor, squeeze: Tensor, excite: Tensor) -> Tensor:
    """(B, C) -> (B, C): the MLP that SE and CBAM share."""
    return (pooled @ squeeze.T).clamp(min=0) @ excite.T


def test_se_is_the_formula() -> None:
    x, se = map_of(32), SqueezeExcitation(32)
    assert se.squeeze.weight.shape == (2, 32)                      # 32 / 16 hidden channels
    weights = sigmoid(two_layers(x.sum(dim=(2, 3)) / 35, se.squeeze.weight, se.excite.weight))
    torch.testing.assert_close(se(x), torch.einsum("bchw,bc->bchw", x, weights))


def test_cbam_is_the_formula_channels_first() -> None:
    x, cbam = map_of(32), CBAM(32)
    mlp = cbam.channel.squeeze.weight, cbam.channel.excite.weight
    mean, maximum = x.sum(dim=(2, 3)) / 35, x.flatten(2).max(dim=2).values
    scaled = torch.einsum("bchw,bc->bchw", x, sigmoid(two_layers(mean, *mlp) + two_layers(maximum, *mlp)))
    pooled = torch.stack([scaled.sum(dim=1) / 32, scaled.max(dim=1).values], dim=1)
    spatial = sigmoid(seven_by_seven(pooled, cbam.spatial.conv.weight))
    torch.testing.assert_close(cbam(x), scaled * spatial[:, None], rtol=1e-5, atol=1e-5)


def seven_by_seven(maps: Tensor, weight: Tensor) -> Tensor:
    """(B, 2, H, W) and (1, 2, 7, 7) -> (B, H, W): the sum over every 7×7 window, with zeros outside."""
    windows = F.pad(maps, (3, 3, 3, 3)).unfold(2, 7, 1).unfold(3, 7, 1)          # (B, 2, H, W, 7, 7)
    return torch.einsum("bchwij,cij->bhw", windows, weight[0])


def test_with_weights_of_zero_every_sigmoid_halves() -> None:
    x, se, cbam = map_of(16), SqueezeExcitation(16), CBAM(16)
    for parameter in [*se.parameters(), *cbam.parameters()]:
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(se(x), x / 2)
    torch.testing.assert_close(cbam(x), x / 4)


def test_a_channel_that_alone_is_bright_in_one_pixel_is_seen_by_cbam_and_hardly_by_se() -> None:
    x = torch.zeros(1, 16, 10, 10)
    x[0, 0, 3, 4] = 1.0
    se, channel = SqueezeExcitation(16), ChannelAttention(16)
    for mlp in (se, channel):
        torch.nn.init.ones_(mlp.squeeze.weight)
        torch.nn.init.ones_(mlp.excite.weight)
    assert se(x)[0, 0, 3, 4].item() == pytest.approx(0.5025, abs=1e-4)           # sigmoid(1 / 100)
    assert channel(x)[0, 0].item() == pytest.approx(0.7330, abs=1e-4)            # sigmoid(1 / 100 + 1)


@pytest.mark.parametrize(("channels", "hidden"), [(1, 1), (15, 1), (16, 1), (33, 2), (64, 4), (512, 32)])
def test_the_hidden_width_is_a_sixteenth_and_at_least_one(channels: int, hidden: int) -> None:
    assert hidden_width(channels) == hidden


@pytest.mark.parametrize("channels", [64, 512])
def test_se_adds_two_matrices_and_cbam_98_weights_more(channels: int) -> None:
    count = {name: sum(parameter.numel() for parameter in make(channels).parameters()) for name, make in ATTENTIONS.items()}
    assert count == {"se": 2 * channels * (channels // 16), "cbam": 2 * channels * (channels // 16) + 98}


@pytest.mark.parametrize("size", [(1, 1), (5, 63), (33, 47)])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_it_keeps_any_shape_and_only_ever_turns_down(name: str, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    y = ATTENTIONS[name](3)(x)
    assert y.shape == x.shape
    assert (y.abs() <= x.abs()).all()


def test_the_spatial_map_is_one_weight_for_each_position() -> None:
    weights = SpatialAttention()(map_of(8))
    assert weights.shape == (2, 1, 5, 7)
    assert weights.min() > 0
    assert weights.max() < 1
