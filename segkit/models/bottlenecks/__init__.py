"""Bottlenecks: what the deepest map passes before the way up. A new one is a class in a file of its own and a line in `BOTTLENECKS`.

It is made with (number of channels, norm that the network is built with), called with (map, slices that stand behind each other in the batch),
and returns a map of the same shape.
Its class may say which weakness of the U-Net it `answers`, and its `source`: `segkit models` shows both.
"""

from __future__ import annotations

from torch import Tensor, nn

from segkit.models.blocks import Norm
from segkit.models.bottlenecks.sapf import ScaleAwareFusion
from segkit.models.bottlenecks.slice_gru import SliceGRU
from segkit.models.bottlenecks.transformer import TransformerBottleneck


class NoBottleneck(nn.Module):
    """(B, C, h, w) -> the same."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()

    def forward(self, x: Tensor, slices: int = 1) -> Tensor:
        return x


BOTTLENECKS: dict[str, type[nn.Module]] = {
    "none": NoBottleneck,
    "sapf": ScaleAwareFusion,
    "transformer": TransformerBottleneck,
    "slice_gru": SliceGRU,
}

__all__ = ["BOTTLENECKS", "NoBottleneck", "ScaleAwareFusion", "SliceGRU", "TransformerBottleneck"]
