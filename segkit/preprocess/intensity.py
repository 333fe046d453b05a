"""Intensities into the model's range, by a rule that the settings declare for the modality.

`measure` looks at a whole picture or volume once, `apply` then does the same to each of its slices: a volume keeps one scale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from segkit.errors import RangeError
from segkit.image import Image

Normalise: TypeAlias = Callable[[Tensor], Tensor]
"""(C, H, W) float32 in the file's units -> (C, H, W) float32 in the model's range."""

SLACK = 0.05
"""Share of a fixed range that pixels may lie beyond it, where they are cut off: what resampling adds at edges, not another scale."""

SAMPLE = 2**20
"""Percentiles are measured on at most so many pixels, evenly spaced."""


class FixedRange(BaseModel):
    """The values low .. high become -1 .. 1: photographs, ultrasound, microscopy, whose numbers mean the same in every picture (0..255)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["fixed"] = "fixed"
    low: float = 0
    high: float = 255
    model_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    @model_validator(mode="after")
    def _ordered(self) -> FixedRange:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}; low lies below high")
        return self

    def measure(self, image: Image) -> Normalise:
        """Raises RangeError where the pixels are of another scale: another bit depth would be scored as if it were white, 0..1 as if it were black."""
        lowest, highest, slack = float(image.pixels.min()), float(image.pixels.max()), SLACK * (self.high - self.low)
        unit = image.pixels.dtype.kind == "f" and lowest >= (-1 if self.low >= 0 else 0) and highest <= 1  # 0..1, or -1..1 where nothing is below 0
        if unit and self.high > 2:
            to_do = f"multiply them by {self.high:g}" if lowest >= 0 else "scale them so"
            raise RangeError(f"{image.name}: floats from {lowest:g} to {highest:g}, the model takes {self.low:g} to {self.high:g}; {to_do}")
        if lowest < self.low - slack or highest > self.high + slack:
            raise RangeError(
                f"{image.name}: pixels run from {lowest:g} to {highest:g} ({image.pixels.dtype}), the model takes {self.low:g} to {self.high:g} "
                "(preprocess.intensity); rescale the picture, or train with its own range or a window"
            )
        centre, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return lambda picture: (picture - centre).div_(half).clamp_(*self.model_range)


class Window(BaseModel):
    """Level ± width / 2 becomes -1 .. 1, the rest is cut off there: CT in Hounsfield units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["window"] = "window"
    level: float = 40
    width: float = Field(default=400, gt=0)
    model_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def measure(self, image: Image) -> Normalise:
        return lambda picture: (picture - self.level).div_(self.width / 2).clamp_(-1, 1)


class ZScore(BaseModel):
    """Each channel cut off at two percentiles of the picture or volume, then mean 0 and deviation 1: MR and others whose numbers have no unit.

    What lies further than 4 deviations away is cut off there, in training (the augmentation works in that range) and so in prediction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["zscore"] = "zscore"
    percentiles: tuple[float, float] = (0.5, 99.5)
    model_range: ClassVar[tuple[float, float]] = (-4.0, 4.0)

    @model_validator(mode="after")
    def _ordered(self) -> ZScore:
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError(f"percentiles are {self.percentiles}; two numbers from 0 to 100, the lower one first")
        return self

    def measure(self, image: Image) -> Normalise:
        pixels = np.moveaxis(image.slices, 1, 0).reshape(image.channels, -1)            # (C, S * H * W)
        pixels = pixels[:, :: max(1, -(-pixels.shape[1] // SAMPLE))].astype(np.float64)
        low, high = np.percentile(pixels, self.percentiles, axis=1)                     # (C,) each
        clipped = np.clip(pixels, low[:, None], high[:, None])
        deviation = clipped.std(axis=1)
        low_, high_, mean = (torch.from_numpy(v).float()[:, None, None] for v in (low, high, clipped.mean(axis=1)))
        scale = torch.from_numpy(np.where(deviation > 0, deviation, 1.0)).float()[:, None, None]  # a constant picture becomes 0
        return lambda picture: torch.minimum(torch.maximum(picture, low_), high_).sub_(mean).div_(scale).clamp_(*self.model_range)


IntensitySettings: TypeAlias = Annotated[FixedRange | Window | ZScore, Field(discriminator="kind")]


def cut_off_notes(image: Image, rule: IntensitySettings) -> tuple[str, ...]:
    """What a fixed range cuts off of a picture that it takes; the other rules cut off by design."""
    if not isinstance(rule, FixedRange) or (image.pixels.min() >= rule.low and image.pixels.max() <= rule.high):
        return ()
    beyond = int(np.count_nonzero((image.pixels < rule.low) | (image.pixels > rule.high)))
    return (f"{beyond} of {image.pixels.size} values lie beyond {rule.low:g} to {rule.high:g}, the range that the model takes: cut off there",)
