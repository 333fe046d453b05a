"""The transformer bottleneck, against its formulas."""

from __future__ import annotations

import pytest
import torch
from formulas import noise, shaken
from torch import Tensor, nn

from segkit.models.bottlenecks.transformer import Attention, TransformerBottleneck, TransformerLayer


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    return x @ layer.weight.T + layer.bias


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Each token by itself: mean 0 and variance 1 over its channels, then a weight and a bias for each channel."""
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def test_attention_is_softmax_of_query_times_key_over_the_root_of_the_width_times_value() -> None:
    tokens, attention = noise(2, 7, 64), Attention(64)
    query, key, value = linear(tokens, attention.query_key_value).split(64, dim=2)
    mixed = []
    for head in (slice(0, 32), slice(32, 64)):
        likeness = torch.exp(query[..., head] @ key[..., head].transpose(1, 2) / 32**0.5)
        mixed.append(likeness / likeness.sum(dim=2, keepdim=True) @ value[..., head])
    torch.testing.assert_close(attention(tokens), linear(torch.cat(mixed, dim=2), attention.project), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "heads"), [(1, 1), (31, 1), (64, 2), (97, 1), (99, 3), (512, 16)])
def test_heads_are_as_many_as_are_32_wide_or_wider_and_divide_the_channels(channels: int, heads: int) -> None:
    assert Attention(channels).heads == heads


def test_a_layer_adds_attention_and_then_two_layers_with_gelu_each_of_what_is_normalised() -> None:
    tokens, layer = noise(2, 5, 6), TransformerLayer(6)
    shaken(layer)
    x = tokens + layer.attention(layer_norm(tokens, layer.before_attention))
    hidden = linear(layer_norm(x, layer.before_mlp), layer.mlp[0])                 # type: ignore[arg-type]
    assert hidden.shape == (2, 5, 24)
    gelu = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    torch.testing.assert_close(layer(tokens), x + linear(gelu, layer.mlp[2]), rtol=1e-4, atol=1e-3)     # type: ignore[arg-type]


def placed(x: Tensor, bottleneck: TransformerBottleneck) -> Tensor:
    """What was added to each position, before the layers."""
    bottleneck.layers, bottleneck.norm = nn.Sequential(), nn.Identity()            # type: ignore[assignment]
    return bottleneck(x) - x


def test_positions_are_those_that_are_learned_on_a_grid_of_their_own_size() -> None:
    bottleneck = TransformerBottleneck(3, nn.BatchNorm2d)
    torch.testing.assert_close(placed(noise(2, 3, 14, 14), bottleneck), bottleneck.positions.expand(2, -1, -1, -1))


def test_on_half_the_grid_a_position_is_the_cubic_mixture_of_sixteen() -> None:
    bottleneck = TransformerBottleneck(3, nn.BatchNorm2d)
    half_way = torch.tensor([-3, 19, 19, -3]) / 32                                  # Keys's cubic at ±1.5 and ±0.5, with a = -3/4
    around = bottleneck.positions[0, :, 3:7, 5:9]                                   # row 2 lies between 4 and 5, column 3 between 6 and 7
    torch.testing.assert_close(placed(noise(2, 3, 7, 7), bottleneck)[1, :, 2, 3], torch.einsum("r,crs,s->c", half_way, around, half_way), rtol=1e-3, atol=1e-6)


def test_the_whole_is_positions_two_layers_and_a_norm_of_each_token() -> None:
    x, bottleneck = noise(1, 6, 14, 14), TransformerBottleneck(6, nn.BatchNorm2d)
    shaken(bottleneck)
    tokens = (x + bottleneck.positions).reshape(1, 6, 196).transpose(1, 2)
    first, second = bottleneck.layers
    expected = layer_norm(second(first(tokens)), bottleneck.norm).transpose(1, 2).reshape(1, 6, 14, 14)
    torch.testing.assert_close(bottleneck(x), expected, rtol=1e-4, atol=1e-4)
