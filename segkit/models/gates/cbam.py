"""CBAM on the skip: channels first, then positions."""

from __future__ import annotations

from torch import Tensor

from segkit.models.attention import CBAM


class CBAMGate(CBAM):
    """(B, C, H, W) -> the same, each channel and each position scaled."""

    def __init__(self, skip_channels: int, deep_channels: int, factor: int) -> None:
        super().__init__(skip_channels)

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(skip)
