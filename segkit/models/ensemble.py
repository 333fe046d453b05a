"""Several networks of one architecture that decide together, such as those of a cross-validation.

Lakshminarayanan, Pritzel and Blundell, NeurIPS 2017, https://arxiv.org/abs/1612.01474
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segkit.models import build_model
from segkit.models.settings import NetworkSettings


class Ensemble(nn.Module):
    """(B, C, H, W) picture -> (B, K, H, W) logarithms of the members' mean probabilities: logits like any other's, whose softmax is that mean.

    The mean is one of probabilities, not of logits. Members that were trained apart have logits of different scale, and in a mean of logits the
    loudest would decide alone; a probability ends at 1, so each member has one voice. Where they disagree the mean lies between them, as it should.
    The logarithms are summed in float32 and never of 0, whatever precision the members compute in.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.multiple = int(getattr(members[0], "multiple", 1))

    def forward(self, picture: Tensor, deepest: Tensor | None = None) -> Tensor:
        if deepest is None:
            logits = [member(picture) for member in self.members]
        else:
            logits = [member(picture, own) for member, own in zip(self.members, deepest.chunk(len(self.members), dim=1), strict=True)]
        voices = torch.stack([one.float().log_softmax(dim=1) for one in logits])              # (M, B, K, H, W)
        return voices.logsumexp(dim=0) - math.log(len(self.members))

    def deepest(self, picture: Tensor) -> Tensor:
        """(B, C, H, W) -> the members' last maps, one behind the other: (B, M · C', h, w)."""
        members: Any = self.members
        return torch.cat([member.deepest(picture) for member in members], dim=1)

    @property
    def bottleneck(self) -> SideBySide:
        """Of all members: for volumes, see `Network.deepest`."""
        members: Any = self.members
        return SideBySide([member.bottleneck for member in members])


class SideBySide:
    """(B · S, M · C, h, w), B runs of S slices -> the same; each bottleneck has its own share of the channels."""

    def __init__(self, bottlenecks: Sequence[nn.Module]) -> None:
        self._bottlenecks = bottlenecks
        self.along_slices = bool(getattr(bottlenecks[0], "along_slices", False))

    def __call__(self, x: Tensor, slices: int = 1) -> Tensor:
        shares = x.chunk(len(self._bottlenecks), dim=1)
        return torch.cat([bottleneck(own, slices) for bottleneck, own in zip(self._bottlenecks, shares, strict=True)], dim=1)


def build_members(settings: NetworkSettings, count: int) -> nn.Module:
    """The network of a model file with so many members: a plain one, or an `Ensemble`; its weights are still to be filled in."""
    return build_model(settings) if count == 1 else Ensemble([build_model(settings) for _ in range(count)])
