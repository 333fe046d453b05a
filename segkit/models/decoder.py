"""The way up: from the deepest map to the picture's size, one skip at a time.

    strides of the maps    32      16       8       4       2
    decoder, ResNet         └─ up ──┴─ up ──┴─ up ──┴─ up ──┴─ up ──  1

The plain encoder's finest map has the picture's size already, so it needs one step less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segkit.errors import SettingsError
from segkit.models.blocks import Norm, double_conv
from segkit.models.gates import GATES
from segkit.models.upsampling import UPSAMPLINGS

WIDTHS = (256, 128, 64, 32, 16)
"""Channels on the way up behind any encoder but the plain one, coarsest first."""


@dataclass(frozen=True)
class Step:
    """One step up.

    deep, skip, out : channels of the map below, of the skip (0 where there is none), and of what comes out
    factor : how many times larger the map becomes
    """

    deep: int
    skip: int
    out: int
    factor: int


def plan_steps(widths: Sequence[int], strides: Sequence[int], out_widths: Sequence[int] | None) -> list[Step]:
    """The steps from the deepest map to the picture's size, coarsest first.

    Raises
    ------
    SettingsError
        There are more or fewer `out_widths` than steps.
    """
    skips, to = [*reversed(widths[:-1])], [*reversed(strides[:-1])]
    if strides[0] > 1:
        skips, to = [*skips, 0], [*to, 1]
    out_widths = WIDTHS[: len(to)] if out_widths is None else out_widths
    if len(out_widths) != len(to):
        raise SettingsError(f"model.decoder_widths has {len(out_widths)} numbers, this encoder takes {len(to)} steps up; give {len(to)}")
    factors = [coarse // fine for coarse, fine in zip([strides[-1], *to], to, strict=False)]
    return [Step(*step) for step in zip([widths[-1], *out_widths], skips, out_widths, factors, strict=False)]


class GatedDecoder(nn.ModuleList):
    """The encoder's maps, finest first, and the bottleneck's -> the decoder's maps, finest first, the finest of the picture's size.

    Each step joins a gated skip; the encoder's own last map is not needed.
    """

    def __init__(self, steps: Sequence[Step], gate: str, upsampling: str, norm: Norm | None) -> None:
        super().__init__(DecoderStage(step, gate, upsampling, norm) for step in steps)
        self.widths = [step.out for step in reversed(steps)]

    def forward(self, maps: Sequence[Tensor], deepest: Tensor) -> list[Tensor]:
        x, outputs = deepest, []
        for stage, skip in zip(self, [*reversed(maps[:-1]), None], strict=False):
            x = stage(x, skip)
            outputs.append(x)                                          # (B, out, H / stride, W / stride)
        return outputs[::-1]


class DecoderStage(nn.Module):
    """Deep map up to the skip's size, joined with the gated skip where there is one, then two 3×3 convolutions."""

    def __init__(self, step: Step, gate: str, upsampling: str, norm: Norm | None) -> None:
        super().__init__()
        self.up = UPSAMPLINGS[upsampling](step.deep, step.out, step.factor)
        self.gate = GATES[gate](step.skip, step.deep, step.factor) if step.skip else None
        self.conv = double_conv(step.skip + step.out, step.out, norm)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        up = self.up(x)                                                # (B, out, factor · h, factor · w)
        return self.conv(up if self.gate is None or skip is None else torch.cat([self.gate(skip, x), up], dim=1))
