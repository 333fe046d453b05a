"""The attention gate: the decoder, which knows what it looks for, says where the skip may speak."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models.attention import SpatialMap


class AttentionGate(nn.Module):
    """(B, C, H, W) skip and (B, D, H / factor, W / factor) decoder map -> the skip, each position scaled by a weight in [0, 1]."""

    answers = "2: the decoder's map says at which positions the skip may speak"
    source = "Oktay 2018, https://arxiv.org/abs/1804.03999"

    def __init__(self, skip_channels: int, deep_channels: int, factor: int) -> None:
        super().__init__()
        hidden = max(1, skip_channels // 2)
        self.signal = nn.Conv2d(deep_channels, hidden, 1)
        self.skip = nn.Conv2d(skip_channels, hidden, factor, stride=factor, bias=False)
        self.weigh = AttentionMap(hidden)

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        weights = self.weigh(self.signal(deep) + self.skip(skip))                            # (B, 1, H / factor, W / factor)
        return skip * F.interpolate(weights, size=skip.shape[-2:], mode="bilinear", align_corners=False)


class AttentionMap(SpatialMap):
    """(B, hidden, h, w) -> (B, 1, h, w) weights in [0, 1]."""

    weighs_with = "conv"

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(hidden, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(torch.relu(x)))
