"""The encoder of the first U-Net: two convolutions at each of five sizes, halved by max-pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segkit.errors import SettingsError
from segkit.models.blocks import Norm, double_conv, initialise
from segkit.models.encoders.encoder import Encoder
from segkit.models.encoders.settings import EncoderSettings

PLAIN_WIDTHS = (64, 128, 256, 512, 1024)
"""Channels of the five stages at feature_scale 1 (Ronneberger 2015)."""

DEFAULT_SCALE = 2


def plain_widths(feature_scale: float) -> tuple[int, ...]:
    """Channels of the five stages, `PLAIN_WIDTHS` divided by feature_scale; never below 1."""
    return tuple(max(1, round(width / feature_scale)) for width in PLAIN_WIDTHS)


class PlainEncoder(Encoder):
    """(B, C, H, W) -> five maps (B, widths[i], H / 2**i, W / 2**i); H and W are multiples of 16."""

    source = "Ronneberger 2015, https://arxiv.org/abs/1505.04597"
    strides = (1, 2, 4, 8, 16)

    def __init__(self, in_channels: int, widths: Sequence[int], norm: Norm | None) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.stages = nn.ModuleList(double_conv(before, width, norm) for before, width in zip((in_channels, *widths), widths, strict=False))
        self.halve = nn.MaxPool2d(2)
        initialise(self)

    def forward(self, picture: Tensor) -> list[Tensor]:
        maps = [self.stages[0](picture)]
        for stage in self.stages[1:]:
            maps.append(stage(self.halve(maps[-1])))   # (B, widths[i], H / 2**i, W / 2**i)
        return maps


def build_plain(settings: EncoderSettings, num_classes: int | None = None) -> Encoder:
    """The plain encoder of the settings.

    Raises
    ------
    SettingsError
        With `num_classes`: it has no classification network.
    """
    if num_classes is not None:
        raise SettingsError("the plain encoder has no classification network; choose a ResNet or a light encoder")
    norm = nn.BatchNorm2d if settings.batchnorm else None
    return PlainEncoder(settings.in_channels, plain_widths(settings.feature_scale or DEFAULT_SCALE), norm)
