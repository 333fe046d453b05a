"""Squeeze-and-excitation on the skip: channels that say nothing here are turned down."""

from __future__ import annotations

from torch import Tensor

from segkit.models.attention import SqueezeExcitation


class SEGate(SqueezeExcitation):
    """(B, C, H, W) -> the same, each channel scaled."""

    def __init__(self, skip_channels: int, deep_channels: int, factor: int) -> None:
        super().__init__(skip_channels)

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(skip)
