"""Whether the masks belong to the pictures: what is drawn must look more alike from picture to picture than what the masks of others mark there.

For each picture and class, simple features (brightness and edges at three scales) are averaged inside and outside of the mask; the difference is what
the class looks like there. The same under masks of other pictures is taken away: what is left is not owed to all masks lying in one place. Where the
masks belong to the pictures it points the same way in each, and it can be said by how many standard errors; where they were shuffled, turned
or are noise it points anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segkit.image import Image
from segkit.labels import Mask

SIDE = 160
"""Pictures and masks are looked at this small, whatever their shape."""

COVERED = 0.4
"""Share of a cell that a class covers where it counts as its own."""

SCALES = (1.0, 2.0, 4.0)
"""Standard deviations of the blurs, in those pixels."""

OTHERS = 5
"""Masks of other pictures that a mask is held against."""

FEWEST = 16
"""Of fewer pictures nothing is said."""

Floats = NDArray[np.float64]


class Belonging:
    """Collects pictures with their masks, then says how surely they belong together."""

    def __init__(self) -> None:
        self._features: list[Floats] = []                                   # (F, SIDE * SIDE) each
        self._masks: list[NDArray[np.bool_]] = []                           # (K - 1, SIDE * SIDE) each

    def add(self, image: Image, mask: Mask) -> None:
        """One case; of a volume the slice with most foreground."""
        stack = mask.indices if mask.indices.ndim == 3 else mask.indices[None]
        classes = range(1, mask.labels.num_classes)
        plane = int(np.isin(stack, classes).sum(axis=(1, 2)).argmax())
        self._features.append(_features(_sampled(image.slices[plane].mean(axis=0, dtype=np.float64))))
        self._masks.append(np.stack([_sampled(stack[plane] == index).ravel() > COVERED for index in classes]))

    def standard_errors(self) -> float | None:
        """By how many the masks of their own do better than those of others, of the class that is surest; None where too few hold any."""
        found = [self._of_class(kind) for kind in range(len(self._masks[0]))] if self._masks else []
        known = [value for value in found if value is not None]
        return max(known) if known else None

    def _of_class(self, kind: int) -> float | None:
        held = [number for number, mask in enumerate(self._masks) if 0 < mask[kind].sum() < mask[kind].size]
        if len(held) < FEWEST:
            return None
        gained = np.stack([self._gain(kind, held, place) for place in range(len(held))])                       # (n, F)
        along = [float(gain @ (gained.sum(axis=0) - gain)) for gain in gained]
        deviation = float(np.std(along, ddof=1))
        return float(np.mean(along)) / max(deviation, 1e-9) * math.sqrt(len(along))

    def _gain(self, kind: int, held: Sequence[int], place: int) -> Floats:
        """(F,) what a class looks like in a picture, beyond what the masks of the next pictures mark there."""
        features = self._features[held[place]]
        others = [held[(place + step) % len(held)] for step in range(1, 1 + OTHERS)]
        return _look(features, self._masks[held[place]][kind]) - np.mean([_look(features, self._masks[other][kind]) for other in others], axis=0)


def _sampled(plane: NDArray[np.generic]) -> Floats:
    """(H, W) -> (SIDE, SIDE), the mean of what lies in each cell, or the nearest pixel where the picture is smaller."""
    blurred = ndimage.uniform_filter(plane.astype(np.float64), [max(1, length // SIDE) for length in plane.shape])
    rows, columns = (np.minimum(((np.arange(SIDE) + 0.5) * length / SIDE).astype(int), length - 1) for length in plane.shape)
    return np.asarray(blurred[rows[:, None], columns])


def _features(grey: Floats) -> Floats:
    """(F, SIDE * SIDE), each with mean 0 and deviation 1."""
    maps = [grey - ndimage.gaussian_filter(grey, 12.0)]
    for scale in SCALES:
        maps += [ndimage.gaussian_filter(maps[0], scale), ndimage.gaussian_gradient_magnitude(grey, scale)]
    flat = np.stack([one.ravel() for one in maps])
    deviation = flat.std(axis=1, keepdims=True)
    return np.asarray((flat - flat.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1.0))


def _look(features: Floats, mask: NDArray[np.bool_]) -> Floats:
    """(F,) by how much each feature is higher inside."""
    return np.asarray(features[:, mask].mean(axis=1) - features[:, ~mask].mean(axis=1))

