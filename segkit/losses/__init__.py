"""Losses: logits and truth in, a number to make smaller out. A new one is a file, its settings, and a line in `build_loss`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from segkit.losses.settings import DiceCrossEntropySettings

if TYPE_CHECKING:
    from torch import nn

LossSettings: TypeAlias = DiceCrossEntropySettings


def build_loss(settings: LossSettings) -> nn.Module:
    """The loss that the settings name; imports MONAI."""
    from segkit.losses.dice_cross_entropy import DiceCrossEntropy

    return DiceCrossEntropy(settings)


__all__ = ["DiceCrossEntropySettings", "LossSettings", "build_loss"]
