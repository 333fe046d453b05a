"""No gate: the skip as it is, as in the first U-Net."""

from __future__ import annotations

from torch import Tensor, nn


class OpenGate(nn.Module):
    """(B, C, H, W) -> the same."""

    source = "Ronneberger 2015, https://arxiv.org/abs/1505.04597"

    def __init__(self, skip_channels: int, deep_channels: int, factor: int) -> None:
        super().__init__()

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        return skip
