"""Attention over channels and over positions: what a map is multiplied with. Encoders and skip gates share it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

REDUCTION = 16
"""The hidden layer has so many times fewer channels (Hu 2018); at least one."""


class SpatialMap(nn.Module):
    """Marks a module that returns one weight in [0, 1] for each position, (B, 1, h, w): what `predict --save-attention` draws."""

    draws_attention = True   # the engine asks for it by this name: it knows no network


class SqueezeExcitation(nn.Module):
    """(B, C, H, W) -> the same, each channel scaled by a weight in [0, 1] that follows from all channel means."""

    answers = "2: channels that say nothing here are turned down"
    source = "Hu 2018, https://arxiv.org/abs/1709.01507"
    weighs_with = "excite"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, hidden_width(channels), bias=False)
        self.excite = nn.Linear(hidden_width(channels), channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean(dim=(2, 3))))))   # (B, C)
        return x * weights[:, :, None, None]


class ChannelAttention(nn.Module):
    """(B, C, H, W) -> (B, C, 1, 1) weights in [0, 1] from each channel's mean and maximum, through one shared MLP."""

    weighs_with = "excite"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, hidden_width(channels), bias=False)
        self.excite = nn.Linear(hidden_width(channels), channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.stack([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))])                        # (2, B, C)
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(pooled))).sum(dim=0))[:, :, None, None]


class SpatialAttention(SpatialMap):
    """(B, C, H, W) -> (B, 1, H, W) weights in [0, 1] from the mean and the maximum over channels, through one 7×7 convolution."""

    weighs_with = "conv"

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)   # (B, 2, H, W)
        return torch.sigmoid(self.conv(pooled))


class CBAM(nn.Module):
    """(B, C, H, W) -> the same, scaled by channel attention first, by spatial attention then."""

    answers = "2: channels are turned down, then positions"
    source = "Woo 2018, https://arxiv.org/abs/1807.06521"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.channel(x)
        return x * self.spatial(x)


def hidden_width(channels: int) -> int:
    return max(1, channels // REDUCTION)


ATTENTIONS: dict[str, type[nn.Module]] = {"se": SqueezeExcitation, "cbam": CBAM}
"""Name in front of an encoder's (`se_resnet50`) -> what stands at the end of its residual branches."""
