"""U-Net: an encoder that halves the picture at each stage, a decoder that doubles it back.

Ronneberger, Fischer and Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models.encoders import PlainEncoder, double_conv, plain_widths
from segkit.models.upsampling import UPSAMPLINGS


class UNetSettings(BaseModel):
    """The house U-Net.

    encoder : "plain", five stages of two convolutions.
    feature_scale : divides the stage widths 64, 128, 256, 512, 1024: 1 is the paper's, 2 a quarter of the work, 4 a sixteenth.
    upsampling : "bilinear" (interpolation and a 1×1 convolution) or "deconv" (a transposed convolution).
    batchnorm : batch norm in the encoder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["unet"] = "unet"
    encoder: Literal["plain"] = "plain"
    feature_scale: float = Field(default=2, gt=0, le=64)
    upsampling: Literal["bilinear", "deconv"] = "bilinear"
    batchnorm: bool = True
    in_channels: int = Field(default=3, ge=1, le=4096)
    num_classes: int = Field(default=2, ge=2, le=254)


class UNet(nn.Module):
    """(B, C, H, W) picture -> (B, K, H, W) logits, for any H and W."""

    def __init__(self, settings: UNetSettings) -> None:
        super().__init__()
        widths = plain_widths(settings.feature_scale)
        self.encoder = PlainEncoder(settings.in_channels, widths, batchnorm=settings.batchnorm)
        self.decoder = nn.ModuleList(DecoderStage(deep, skip, settings.upsampling) for deep, skip in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.head = nn.Conv2d(widths[0], settings.num_classes, 1)
        self.multiple = 2 ** (len(widths) - 1)
        initialise(self)

    def forward(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        maps = self.encoder(pad_to_multiple(picture, self.multiple))
        x = maps.pop()                                        # (B, widths[-1], H / 16, W / 16)
        for stage in self.decoder:
            x = stage(x, maps.pop())                          # (B, widths[i], H / 2**i, W / 2**i)
        return self.head(x)[..., :height, :width]             # (B, K, H, W)


class DecoderStage(nn.Module):
    """Deep map up to the skip's width and size, joined with the skip, then two 3×3 convolutions without batch norm."""

    def __init__(self, deep_channels: int, skip_channels: int, upsampling: str) -> None:
        super().__init__()
        self.up = UPSAMPLINGS[upsampling](deep_channels, skip_channels)
        self.conv = double_conv(2 * skip_channels, skip_channels, batchnorm=False)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([skip, self.up(x)], dim=1))   # (B, skip_channels, H, W)


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
    """Kaiming-normal convolutions (fan-in, gain for ReLU; He 2015, https://arxiv.org/abs/1502.01852), batch norms from N(1, 0.02), biases 0."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
