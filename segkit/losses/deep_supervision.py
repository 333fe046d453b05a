"""Deep supervision: a loss for each size of a network's logits, the finer ones weighing more.

As in nnU-Net, Isensee 2021, https://doi.org/10.1038/s41592-020-01008-z
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DeepSupervision(nn.Module):
    """(B, K, H, W) logits or a list of them, finest first, and (B, H, W) classes -> a scalar.

    The weights are 1, 1/2, 1/4, … divided by their sum; the truth is brought to each size by its nearest neighbour.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor | Sequence[Tensor], truth: Tensor) -> Tensor:
        if isinstance(logits, Tensor):
            return self.loss(logits, truth)
        weights = [0.5**level for level in range(len(logits))]
        losses = [self.loss(one, shrink(truth, one.shape[-2:])) for one in logits]
        return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)


def shrink(truth: Tensor, size: Sequence[int]) -> Tensor:
    """(B, H, W) classes on a coarser grid, by the nearest neighbour: each cell has the class of its middle pixel.

    Cells are 1, 2, 4, … pixels long, and the last may reach beyond the picture, where the network has grown it:

        pixel   0 1 2 3 4 5 6 7 8         9 pixels in 3 cells: each is 4 long
        cell    a a a a b b b b c . . .
        middle      *       *   *         that of c would lie outside: the nearest pixel inside
    """
    rows, columns = (_middles(length, cells, truth.device) for length, cells in zip(truth.shape[-2:], size, strict=True))
    return truth[:, rows[:, None], columns]


def _middles(length: int, cells: int, device: torch.device) -> Tensor:
    """The middle pixel of each cell along an axis."""
    side = 1 << (-(-length // cells) - 1).bit_length()                 # the smallest power of two with which the cells cover the axis
    return (torch.arange(cells, device=device) * side + side // 2).clamp(max=length - 1)
