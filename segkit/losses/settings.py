"""The settings of the losses, apart from them: reading a model file must not wait for MONAI's import (3 to 7 s)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DiceCrossEntropySettings(BaseModel):
    """The weights of the two parts.

    batch_dice : one Dice over all pictures of the batch (small objects that many patches lack) instead of one for each picture.
    background : the background has a Dice of its own too; for what is thin between large objects, as the walls between cells.
    class_weights : K weights of the classes in the cross-entropy, background first; None for equal ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["dice_cross_entropy"] = "dice_cross_entropy"
    dice: float = Field(default=1.0, ge=0)
    cross_entropy: float = Field(default=1.0, ge=0)
    batch_dice: bool = True
    background: bool = False
    class_weights: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _something(self) -> DiceCrossEntropySettings:
        if self.dice == 0 and self.cross_entropy == 0:
            raise ValueError("dice and cross_entropy are both 0: there is nothing to learn from")
        return self
