"""CPFNet's skips: each level is guided by all deeper ones (global pyramid guidance), and added to the decoder rather than joined beside it.

Feng 2020, https://doi.org/10.1109/TMI.2020.2983721
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.models.blocks import Norm, conv_norm_relu
from segkit.models.decoder import Step
from segkit.models.upsampling import UPSAMPLINGS


class GlobalPyramidGuidance(nn.Module):
    """Maps of stages k..5, finest first -> (B, widths[0], H, W) on the grid of stage k.

    Each is brought to stage k's width and size; together they pass separable 3×3 convolutions of growing dilation:
    1, 2 at stage 4, 1, 2, 4 at stage 3, 1, 2, 4, 8 at stage 2.
    """

    answers = "1: every stage is guided by all deeper ones"
    source = "Feng 2020, https://doi.org/10.1109/TMI.2020.2983721"

    def __init__(self, widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        width, count = widths[0], len(widths)
        self.squeeze = nn.ModuleList(conv_norm_relu(channels, width, norm=norm) for channels in widths)
        self.branches = nn.ModuleList(separable_conv(count * width, width, norm, dilation=2**power) for power in range(count))
        self.fuse = nn.Sequential(nn.Conv2d(count * width, width, 1, bias=False), norm(width))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        size = maps[0].shape[-2:]
        squeezed = [conv(x) for conv, x in zip(self.squeeze, maps, strict=True)]
        together = torch.cat([squeezed[0], *(F.interpolate(x, size=size, mode="bilinear", align_corners=True) for x in squeezed[1:])], dim=1)
        return self.fuse(torch.cat([branch(together) for branch in self.branches], dim=1))


def separable_conv(in_channels: int, out_channels: int, norm: Norm, *, dilation: int) -> nn.Sequential:
    """Depthwise 3×3 convolution and norm, then pointwise convolution, norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=dilation, dilation=dilation, groups=in_channels, bias=False),
        norm(in_channels),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        norm(out_channels),
        nn.ReLU(inplace=True),
    )


class GuidedDecoder(nn.Module):
    """The encoder's five maps, finest first, and the bottleneck's -> the decoder's maps, finest first.

    Stages 2, 3 and 4 add their guidance, which follows from the encoder's own maps, stage 1 its map; then ReLU. The way up begins with the bottleneck's.
    """

    def __init__(self, steps: Sequence[Step], upsampling: str, norm: Norm) -> None:
        super().__init__()
        deep = steps[0].deep
        skips = [step.skip for step in steps if step.skip]                                     # stages 4, 3, 2, 1
        widths = [*reversed(skips), deep]                                                      # stages 1 .. 5
        outs = [step.skip or step.out for step in steps]                                       # a sum needs the skip's own width
        self.widths = outs[::-1]
        self.guidance = nn.ModuleList(GlobalPyramidGuidance(widths[stage:], norm) for stage in range(3, 0, -1))
        self.stages = nn.ModuleList(
            GuidedStage(below, out, step.factor, upsampling, norm) for below, out, step in zip([deep, *outs], outs, steps, strict=False)
        )

    def forward(self, maps: Sequence[Tensor], deepest: Tensor) -> list[Tensor]:
        skips = [guide(maps[stage:]) for guide, stage in zip(self.guidance, range(3, 0, -1), strict=True)] + [maps[0], None]
        x, outputs = deepest, []
        for stage, skip in zip(self.stages, skips, strict=False):
            x = stage(x) if skip is None else torch.relu(stage(x) + skip)
            outputs.append(x)                                                                  # (B, out, H / stride, W / stride)
        return outputs[::-1]


class GuidedStage(nn.Sequential):
    """(B, C, h, w) -> (B, out, factor · h, factor · w): 3×3 convolution, up, 1×1 convolution, norm and ReLU behind each convolution."""

    def __init__(self, in_channels: int, out_channels: int, factor: int, upsampling: str, norm: Norm) -> None:
        up: nn.Module = nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=True)
        if upsampling != "bilinear":
            up = UPSAMPLINGS[upsampling](in_channels, in_channels, factor)
        super().__init__(conv_norm_relu(in_channels, in_channels, norm=norm), up, conv_norm_relu(in_channels, out_channels, 1, norm=norm))
