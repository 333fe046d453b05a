"""Concurrent spatial and channel squeeze-and-excitation on the skip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.models.attention import SpatialMap, SqueezeExcitation


class PositionWeights(SpatialMap):
    """(B, C, H, W) -> (B, 1, H, W) weights in [0, 1]: a 1×1 convolution."""

    weighs_with = "conv"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(x))


class SCSEGate(nn.Module):
    """(B, C, H, W) -> the sum of the skip with its channels scaled and of the skip with its positions scaled."""

    answers = "2: channels are turned down, and beside that positions; the sum goes on"
    source = "Roy 2018, https://arxiv.org/abs/1803.02579"

    def __init__(self, skip_channels: int, deep_channels: int, factor: int) -> None:
        super().__init__()
        self.channel = SqueezeExcitation(skip_channels)
        self.spatial = PositionWeights(skip_channels)

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        return self.channel(skip) + skip * self.spatial(skip)


class SCSEMaxGate(SCSEGate):
    """(B, C, H, W) -> the larger of the two at each place, the paper's other way to join them."""

    answers = "2: channels are turned down, and beside that positions; the larger goes on"

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        return torch.maximum(self.channel(skip), skip * self.spatial(skip))
