"""A recurrent network along the slices of a volume: what the slices above and below hold says what to look for in this one.

Gated recurrent units: Cho 2014, https://arxiv.org/abs/1406.1078; attention over positions at each step: Bahdanau 2015, https://arxiv.org/abs/1409.0473
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.models.blocks import Norm

WIDTH = 128
"""Numbers in the state of each direction, at most."""


class SliceGRU(nn.Module):
    """(B · S, C, h, w), B runs of S neighbouring slices -> the same, each slice's channels weighted by what was seen in both directions.

    The weights lie between 0 and 2 and all start at 1: an untrained one hands its slices on as they are.
    """

    answers = "slices by themselves: what lies above and below says what to look for"
    source = "Cho 2014, https://arxiv.org/abs/1406.1078"
    along_slices = True

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        width = min(channels, WIDTH)
        self.down, self.up = AttentiveGRU(channels, width), AttentiveGRU(channels, width)
        self.weigh = nn.Linear(2 * width, channels)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def forward(self, x: Tensor, slices: int = 1) -> Tensor:
        runs = x.reshape(-1, slices, *x.shape[1:])                                       # (B, S, C, h, w)
        seen = torch.cat([self.down(runs), self.up(runs.flip(1)).flip(1)], dim=2)      # (B, S, 2 · width)
        weights = 2 * torch.sigmoid(self.weigh(seen))                                  # (B, S, C)
        return (runs * weights[..., None, None]).flatten(0, 1)


class AttentiveGRU(nn.Module):
    """(B, S, C, h, w) -> (B, S, width): the state after each slice. At each step it attends over the slice's positions."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(channels, width, bias=False)   # the softmax would take no notice of a key's bias
        self.cell = nn.GRUCell(channels, width)

    def forward(self, runs: Tensor) -> Tensor:
        positions = runs.flatten(3).transpose(2, 3)                                    # (B, S, N, C) with N = h · w
        keys = self.key(positions)                                                     # (B, S, N, width)
        state = runs.new_zeros(len(runs), self.cell.hidden_size)
        states = []
        for values, key in zip(positions.unbind(1), keys.unbind(1), strict=True):
            similarity = torch.einsum("bd,bnd->bn", self.query(state), key) / key.shape[-1] ** 0.5
            looked_at = torch.einsum("bn,bnc->bc", similarity.softmax(dim=1), values)
            state = self.cell(looked_at, state)
            states.append(state)
        return torch.stack(states, dim=1)
