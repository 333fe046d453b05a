"""A transformer on the deepest map: every position looks at every other.

As in TransUNet, Chen 2021, https://arxiv.org/abs/2102.04306; layers of Vaswani 2017, https://arxiv.org/abs/1706.03762, normalised first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models.blocks import Norm

GRID = 14
"""Positions are learned on a grid of 14×14 (a 224×224 picture at stride 16) and interpolated to the size at hand."""

LAYERS = 2
HEAD_WIDTH = 32


class TransformerBottleneck(nn.Module):
    """(B, C, h, w) -> the same, for any h and w. Its own norms are over the channels of each position, as a transformer's are, whatever `norm` is."""

    answers = "3: every position looks at every other"
    source = "Chen 2021, https://arxiv.org/abs/2102.04306"

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, channels, GRID, GRID) * 0.02)
        self.layers = nn.Sequential(*(TransformerLayer(channels) for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, slices: int = 1) -> Tensor:
        height, width = x.shape[-2:]
        x = x + F.interpolate(self.positions, size=(height, width), mode="bicubic", align_corners=False)
        tokens = self.layers(x.flatten(2).transpose(1, 2))                             # (B, h · w, C)
        return self.norm(tokens).transpose(1, 2).unflatten(2, (height, width))


class TransformerLayer(nn.Module):
    """(B, N, C) tokens -> the same: attention, then a two-layer network four times as wide; each added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = Attention(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.before_attention(tokens))
        return tokens + self.mlp(self.before_mlp(tokens))


class Attention(nn.Module):
    """(B, N, C) -> the same: similarity of query and key -> softmax -> weighted sum of values, in several heads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = next(heads for heads in range(max(1, channels // HEAD_WIDTH), 0, -1) if channels % heads == 0)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        heads = self.query_key_value(tokens).unflatten(2, (3, self.heads, -1))         # (B, N, 3, heads, C / heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)                               # (B, heads, N, C / heads) each
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.project(mixed.transpose(1, 2).flatten(2))
