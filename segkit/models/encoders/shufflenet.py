"""ShuffleNetV2: each unit works on half of the channels and then deals both halves out anew, with torchvision's names, so that its checkpoints load.

Ma 2018, https://arxiv.org/abs/1807.11164
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models.blocks import conv_norm_relu, initialise_fan_out
from segkit.models.encoders.encoder import Encoder
from segkit.models.encoders.settings import EncoderSettings

UNITS = (4, 8, 4)
"""Of stages 2, 3 and 4, table 5 of the paper."""

LAST_WIDTH = 1024
"""Of the 1×1 convolution before the classifier."""


class ShuffleNetV2(Encoder):
    """(B, C, H, W) -> five maps, finest first; with `num_classes` (B, num_classes) logits instead. H and W are multiples of 32.

    The second map is the first one max-pooled. The 1×1 convolution to 1024 channels belongs to the classifier: an encoder has none.
    """

    answers = "light: half of the channels pass untouched"
    source = "Ma 2018, https://arxiv.org/abs/1807.11164"
    widths = (24, 24, 116, 232, 464)
    strides = (2, 4, 8, 16, 32)

    def __init__(self, settings: EncoderSettings, num_classes: int | None = None) -> None:
        super().__init__()
        self.conv1 = conv_norm_relu(settings.in_channels, self.widths[0], stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage2, self.stage3, self.stage4 = (_stage(*stage) for stage in zip(self.widths[1:-1], self.widths[2:], UNITS, strict=True))
        self.conv5 = None if num_classes is None else conv_norm_relu(self.widths[-1], LAST_WIDTH, 1)
        self.fc = None if num_classes is None else nn.Linear(LAST_WIDTH, num_classes)
        initialise_fan_out(self)

    def forward(self, picture: Tensor) -> list[Tensor] | Tensor:
        maps = [self.conv1(picture)]
        for stage in (self.maxpool, self.stage2, self.stage3, self.stage4):
            maps.append(stage(maps[-1]))                       # (B, widths[i], H / strides[i], W / strides[i])
        if self.conv5 is None or self.fc is None:
            return maps
        return self.fc(self.conv5(maps[-1]).mean(dim=(2, 3)))


class ShuffleUnit(nn.Module):
    """One half of the channels stays, the other passes 1×1, depthwise 3×3, 1×1; with a stride both halves are made of the whole map."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.splits = stride == 1
        self.branch1 = nn.Sequential() if self.splits else nn.Sequential(*_separable(in_channels, half, stride))
        self.branch2 = nn.Sequential(*conv_norm_relu(half if self.splits else in_channels, half, 1), *_separable(half, half, stride))

    def forward(self, x: Tensor) -> Tensor:
        one, other = x.chunk(2, dim=1) if self.splits else (x, x)
        both = torch.cat([self.branch1(one), self.branch2(other)], dim=1)
        return F.channel_shuffle(both, groups=2)               # a channel of the one, a channel of the other, and so on


def _separable(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    """Depthwise 3×3 convolution with the stride, then 1×1; only the latter has a ReLU."""
    return [
        nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        *conv_norm_relu(in_channels, out_channels, 1),
    ]


def _stage(in_channels: int, out_channels: int, units: int) -> nn.Sequential:
    return nn.Sequential(ShuffleUnit(in_channels, out_channels, 2), *(ShuffleUnit(out_channels, out_channels, 1) for _ in range(units - 1)))
