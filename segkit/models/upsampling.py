"""Ways up: a deep map in, a map `factor` times as large with the channels that are wanted out. A new one is a class and a line in `UPSAMPLINGS`."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class BilinearUpsampling(nn.Module):
    """(B, in_channels, H, W) -> (B, out_channels, factor · H, factor · W): aligned corners, then 1×1 convolution with bias.

    The 1×1 convolution mixes channels and the interpolation mixes pixels, with weights that sum to 1: the two commute.
    So the convolution runs first, on a quarter of the pixels, and the interpolation on half the channels.
    """

    source = "Odena 2016, https://doi.org/10.23915/distill.00003"

    def __init__(self, in_channels: int, out_channels: int, factor: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x if self.factor == 1 else F.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=True)


class DeconvUpsampling(nn.ConvTranspose2d):
    """(B, in_channels, H, W) -> (B, out_channels, factor · H, factor · W): transposed convolution, kernel and stride `factor`."""

    source = "Ronneberger 2015, https://arxiv.org/abs/1505.04597"

    def __init__(self, in_channels: int, out_channels: int, factor: int = 2) -> None:
        super().__init__(in_channels, out_channels, kernel_size=factor, stride=factor)


UPSAMPLINGS: dict[str, type[nn.Module]] = {"bilinear": BilinearUpsampling, "deconv": DeconvUpsampling}
