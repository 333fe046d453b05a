"""U-Net++: the skips become a triangle of nodes, so that a map meets the decoder only after it has met all that lies between.

Zhou 2018, https://arxiv.org/abs/1807.10165

    X[0,0] ─ X[0,1] ─ X[0,2] ─ X[0,3] ─ X[0,4]       X[i,j] = conv([X[i,0] … X[i,j-1], up X[i+1,j-1]])
    X[1,0] ─ X[1,1] ─ X[1,2] ─ X[1,3]
    X[2,0] ─ X[2,1] ─ X[2,2]
    X[3,0] ─ X[3,1]
    X[4,0]                                            column 0 is the encoder
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from segkit.models.blocks import Norm, double_conv
from segkit.models.decoder import DecoderStage, Step, plan_steps
from segkit.models.network import Network
from segkit.models.settings import NetworkSettings
from segkit.models.upsampling import UPSAMPLINGS


class UNetPlusPlusSettings(NetworkSettings):
    """U-Net++; with deep_supervision there is a head on each of X[0,1] … X[0,4], and prediction uses that of X[0,4]."""

    name: Literal["unetplusplus"] = "unetplusplus"


class UNetPlusPlus(Network):
    """A triangle of nodes in place of the skips; see `Network` for what goes in and out."""

    answers = "2: a skip meets all that lies between it and the decoder before it is joined"
    source = "Zhou 2018, https://arxiv.org/abs/1807.10165"

    def __init__(self, settings: UNetPlusPlusSettings) -> None:
        super().__init__(settings)
        steps = plan_steps(self.encoder.widths, self.encoder.strides, settings.widths_up(self.encoder.widths))
        norm, upsampling = settings.decoder_norm, settings.upsampling
        self.nodes = nn.ModuleDict(build_nodes(steps, upsampling, norm))
        self.last = nn.ModuleList(DecoderStage(step, "none", upsampling, norm) for step in steps[4:])   # where X[0,·] is half the picture
        self.add_heads([steps[-1].out, *[steps[3].out] * 3], settings)

    def decode(self, maps: Sequence[Tensor], deepest: Tensor) -> list[Tensor]:
        *others, x = self.triangle([*maps[:-1], deepest])[1:]
        for stage in self.last:
            x = stage(x, None)
        return [x, *reversed(others)]

    def triangle(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Column 0 -> row 0: X[0,0] … X[4,0] -> X[0,0] … X[0,4]."""
        rows = [[x] for x in maps]
        for column in range(1, len(rows)):
            for level in range(len(rows) - column):
                rows[level].append(self.nodes[f"{level}_{column}"](rows[level], rows[level + 1][column - 1]))
        return rows[0]


class Node(nn.Module):
    """The maps before it in its row, and the one below it brought up -> (B, out, H, W)."""

    def __init__(self, deep: int, beside: int, out: int, factor: int, upsampling: str, norm: Norm | None) -> None:
        super().__init__()
        self.up = UPSAMPLINGS[upsampling](deep, out, factor)
        self.conv = double_conv(beside + out, out, norm)

    def forward(self, row: Sequence[Tensor], below: Tensor) -> Tensor:
        return self.conv(torch.cat([*row, self.up(below)], dim=1))


def build_nodes(steps: Sequence[Step], upsampling: str, norm: Norm | None) -> dict[str, Node]:
    """``"i_j"`` -> X[i,j] for all j > 0; steps[3 - i] is the one that leads to row i."""
    nodes = {}
    for level in range(4):
        step = steps[3 - level]
        encoder_below = steps[2 - level].skip if level < 3 else step.deep
        for column in range(1, 5 - level):
            deep, beside = encoder_below if column == 1 else step.deep, step.skip + (column - 1) * step.out
            nodes[f"{level}_{column}"] = Node(deep, beside, step.out, step.factor, upsampling, norm)
    return nodes
