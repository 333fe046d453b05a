"""GhostNet: half of each layer's maps are made by convolution, the other half by a cheap depthwise one from the first, with timm's names.

Han 2020, https://arxiv.org/abs/1911.11907
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models.blocks import conv_norm_relu, initialise_fan_out
from segkit.models.encoders.encoder import Encoder
from segkit.models.encoders.settings import EncoderSettings


class Ghost(NamedTuple):
    """One block: its depthwise kernel, the width inside and at its end, its stride, and whether its channels are weighted."""

    kernel: int
    inner: int
    width: int
    stride: int = 1
    attention: bool = False


STAGES = (
    (Ghost(3, 16, 16),),
    (Ghost(3, 48, 24, stride=2),),
    (Ghost(3, 72, 24),),
    (Ghost(5, 72, 40, stride=2, attention=True),),
    (Ghost(5, 120, 40, attention=True),),
    (Ghost(3, 240, 80, stride=2),),
    (Ghost(3, 200, 80), Ghost(3, 184, 80), Ghost(3, 184, 80), Ghost(3, 480, 112, attention=True), Ghost(3, 672, 112, attention=True)),
    (Ghost(5, 672, 160, stride=2, attention=True),),
    (Ghost(5, 960, 160), Ghost(5, 960, 160, attention=True), Ghost(5, 960, 160), Ghost(5, 960, 160, attention=True)),
)
"""Table 1 of the paper, with the kernels of its published code."""

STEM_WIDTH = 16
POOLED_WIDTH, LAST_WIDTH = 960, 1280
"""Of the 1×1 convolutions before and behind the classifier's pooling."""

LAST_OF_SIZE = (0, 2, 4, 6, 8)
"""The stages behind which the map is halved, and the last one."""


class GhostNet(Encoder):
    """(B, C, H, W) -> five maps, finest first; with `num_classes` (B, num_classes) logits instead. H and W are multiples of 32.

    The 1×1 convolutions to 960 and 1280 channels belong to the classifier: an encoder has none.
    """

    answers = "light: half of each map is made from the other half"
    source = "Han 2020, https://arxiv.org/abs/1911.11907"
    widths = (16, 24, 40, 112, 160)
    strides = (2, 4, 8, 16, 32)
    conv_norms = (("conv_stem", "bn1"),)

    def __init__(self, settings: EncoderSettings, num_classes: int | None = None) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(settings.in_channels, STEM_WIDTH, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_WIDTH)
        self.blocks = nn.Sequential(*_stages(), *([] if num_classes is None else [_to_pooled(self.widths[-1])]))
        self.conv_head = None if num_classes is None else nn.Conv2d(POOLED_WIDTH, LAST_WIDTH, 1)
        self.classifier = None if num_classes is None else nn.Linear(LAST_WIDTH, num_classes)
        initialise_fan_out(self)

    def forward(self, picture: Tensor) -> list[Tensor] | Tensor:
        x, maps = torch.relu(self.bn1(self.conv_stem(picture))), []
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in LAST_OF_SIZE:
                maps.append(x)                                 # (B, widths[i], H / strides[i], W / strides[i])
        if self.conv_head is None or self.classifier is None:
            return maps
        pooled = torch.relu(self.conv_head(x.mean(dim=(2, 3), keepdim=True)))                  # (B, 1280, 1, 1)
        return self.classifier(F.dropout(pooled.flatten(1), 0.2, self.training))


class GhostBottleneck(nn.Module):
    """A ghost module that widens, a depthwise convolution where there is a stride, channel weights where asked for, one that narrows; beside a shortcut."""

    conv_norms = (("conv_dw", "bn_dw"),)

    def __init__(self, in_channels: int, block: Ghost) -> None:
        super().__init__()
        inner = block.inner
        self.ghost1 = GhostModule(in_channels, inner, activation=nn.ReLU)
        self.conv_dw = nn.Identity() if block.stride == 1 else _depthwise(inner, block)
        self.bn_dw = nn.Identity() if block.stride == 1 else nn.BatchNorm2d(inner)
        self.se = ChannelWeights(inner) if block.attention else nn.Identity()
        self.ghost2 = GhostModule(inner, block.width, activation=nn.Identity)
        self.shortcut = _shortcut(in_channels, block)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn_dw(self.conv_dw(self.ghost1(x)))                                       # (B, inner, h, w)
        return self.ghost2(self.se(inner)) + self.shortcut(x)                                  # (B, width, h, w)


class GhostModule(nn.Module):
    """(B, in_channels, H, W) -> (B, out_channels, H, W): one half by a 1×1 convolution, the other by a depthwise 3×3 of that half."""

    def __init__(self, in_channels: int, out_channels: int, activation: Callable[..., nn.Module]) -> None:
        super().__init__()
        half = out_channels // 2
        self.primary_conv = conv_norm_relu(in_channels, half, 1, activation=activation)
        self.cheap_operation = conv_norm_relu(half, half, groups=half, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary_conv(x)
        return torch.cat([primary, self.cheap_operation(primary)], dim=1)


class ChannelWeights(nn.Module):
    """(B, C, H, W) -> the same, each channel scaled by a weight in [0, 1].

    Squeeze-and-excitation as GhostNet has it: with biases, a quarter of the width inside, and straight lines for a sigmoid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = (channels // 4 + 2) // 4 * 4                  # a quarter, rounded to a multiple of 4
        self.conv_reduce = nn.Conv2d(channels, hidden, 1)
        self.conv_expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = torch.relu(self.conv_reduce(x.mean(dim=(2, 3), keepdim=True)))              # (B, hidden, 1, 1)
        return x * F.hardsigmoid(self.conv_expand(squeezed))


def _depthwise(channels: int, block: Ghost) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, block.kernel, block.stride, padding=block.kernel // 2, groups=channels, bias=False)


def _shortcut(in_channels: int, block: Ghost) -> nn.Module:
    """The identity, or a depthwise convolution with the stride and a 1×1 one where the shape changes."""
    if block.stride == 1 and in_channels == block.width:
        return nn.Identity()
    pointwise = nn.Conv2d(in_channels, block.width, 1, bias=False)
    return nn.Sequential(_depthwise(in_channels, block), nn.BatchNorm2d(in_channels), pointwise, nn.BatchNorm2d(block.width))


def _stages() -> Iterator[nn.Sequential]:
    channels = STEM_WIDTH
    for stage in STAGES:
        before = (channels, *(block.width for block in stage))
        yield nn.Sequential(*(GhostBottleneck(width, block) for width, block in zip(before, stage, strict=False)))
        channels = before[-1]


def _to_pooled(channels: int) -> nn.Sequential:
    """The last of timm's stages: one convolution with names of its own."""
    conv = nn.Conv2d(channels, POOLED_WIDTH, 1, bias=False)
    return nn.Sequential(nn.Sequential(OrderedDict(conv=conv, bn1=nn.BatchNorm2d(POOLED_WIDTH), act=nn.ReLU(inplace=True))))
