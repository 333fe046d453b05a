"""Ways up: a deep map in, a map twice as large with the skip's channels out."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class BilinearUpsampling(nn.Module):
    """(B, in_channels, H, W) -> (B, out_channels, 2H, 2W): aligned corners, then 1×1 convolution with bias.

    The 1×1 convolution mixes channels and the interpolation mixes pixels, with weights that sum to 1: the two commute.
    So the convolution runs first, on a quarter of the pixels, and the interpolation on half the channels.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=2, mode="bilinear", align_corners=True)


class DeconvUpsampling(nn.ConvTranspose2d):
    """(B, in_channels, H, W) -> (B, out_channels, 2H, 2W): transposed convolution, kernel 2, stride 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=2, stride=2)


UPSAMPLINGS: dict[str, type[nn.Module]] = {"bilinear": BilinearUpsampling, "deconv": DeconvUpsampling}
