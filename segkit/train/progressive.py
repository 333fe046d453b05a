"""Progressive resizing: small patches at first, which take less time, so that more of them are seen in the same minutes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.config import TrainSettings

UNTIL = 0.5
"""Share of the budget after which patches have their full size. What a network sees is at that size; the end must be learnt there."""

MULTIPLE = 16
"""Sides of small patches are multiples of it, as those of most patches are: networks halve them several times."""


def sized(batch: tuple[Tensor, Tensor], at: float, settings: TrainSettings) -> tuple[Tensor, Tensor]:
    """The patches of a step as large as they are to be `at` 0 .. 1 through the budget: (B, R, C, h, w) pictures and (B, R, h, w) classes."""
    if settings.progressive is None or at >= UNTIL:
        return batch
    return shrink(*batch, settings.progressive)


def shrink(patches: Tensor, truth: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Both at `share` of their sides, to the nearest multiple of 16 and never larger: pictures smoothed, of the classes the nearest pixel's.

    >>> patches, truth = shrink(torch.zeros(2, 1, 3, 128, 96), torch.zeros(2, 1, 128, 96, dtype=torch.long), 0.75)
    >>> patches.shape, truth.shape
    (torch.Size([2, 1, 3, 96, 64]), torch.Size([2, 1, 96, 64]))
    """
    rows, columns = (min(side, max(MULTIPLE, MULTIPLE * round(share * side / MULTIPLE))) for side in truth.shape[-2:])
    small = F.interpolate(patches.flatten(0, 1), (rows, columns), mode="bilinear", antialias=True)
    picked = [(2 * torch.arange(new) + 1) * old // (2 * new) for old, new in zip(truth.shape[-2:], (rows, columns), strict=True)]
    return small.view(*patches.shape[:3], rows, columns), truth[..., picked[0][:, None], picked[1]]
