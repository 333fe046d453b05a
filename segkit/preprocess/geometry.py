"""The picture's grid to the model's grid, and scores back."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from segkit.errors import SettingsError
from segkit.image import Image


class Native(BaseModel):
    """Pixels as they are: thin structures, or pictures that are small already."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["native"] = "native"

    def target(self, image: Image) -> tuple[int, int]:
        return _in_plane(image)


class LongSide(BaseModel):
    """The longer side becomes `pixels` long, the shape is kept: objects that fill a good part of the picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["long_side"] = "long_side"
    pixels: int = Field(default=256, ge=16)

    def target(self, image: Image) -> tuple[int, int]:
        height, width = _in_plane(image)
        scale = self.pixels / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))


class Spacing(BaseModel):
    """Every pixel becomes `mm` wide and high: scanners with different resolutions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["spacing"] = "spacing"
    mm: float = Field(default=1.0, gt=0)

    def target(self, image: Image) -> tuple[int, int]:
        """Raises SettingsError where the file says nothing of its spacing."""
        if image.spacing_mm is None:
            raise SettingsError(f"{image.name}: the model works at {self.mm:g} mm a pixel (preprocess.resize), but the file says nothing of its spacing")
        height, width = _in_plane(image)
        row_mm, column_mm = image.spacing_mm[-2:]
        return max(1, round(height * row_mm / self.mm)), max(1, round(width * column_mm / self.mm))


ResizeSettings: TypeAlias = Annotated[Native | LongSide | Spacing, Field(discriminator="kind")]


def resize(picture: Tensor, target: tuple[int, int]) -> Tensor:
    """(C, H, W) -> (C, H', W'), bilinear, with an antialiasing filter on the way down."""
    if tuple(picture.shape[-2:]) == target:
        return picture
    shrinks = target[0] < picture.shape[-2] or target[1] < picture.shape[-1]
    return F.interpolate(picture[None], target, mode="bilinear", antialias=shrinks, align_corners=False)[0]


def enlarge_rows(picture: Tensor, target: tuple[int, int], first: int, until: int) -> Tensor:
    """Rows `first` to `until` of ``resize(picture, target)``, (C, until - first, W'); for a target that is smaller in no direction."""
    place = ((torch.arange(first, until) + 0.5) * (picture.shape[-2] / target[0]) - 0.5).clamp_min(0)     # of each row, among the picture's own
    above = place.long().clamp_max(picture.shape[-2] - 1)
    share = (place - above)[:, None].to(picture.dtype)
    rows = torch.lerp(picture[:, above], picture[:, (above + 1).clamp_max(picture.shape[-2] - 1)], share)
    return resize(rows, (until - first, target[1]))


def resize_indices(indices: Tensor, target: tuple[int, int]) -> Tensor:
    """(H, W) uint8 classes -> (H', W'): each pixel takes the class that covers most of it."""
    if tuple(indices.shape) == target:
        return indices
    classes = torch.unique(indices)
    shares = resize(torch.stack([(indices == value).float() for value in classes]), target)
    return classes[shares.argmax(dim=0)]


def _in_plane(image: Image) -> tuple[int, int]:
    height, width = image.pixels.shape[-2:]
    return int(height), int(width)
