"""Scale-aware pyramid fusion: the deepest map seen at three reaches, and each position chooses among them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models.blocks import Norm, conv_norm_relu


class ScaleAwareFusion(nn.Module):
    """(B, C, h, w) -> the same: one 3×3 kernel at dilations 1, 2 and 4, fused position by position, blended with the input by a learned weight γ."""

    answers = "3: every position chooses among three reaches"
    source = "Feng 2020, https://doi.org/10.1109/TMI.2020.2983721"

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, bias=False)           # one kernel, three reaches
        self.norms = nn.ModuleList(norm(channels) for _ in range(3))
        self.first, self.second = PairFusion(channels), PairFusion(channels)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.project = conv_norm_relu(channels, channels, 1, norm=norm)

    def forward(self, x: Tensor, slices: int = 1) -> Tensor:
        near, middle, far = (
            norm(F.conv2d(x, self.conv.weight, padding=dilation, dilation=dilation)) for norm, dilation in zip(self.norms, (1, 2, 4), strict=True)
        )
        fused = self.second(self.first(near, middle), far)
        return self.project(torch.relu(self.gamma * fused + (1 - self.gamma) * x))


class PairFusion(nn.Module):
    """Two (B, C, h, w) maps -> their mean, weighted at each position by a softmax over two maps that three convolutions make of both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 2)
        self.weigh = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 2, 3, padding=1),
        )

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        weights = self.weigh(torch.cat([one, other], dim=1)).softmax(dim=1)            # (B, 2, h, w)
        return weights[:, :1] * one + weights[:, 1:] * other
