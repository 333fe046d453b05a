"""Which pictures show the same: the same pixels, or nearly the same view.

Each picture is shrunk to 48x48, and what varies slowly (light, gain) is taken away; of a volume three slices stand for
all. From these go the average picture of the set and the places where all pictures vary alike, so that what they have
in common (the rim of a fundus, the fan of an ultrasound) does not count. The correlation of what is left tells pictures of
one view, 0.65 to 1, from neighbouring serial sections of electron microscopy (below 0.4), eyes (below 0.6) or brains
(below 0.35). A picture that was turned, mirrored or shifted by more than about 2 % is not recognised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segkit.image import Array, Image

SIDE = 48
SLOW = 2.0
"""Standard deviation, in pixels of the small picture, of what varies slowly."""

BRIGHTEST = 3.0
"""Contrast is cut off at so many deviations, so that a letter or a marker does not outweigh the picture."""

NEAR = 0.9
"""Correlation from which two pictures are near duplicates."""

SAME_VIEW = 0.65
"""Correlation from which two pictures show the same view: most likely frames of one recording, thus one patient."""

ENOUGH = 8
"""In a smaller set nothing can be known to be common to all; there only near duplicates count."""

MOST = 20_000
"""Pictures that are compared with each other; a larger set is only searched for equal pixels."""

BLOCK = 1024


@dataclass(frozen=True)
class Twins:
    """Two cases, by number, whose pictures show the same; `correlation` 1 and `exact` for equal pixels."""

    first: int
    second: int
    correlation: float
    exact: bool

    @property
    def is_near(self) -> bool:
        return self.correlation >= NEAR


def signature_of(image: Image) -> NDArray[np.float16]:
    """(48 * 48,) of a picture, (3 * 48 * 48,) of a volume."""
    count = len(image.slices)
    planes = [count // 4, count // 2, 3 * count // 4] if image.is_volume else [0]
    return np.concatenate([_details(image.slices[plane]) for plane in planes]).astype(np.float16)


def find_twins(shas: Sequence[str | None], signatures: Sequence[NDArray[np.float16] | None]) -> list[Twins]:
    """All pairs that show the same, in the order of their numbers; None stands for a picture that could not be read."""
    found = {(twins.first, twins.second): twins for twins in _exact(shas)}
    lengths = defaultdict(list)
    for number, signature in enumerate(signatures):
        if signature is not None:
            lengths[len(signature)].append(number)
    for numbers in lengths.values():
        if len(numbers) <= MOST:
            for twins in _alike(numbers, np.stack([np.asarray(signatures[number], np.float32) for number in numbers])):
                found.setdefault((twins.first, twins.second), twins)
    return [found[pair] for pair in sorted(found)]


def clusters(twins: Sequence[Twins]) -> list[list[int]]:
    """Numbers of cases that belong together, also over others, each list sorted."""
    leader: dict[int, int] = {}

    def lead(number: int) -> int:
        while leader.setdefault(number, number) != number:
            number = leader[number]
        return number

    for pair in twins:
        one, other = sorted((lead(pair.first), lead(pair.second)))
        leader[other] = one
    together = defaultdict(list)
    for number in sorted(leader):
        together[lead(number)].append(number)
    return list(together.values())


def _exact(shas: Sequence[str | None]) -> Iterator[Twins]:
    numbers = defaultdict(list)
    for number, sha in enumerate(shas):
        if sha is not None:
            numbers[sha].append(number)
    for same in numbers.values():
        yield from (Twins(same[0], other, 1.0, True) for other in same[1:])


def _alike(numbers: Sequence[int], details: NDArray[np.float32]) -> Iterator[Twins]:
    whitened = _without_what_all_share(details)
    threshold = SAME_VIEW if len(numbers) >= ENOUGH else NEAR
    for start in range(0, len(numbers), BLOCK):
        likeness = whitened[start : start + BLOCK] @ whitened.T
        for row, column in np.argwhere(likeness >= threshold):
            if start + row < column:
                yield Twins(numbers[start + row], numbers[column], min(1.0, round(float(likeness[row, column]), 3)), False)


def _without_what_all_share(details: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, D), changed in place, for there may be many -> of length 1 each; a flat picture is 0 and like none."""
    if len(details) >= ENOUGH:
        details -= details.mean(axis=0)
        spread = details.std(axis=0)
        details /= np.maximum(spread + 0.1 * spread.mean(), 1e-6)
    details /= np.maximum(np.linalg.norm(details, axis=1, keepdims=True), 1e-6)
    return details


def _details(pixels: Array) -> NDArray[np.float64]:
    """(C, H, W) -> (48 * 48,) in deviations, 0 for a flat picture."""
    small = _shrunk(pixels.astype(np.float32).mean(axis=0), SIDE)
    fine = small - ndimage.gaussian_filter(small, SLOW)
    deviation = fine.std()
    return np.clip(fine / deviation, -BRIGHTEST, BRIGHTEST).ravel() if deviation > 1e-6 * max(1.0, np.abs(small).max()) else np.zeros(SIDE * SIDE)


def _shrunk(plane: Array, side: int) -> NDArray[np.float64]:
    """(H, W) -> (side, side), each the mean of its part of the picture, parts of pixels included."""
    sums = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1))
    sums[1:, 1:] = plane.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    for axis in (0, 1):
        length = plane.shape[axis]
        places = np.linspace(0, length, side + 1)
        before = np.minimum(places.astype(int), length - 1)
        share = (places - before).reshape((-1, 1) if axis == 0 else (1, -1))
        low, high = np.take(sums, before, axis), np.take(sums, before + 1, axis)
        sums = low + share * (high - low)
    return np.diff(np.diff(sums, axis=0), axis=1) / (plane.size / side**2)
