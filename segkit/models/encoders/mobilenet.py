"""MobileNetV2: blocks that are narrow at their ends and wide inside, with torchvision's names, so that its checkpoints load as they are.

Sandler 2018, https://arxiv.org/abs/1801.04381
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from segkit.models.blocks import conv_norm_relu, initialise_fan_out
from segkit.models.encoders.encoder import Encoder
from segkit.models.encoders.settings import EncoderSettings

STEM_WIDTH = 32
LAST_WIDTH = 1280
"""Of the 1×1 convolution before the classifier."""

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""(expansion, width, blocks, stride of the first block) of each stage, table 2 of the paper."""

LAST_OF_SIZE = (1, 3, 6, 13, 17)
"""The features behind which the map is halved, and the last block."""


class MobileNetV2(Encoder):
    """(B, C, H, W) -> five maps, finest first; with `num_classes` (B, num_classes) logits instead. H and W are multiples of 32.

    The 1×1 convolution to 1280 channels belongs to the classifier: an encoder has none.
    """

    answers = "light: convolutions channel by channel"
    source = "Sandler 2018, https://arxiv.org/abs/1801.04381"
    widths = (16, 24, 32, 96, 320)
    strides = (2, 4, 8, 16, 32)

    def __init__(self, settings: EncoderSettings, num_classes: int | None = None) -> None:
        super().__init__()
        features = [conv_norm_relu(settings.in_channels, STEM_WIDTH, stride=2, activation=nn.ReLU6), *_blocks()]
        if num_classes is not None:
            features.append(conv_norm_relu(self.widths[-1], LAST_WIDTH, 1, activation=nn.ReLU6))
        self.features = nn.Sequential(*features)
        self.classifier = None if num_classes is None else nn.Sequential(nn.Dropout(0.2), nn.Linear(LAST_WIDTH, num_classes))
        initialise_fan_out(self)

    def forward(self, picture: Tensor) -> list[Tensor] | Tensor:
        x, maps = picture, []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in LAST_OF_SIZE:
                maps.append(x)                                 # (B, widths[i], H / strides[i], W / strides[i])
        return maps if self.classifier is None else self.classifier(x.mean(dim=(2, 3)))


class InvertedResidual(nn.Module):
    """1×1 to `expansion` times the width, depthwise 3×3 with the stride, 1×1 without activation; added to what came in where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * in_channels
        expand = [conv_norm_relu(in_channels, inner, 1, activation=nn.ReLU6)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_norm_relu(inner, inner, stride=stride, groups=inner, activation=nn.ReLU6),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


def _blocks() -> Iterator[InvertedResidual]:
    channels = STEM_WIDTH
    for expansion, width, count, stride in STAGES:
        for number in range(count):
            yield InvertedResidual(channels, width, stride if number == 0 else 1, expansion)
            channels = width
