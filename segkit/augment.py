"""Random changes to a patch and its mask together, so that a network learns what does not matter. The one room that knows albumentations."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from segkit.errors import TrainingError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network for a newer version


class AugmentSettings(BaseModel):
    """What may happen to a patch, and how often.

    horizontal_flip, vertical_flip : chance of a mirror image. Leave at 0 where a side means something.
    right_angles : chance of a turn by 90, 180 or 270 degrees.
    affine : chance of a rotation by up to ±`rotation` degrees, a scaling by `scale` and a shift by up to `shift` of the side, together.
    elastic : chance of a smooth deformation, of `elastic_alpha` pixels at most.
    contrast : chance of another brightness, contrast and gamma, each changed by up to `contrast_limit`.
    blur, noise : chance of a blur, and of Gaussian noise of up to `noise_limit` of the range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizontal_flip: float = Field(default=0.5, ge=0, le=1)
    vertical_flip: float = Field(default=0.0, ge=0, le=1)
    right_angles: float = Field(default=0.0, ge=0, le=1)
    affine: float = Field(default=0.7, ge=0, le=1)
    rotation: float = Field(default=20, ge=0, le=180)
    scale: tuple[float, float] = (0.8, 1.25)
    shift: float = Field(default=0.05, ge=0, le=1)
    elastic: float = Field(default=0.0, ge=0, le=1)
    elastic_alpha: float = Field(default=40, ge=0)
    contrast: float = Field(default=0.5, ge=0, le=1)
    contrast_limit: float = Field(default=0.2, ge=0, lt=1)
    blur: float = Field(default=0.1, ge=0, le=1)
    noise: float = Field(default=0.2, ge=0, le=1)
    noise_limit: float = Field(default=0.05, gt=0, le=1)


class Augmenter:
    """(C, h, w) float32 in the model's range and (h, w) uint8 classes -> the same, changed; a seed always changes them the same way.

    albumentations takes float pictures in 0..1, channels last, so that is where the work is done; the range's ends are the model's
    (`model_range` of the intensity rule), and what a change pushes beyond them is cut off there.
    """

    def __init__(self, settings: AugmentSettings, model_range: tuple[float, float]) -> None:
        self._low, self._width = model_range[0], model_range[1] - model_range[0]
        self._settings = settings
        self._compose: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compose": None}  # built again in a worker process

    def __call__(self, picture: NDArray[np.float32], indices: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        if self._compose is None:
            self._compose = _compose(self._settings)
        self._compose.set_random_seed(seed % 2**32)
        unit = np.clip((np.moveaxis(picture, 0, -1) - self._low) / self._width, 0, 1)     # (h, w, C)
        changed = self._compose(image=np.ascontiguousarray(unit, dtype=np.float32), mask=indices)
        image, mask = changed["image"], changed["mask"]
        if image.shape != unit.shape or mask.shape != indices.shape:
            raise TrainingError(f"augmentation changed the size of a patch from {unit.shape} to {image.shape}")
        back = np.moveaxis(np.clip(image, 0, 1), -1, 0) * self._width + self._low
        return np.ascontiguousarray(back, dtype=np.float32), np.ascontiguousarray(mask)


def _compose(settings: AugmentSettings) -> Any:
    """Geometry first, on picture and mask; then what happens to the picture alone."""
    import albumentations as A
    import cv2

    cv2.setNumThreads(0)  # the loader's processes are the parallelism
    mirrored = {"border_mode": cv2.BORDER_REFLECT_101}
    share = settings.shift
    s = settings.contrast_limit
    steps = [
        A.HorizontalFlip(p=settings.horizontal_flip),
        A.VerticalFlip(p=settings.vertical_flip),
        A.RandomRotate90(p=settings.right_angles),
        A.Affine(
            scale=settings.scale,
            rotate=(-settings.rotation, settings.rotation),
            translate_percent={"x": (-share, share), "y": (-share, share)},
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            p=settings.affine,
            **mirrored,
        ),
        A.ElasticTransform(alpha=settings.elastic_alpha, sigma=8, approximate=True, p=settings.elastic, **mirrored),
        A.RandomBrightnessContrast(brightness_limit=s, contrast_limit=s, p=settings.contrast),
        A.RandomGamma(gamma_limit=(100 * (1 - s), 100 / (1 - s)), p=settings.contrast),
        A.GaussianBlur(blur_limit=(3, 5), p=settings.blur),
        A.GaussNoise(std_range=(0.0, settings.noise_limit), p=settings.noise),
    ]
    return A.Compose([step for step in steps if step.p > 0])
