"""Tidy: what is known about the shape of the objects, applied to the mask. Everything is off unless the settings ask for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class PostprocessSettings(BaseModel):
    """Rules for each foreground class by itself.

    min_size_px : connected pieces smaller than this many pixels (voxels) become background.
    largest_only : only the largest connected piece stays.
    fill_holes : background enclosed by a piece becomes part of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_size_px: int = Field(default=0, ge=0)
    largest_only: bool = False
    fill_holes: bool = False


def tidy(indices: NDArray[np.uint8], settings: PostprocessSettings) -> NDArray[np.uint8]:
    """(H, W) or (S, H, W) class indices -> the same, tidied; pieces touch at edges and corners."""
    if settings == PostprocessSettings():
        return indices
    result = indices.copy()
    for index in np.unique(indices[indices > 0]):
        mask = _keep_pieces(indices == index, settings)
        result[(indices == index) & ~mask] = 0
        if settings.fill_holes:
            result[_filled(mask) & (result == 0)] = index
    return result


def _keep_pieces(mask: NDArray[np.bool_], settings: PostprocessSettings) -> NDArray[np.bool_]:
    if not settings.largest_only and settings.min_size_px <= 1:
        return mask
    from scipy import ndimage

    pieces, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    keep = sizes >= max(1, settings.min_size_px)
    if settings.largest_only:
        keep &= np.arange(count + 1) == sizes.argmax()
    return np.asarray(keep[pieces])


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage

    return np.asarray(ndimage.binary_fill_holes(mask), dtype=bool)
