"""Encoders: a picture in, five maps out, finest first, each half as large as the one before."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

PLAIN_WIDTHS = (64, 128, 256, 512, 1024)
"""Channels of the five stages at feature_scale 1 (Ronneberger 2015)."""


def double_conv(in_channels: int, out_channels: int, *, batchnorm: bool) -> nn.Sequential:
    """Twice 3×3 convolution with bias, batch norm where asked for, ReLU; the size stays."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=1))
        if batchnorm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def plain_widths(feature_scale: float) -> tuple[int, ...]:
    """Channels of the five stages, `PLAIN_WIDTHS` divided by feature_scale; never below 1."""
    return tuple(max(1, round(width / feature_scale)) for width in PLAIN_WIDTHS)


class PlainEncoder(nn.Module):
    """(B, C, H, W) -> five maps (B, widths[i], H / 2**i, W / 2**i); H and W are multiples of 16."""

    def __init__(self, in_channels: int, widths: Sequence[int], *, batchnorm: bool) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.stages = nn.ModuleList(double_conv(before, width, batchnorm=batchnorm) for before, width in zip((in_channels, *widths), widths, strict=False))
        self.halve = nn.MaxPool2d(2)

    def forward(self, picture: Tensor) -> list[Tensor]:
        maps = [self.stages[0](picture)]
        for stage in self.stages[1:]:
            maps.append(stage(self.halve(maps[-1])))   # (B, widths[i], H / 2**i, W / 2**i)
        return maps
