"""Deep supervision: a loss for each size of a network's logits, the finer ones weighing more.

As in nnU-Net, Isensee 2021, https://doi.org/10.1038/s41592-020-01008-z
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


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
    """(B, H, W) classes on a coarser grid, by the nearest neighbour."""
    return truth if truth.shape[-2:] == tuple(size) else F.interpolate(truth[:, None].float(), size=tuple(size), mode="nearest-exact")[:, 0].to(truth.dtype)
