"""Tidy: what is known about the shape of the objects, applied to the mask. Everything is off unless the settings ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class PieceRules(BaseModel):
    """What is known of one class.

    min_size_px : connected pieces smaller than this many pixels (voxels) become background.
    largest_only : only the largest connected piece stays.
    fill_holes : background enclosed by a piece becomes part of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_size_px: int = Field(default=0, ge=0)
    largest_only: bool = False
    fill_holes: bool = False


class PostprocessSettings(PieceRules):
    """Rules for each foreground class by itself.

    classes : name -> rules for this class, in place of those for all.
    """

    classes: dict[str, PieceRules] = Field(default_factory=dict)

    def rules_of(self, name: str | None) -> PieceRules:
        return self.classes.get(name, self) if name is not None else self


def tidy(indices: NDArray[np.uint8], settings: PostprocessSettings, names: Sequence[str] = ()) -> NDArray[np.uint8]:
    """(H, W) or (S, H, W) class indices -> the same, tidied; pieces touch at edges and corners. `names` are those of all classes, background first."""
    if settings == PostprocessSettings():
        return indices
    result = indices.copy()
    for index in np.unique(indices[indices > 0]):
        rules = settings.rules_of(names[index] if index < len(names) else None)
        mask = _keep_pieces(indices == index, rules)
        result[(indices == index) & ~mask] = 0
        if rules.fill_holes:
            result[_filled(mask) & (result == 0)] = index
    return result


def piece_sizes(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(H, W) or (S, H, W) -> pixels of each connected piece, in no order that matters."""
    return _pieces(mask)[1][1:]


def _pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[np.integer[Any]], NDArray[np.int64]]:
    """The number of its piece for each pixel, 0 where there is none; and pixels of each piece, the first number that of no piece."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    return pieces, np.bincount(pieces.ravel(), minlength=count + 1).astype(np.int64)


def _keep_pieces(mask: NDArray[np.bool_], rules: PieceRules) -> NDArray[np.bool_]:
    if not rules.largest_only and rules.min_size_px <= 1:
        return mask
    pieces, sizes = _pieces(mask)
    sizes[0] = 0
    keep = sizes >= max(1, rules.min_size_px)
    if rules.largest_only:
        keep &= np.arange(len(sizes)) == sizes.argmax()
    return np.asarray(keep[pieces])


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    return np.asarray(ndimage.binary_fill_holes(mask), dtype=bool)
