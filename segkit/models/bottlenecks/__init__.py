"""Bottlenecks: what the deepest map passes before the way up. A new one is a class in a file of its own and a line in `BOTTLENECKS`.

It is made with the number of channels and returns a map of the same shape.
"""

from __future__ import annotations

from torch import Tensor, nn

from segkit.models.bottlenecks.sapf import ScaleAwareFusion
from segkit.models.bottlenecks.transformer import TransformerBottleneck


class NoBottleneck(nn.Identity):
    """(B, C, h, w) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


BOTTLENECKS: dict[str, type[nn.Module]] = {"none": NoBottleneck, "sapf": ScaleAwareFusion, "transformer": TransformerBottleneck}

__all__ = ["BOTTLENECKS", "NoBottleneck", "ScaleAwareFusion", "TransformerBottleneck"]
