"""What every encoder promises."""

from __future__ import annotations

from torch import nn


class Encoder(nn.Module):
    """(B, C, H, W) -> five maps (B, widths[i], H / strides[i], W / strides[i]), finest first; H and W are multiples of the largest stride.

    Strides are powers of two.
    """

    widths: tuple[int, ...]
    strides: tuple[int, ...]
