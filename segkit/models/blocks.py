"""The small parts that every network is made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Callable[[int], nn.Module]
"""Channels -> a layer that normalises them."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of 16 channels where they divide, else the largest groups that do (Wu and He 2018, https://arxiv.org/abs/1803.08494)."""
    size = next(size for size in range(min(16, channels), 0, -1) if channels % size == 0)
    return nn.GroupNorm(channels // size, channels)


class InstanceNorm(nn.GroupNorm):
    """Each channel of each picture by itself, with a weight and a bias (Ulyanov 2016, https://arxiv.org/abs/1607.08022).

    Unlike torch's own it takes maps of a single pixel, which are what a small picture has become at stride 32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


NORMS: dict[str, Norm] = {"batch": nn.BatchNorm2d, "group": group_norm, "instance": InstanceNorm}


def conv_norm_relu(
    in_channels: int,
    out_channels: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    norm: Norm = nn.BatchNorm2d,
    activation: Callable[..., nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution without bias, norm, ReLU; the size stays, or shrinks by the stride."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        norm(out_channels),
        activation(inplace=True),
    )


def double_conv(in_channels: int, out_channels: int, norm: Norm | None) -> nn.Sequential:
    """Twice 3×3 convolution with bias, norm where there is one, ReLU; the size stays."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=1))
        if norm is not None:
            layers.append(norm(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def pad_to_multiple(picture: Tensor, multiple: int) -> Tensor:
    """Grow H and W at their ends to the next multiple: mirrored where the picture is long enough, its last line repeated otherwise."""
    return grow(picture, (0, -picture.shape[-1] % multiple), (0, -picture.shape[-2] % multiple))


def grow(picture: Tensor, columns: tuple[int, int], rows: tuple[int, int]) -> Tensor:
    """(B, C, H, W) with so many columns more on the left and right, rows more at the top and bottom: mirrored, or the last line repeated."""
    for sides, length in (((*columns, 0, 0), picture.shape[-1]), ((0, 0, *rows), picture.shape[-2])):
        if any(sides):
            picture = F.pad(picture, sides, mode="reflect" if max(sides) < length else "replicate")
    return picture


def initialise(model: nn.Module) -> None:
    """Kaiming-normal convolutions (fan-in, gain for ReLU; He 2015, https://arxiv.org/abs/1502.01852), batch norms from N(1, 0.02), biases 0.

    What a module `weighs_with`, its last layer before a sigmoid, starts at a tenth of that: near 1/2 everywhere. At full size a 7×7 convolution of maxima,
    all positive, adds up to ±3 whatever the picture, and it would be drawn by lot whether a skip begins open or shut.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    with torch.no_grad():
        for module in model.modules():
            if (layer := getattr(module, "weighs_with", None)) is not None:
                getattr(module, layer).weight.mul_(0.1)


def initialise_fan_out(network: nn.Module) -> None:
    """Kaiming-normal convolutions (fan-out; He 2015, https://arxiv.org/abs/1502.01852) with biases 0; norms start at 1 and 0 by themselves."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
