"""Losses: logits and truth in, a number to make smaller out. A new one is a file, its settings, and a line in `build_loss`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from segkit.losses.settings import DiceCrossEntropySettings

if TYPE_CHECKING:
    from torch import nn

LossSettings: TypeAlias = DiceCrossEntropySettings


def build_loss(settings: LossSettings) -> nn.Module:
    """The loss that the settings name, of one map of logits or of several sizes; imports MONAI."""
    from segkit.losses.deep_supervision import DeepSupervision
    from segkit.losses.dice_cross_entropy import DiceCrossEntropy

    return DeepSupervision(DiceCrossEntropy(settings))


__all__ = ["DiceCrossEntropySettings", "LossSettings", "build_loss"]
