"""Dice plus cross-entropy: what the score measures, and what gives every pixel a gradient. Both are MONAI's."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.labels import IGNORE_INDEX
from segkit.losses.settings import DiceCrossEntropySettings


class DiceCrossEntropy(nn.Module):
    """(B, K, H, W) logits and (B, H, W) classes -> a scalar; pixels of `IGNORE_INDEX` count in neither part.

    Unless the settings say so the background has no Dice of its own: it is almost always there and almost always right.
    """

    def __init__(self, settings: DiceCrossEntropySettings) -> None:
        super().__init__()
        self.settings = settings
        self.dice = DiceLoss(include_background=settings.background, batch=settings.batch_dice)
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None if settings.class_weights is None else torch.tensor(settings.class_weights))

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        logits, truth = logits.float(), truth.long()
        known = truth != IGNORE_INDEX
        if not known.any():
            return logits.sum() * 0
        classes = torch.where(known, truth, 0)
        one_hot = F.one_hot(classes, logits.shape[1]).movedim(-1, 1) * known[:, None]     # (B, K, H, W)
        probabilities = logits.softmax(dim=1) * known[:, None]
        cross_entropy = F.cross_entropy(logits, truth, weight=self.class_weights, ignore_index=IGNORE_INDEX)
        return self.settings.dice * self.dice(probabilities, one_hot.float()) + self.settings.cross_entropy * cross_entropy
