"""ResNets: residual blocks in four stages behind a stem, with torchvision's names, so that its checkpoints load as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from segkit.models.attention import ATTENTIONS
from segkit.models.blocks import NORMS, Norm, initialise_fan_out
from segkit.models.encoders.encoder import Encoder
from segkit.models.encoders.settings import EncoderSettings

STAGE_WIDTHS = (64, 128, 256, 512)
DEEP_STEM_WIDTH = 32

RESNET = "He 2016, https://arxiv.org/abs/1512.03385"
RESNEXT = "Xie 2017, https://arxiv.org/abs/1611.05431"
WIDE = "Zagoruyko 2016, https://arxiv.org/abs/1605.07146"


@dataclass(frozen=True)
class Depth:
    """Which ResNet: blocks of each stage, for bottlenecks their groups and the width of a group at the first stage, and who described it."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool
    groups: int = 1
    width: int = 64
    source: str = RESNET


RESNETS = {
    "resnet18": Depth((2, 2, 2, 2), bottleneck=False),
    "resnet34": Depth((3, 4, 6, 3), bottleneck=False),
    "resnet50": Depth((3, 4, 6, 3), bottleneck=True),
    "resnet101": Depth((3, 4, 23, 3), bottleneck=True),
    "resnet152": Depth((3, 8, 36, 3), bottleneck=True),
    "resnext50_32x4d": Depth((3, 4, 6, 3), bottleneck=True, groups=32, width=4, source=RESNEXT),
    "resnext101_32x8d": Depth((3, 4, 23, 3), bottleneck=True, groups=32, width=8, source=RESNEXT),
    "wide_resnet50_2": Depth((3, 4, 6, 3), bottleneck=True, width=128, source=WIDE),
    "wide_resnet101_2": Depth((3, 4, 23, 3), bottleneck=True, width=128, source=WIDE),
}


class ResNet(Encoder):
    """(B, C, H, W) -> five maps, finest first; with `num_classes` (B, num_classes) logits instead.

    The maps have the strides `strides` and the widths `widths`: with the ordinary stem 2, 4, 8, 16, 32. H and W are multiples of the last stride.
    """

    conv_norms = (("conv1", "bn1"),)
    answers = "1: context comes from deep residual stages (and 3 where output_stride dilates them)"

    def __init__(self, depth: Depth, settings: EncoderSettings, attention: str = "none", num_classes: int | None = None) -> None:
        super().__init__()
        self.source = depth.source
        norm = NORMS[settings.norm]
        self.conv1, stem_width, self.strides = _stem(settings, norm)
        self.bn1 = norm(stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if settings.stem == "full" else nn.MaxPool2d(3, stride=2, padding=1)
        expansion = 4 if depth.bottleneck else 1
        self.widths = (stem_width, *(width * expansion for width in STAGE_WIDTHS))
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(depth, stem_width, settings, attention)
        self.fc = None if num_classes is None else nn.Linear(self.widths[-1], num_classes)
        initialise_fan_out(self)
        if settings.zero_init:
            _start_as_identity(self)

    def forward(self, picture: Tensor) -> list[Tensor] | Tensor:
        maps = [self.relu(self.bn1(self.conv1(picture)))]
        x = self.maxpool(maps[0])
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)                                     # (B, widths[i], H / strides[i], W / strides[i])
        return maps if self.fc is None else self.fc(x.mean(dim=(2, 3)))


@dataclass(frozen=True)
class Parts:
    """What every block of one network is made with."""

    depth: Depth
    norm: Norm
    attention: Callable[[int], nn.Module]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    conv_norms = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, in_channels: int, width: int, stride: int, dilation: tuple[int, int], make: Parts) -> None:
        super().__init__()
        norm = make.norm
        first, then = dilation
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=first, dilation=first, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=then, dilation=then, bias=False)
        self.bn2 = norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.attention = make.attention(width)
        self.downsample = _shortcut(in_channels, width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(self.attention(residual) + self.downsample(x))


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride and the groups), 1×1 to four times the width, beside a shortcut."""

    conv_norms = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(self, in_channels: int, width: int, stride: int, dilation: tuple[int, int], make: Parts) -> None:
        super().__init__()
        norm, depth = make.norm, make.depth
        out_channels, inner, reach = 4 * width, width * depth.width // 64 * depth.groups, dilation[0]
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = norm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=reach, dilation=reach, groups=depth.groups, bias=False)
        self.bn2 = norm(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.attention = make.attention(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(residual)))))
        return self.relu(self.attention(residual) + self.downsample(x))


def _shortcut(in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Module:
    """The identity, or a strided 1×1 convolution where the shape changes."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), norm(out_channels))


def _stem(settings: EncoderSettings, norm: Norm) -> tuple[nn.Module, int, tuple[int, ...]]:
    """The first convolution (or three), its width, and the strides of the five maps."""
    shrunk = {32: (8, 16), 16: (8, 8), 8: (4, 4)}[settings.output_stride]   # of the last two stages, behind strides of 1 and 2 before them
    if settings.stem == "full":
        return nn.Conv2d(settings.in_channels, 64, 3, padding=1, bias=False), 64, (1, 1, 2, shrunk[0] // 2, shrunk[1] // 2)
    strides = (2, 4, 8, 2 * shrunk[0], 2 * shrunk[1])
    if settings.stem == "default":
        return nn.Conv2d(settings.in_channels, 64, 7, 2, padding=3, bias=False), 64, strides
    width = DEEP_STEM_WIDTH
    layers: list[nn.Module] = []
    for before, stride in ((settings.in_channels, 2), (width, 1)):
        layers += [nn.Conv2d(before, width, 3, stride, padding=1, bias=False), norm(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)), 2 * width, strides


def _stages(depth: Depth, channels: int, settings: EncoderSettings, attention: str) -> Sequence[nn.Sequential]:
    """Four stages; where a stage's stride is taken away, it and those after it look twice as far instead."""
    block = Bottleneck if depth.bottleneck else BasicBlock
    make = Parts(depth, NORMS[settings.norm], ATTENTIONS.get(attention, lambda channels: nn.Identity()))
    dilated = {32: 0, 16: 1, 8: 2}[settings.output_stride]
    stages, reach = [], 1
    for number, (count, width) in enumerate(zip(depth.blocks, STAGE_WIDTHS, strict=True)):
        before, stride = reach, 1 if number == 0 else 2
        if number >= len(STAGE_WIDTHS) - dilated:
            reach, stride = 2 * reach, 1
        blocks = [block(channels, width, stride, (before, reach), make)]
        channels = width * (4 if depth.bottleneck else 1)
        blocks += [block(channels, width, 1, (reach, reach), make) for _ in range(count - 1)]
        stages.append(nn.Sequential(*blocks))
    return stages


def _start_as_identity(network: nn.Module) -> None:
    """The last norm of each residual branch at 0 (Goyal 2017, https://arxiv.org/abs/1706.02677)."""
    for module in network.modules():
        if isinstance(module, (BasicBlock, Bottleneck)):
            nn.init.zeros_((module.bn3 if isinstance(module, Bottleneck) else module.bn2).weight)  # type: ignore[arg-type]


def build_resnet(settings: EncoderSettings, num_classes: int | None = None) -> Encoder:
    """The ResNet that `settings.encoder` names: ``resnet34``, ``se_resnet50``, ``cbam_resnet18``."""
    first, _, rest = settings.encoder.partition("_")
    attention, name = (first, rest) if first in ATTENTIONS else ("none", settings.encoder)
    return ResNet(RESNETS[name], settings, attention, num_classes)
