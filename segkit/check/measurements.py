"""The set in numbers: what rules that choose settings for training read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segkit.check.facts import CaseFacts, ImageFacts, MaskFacts
from segkit.check.values import MaskValues


@dataclass(frozen=True)
class Range:
    """The smallest, the median and the largest of a number over the cases."""

    lowest: float
    median: float
    highest: float


@dataclass(frozen=True)
class ChannelIntensity:
    """Of one channel over the cases: percentiles 0.5, 50 and 99.5, mean and deviation of each case."""

    p0_5: Range
    p50: Range
    p99_5: Range
    mean: Range
    deviation: Range


@dataclass(frozen=True)
class ClassMeasurements:
    """Of one class; sizes in pixels of the pictures as they are, of connected pieces, slice by slice.

    Pieces of a background of zeros that covers most of a mask are not measured: 0.

    Attributes
    ----------
    pixel_share : of all pixels that are not ignored
    case_share, slice_share : of the cases, of all slices, that hold the class
    objects : connected pieces in all cases
    area_px_p5, area_px_median : of all pieces; a case with more pieces counts at most 256 of them
    area_px_p95 : of the pieces of a case, in the median case: pictures of many sizes are measured each by itself
    diameter_px_median : of the disc that has the median area
    inner_max_px : distance from the innermost pixel to the nearest other one, in the median case: half the greatest thickness
    inner_median_px : the median of that distance over all pixels of the class, in the median case
    """

    name: str
    pixel_share: float
    case_share: float
    slice_share: float
    objects: int
    area_px_p5: float
    area_px_median: float
    area_px_p95: float
    diameter_px_median: float
    inner_max_px: float
    inner_median_px: float

    @property
    def is_thin(self) -> bool:
        """Vessels, membranes, nerve fibres: the greatest thickness lies far below what a disc of the 95th percentile's area has."""
        return self.objects > 0 and 2 * self.inner_max_px < 0.25 * 2 * (self.area_px_p95 / np.pi) ** 0.5


@dataclass(frozen=True)
class Measurements:
    """Of all cases that could be read.

    Attributes
    ----------
    cases, groups, splits : how many there are; cases of each split ("" where none is said)
    slices : of all volumes together, a picture is one
    height, width, depth : in pixels; depth is None unless there are volumes
    spacing_mm : of each axis, the slowest first; None where no case says it
    without_spacing : cases that say none
    channels, dtypes : number of channels, type of the pixels -> cases
    intensity : of each channel; empty where cases differ in channels
    classes : background first
    empty_cases, empty_slices : shares without any foreground
    """

    cases: int
    groups: int
    splits: Mapping[str, int]
    volumes: int
    slices: int
    height: Range
    width: Range
    depth: Range | None
    spacing_mm: tuple[Range, ...] | None
    without_spacing: int
    channels: Mapping[int, int]
    dtypes: Mapping[str, int]
    intensity: tuple[ChannelIntensity, ...]
    classes: tuple[ClassMeasurements, ...]
    empty_cases: float
    empty_slices: float


def measure(groups: Sequence[str], splits: Sequence[str | None], facts: Sequence[CaseFacts], values: MaskValues) -> Measurements | None:
    """None where no case at all could be read."""
    good = [(fact.image, fact.mask, number) for number, fact in enumerate(facts) if fact.image is not None and fact.mask is not None]
    if not good:
        return None
    images, masks = [image for image, _, _ in good], [mask for _, mask, _ in good]
    depths = [image.shape[0] for image in images if image.is_volume]
    foreground = [values.slices(mask, range(1, len(values.names))) for mask in masks]
    slices = sum(image.slices for image in images)
    return Measurements(
        cases=len(good),
        groups=len({groups[number] for _, _, number in good}),
        splits=dict(Counter(splits[number] or "" for _, _, number in good)),
        volumes=len(depths),
        slices=slices,
        height=_range([image.shape[-2] for image in images]),
        width=_range([image.shape[-1] for image in images]),
        depth=_range(depths) if depths else None,
        spacing_mm=_spacing(images),
        without_spacing=sum(image.spacing_mm is None for image in images),
        channels=dict(Counter(image.channels for image in images)),
        dtypes=dict(Counter(image.dtype for image in images)),
        intensity=_intensity(images),
        classes=tuple(_class(index, values, images, masks) for index in range(len(values.names))),
        empty_cases=sum(values.pixels(mask)[1:].sum() == 0 for mask in masks) / len(good),
        empty_slices=1 - sum(foreground) / slices,
    )


def _range(numbers: Sequence[float]) -> Range:
    return Range(float(min(numbers)), float(np.median(numbers)), float(max(numbers)))


def _spacing(images: Sequence[ImageFacts]) -> tuple[Range, ...] | None:
    """Of the cases with as many axes as most have."""
    told = [image.spacing_mm for image in images if image.spacing_mm is not None]
    if not told:
        return None
    axes = Counter(map(len, told)).most_common(1)[0][0]
    return tuple(_range([spacing[axis] for spacing in told if len(spacing) == axes]) for axis in range(axes))


def _intensity(images: Sequence[ImageFacts]) -> tuple[ChannelIntensity, ...]:
    if len({image.channels for image in images}) > 1:
        return ()
    measured = []
    for channel in range(images[0].channels):
        of_cases = [image.intensity[channel] for image in images]
        low, middle, high = (_range([one.percentiles[which] for one in of_cases]) for which in range(3))
        measured.append(ChannelIntensity(low, middle, high, _range([one.mean for one in of_cases]), _range([one.deviation for one in of_cases])))
    return tuple(measured)


def _class(index: int, values: MaskValues, images: Sequence[ImageFacts], masks: Sequence[MaskFacts]) -> ClassMeasurements:
    counts = np.array([values.pixels(mask) for mask in masks])         # (cases, K)
    pieces = [found for mask in masks if (found := values.objects(mask, index)) is not None]
    areas = np.concatenate([found.areas_px for found in pieces]) if pieces else np.zeros(1)
    low, middle = (float(value) for value in np.percentile(areas, (5, 50)))
    return ClassMeasurements(
        name=values.names[index],
        pixel_share=float(counts[:, index].sum() / max(1, counts.sum())),
        case_share=float((counts[:, index] > 0).mean()),
        slice_share=sum(values.slices(mask, (index,)) for mask in masks) / sum(image.slices for image in images),
        objects=sum(found.count for found in pieces),
        area_px_p5=low,
        area_px_median=middle,
        area_px_p95=_median([float(np.percentile(found.areas_px, 95)) for found in pieces]),
        diameter_px_median=2 * (middle / np.pi) ** 0.5,
        inner_max_px=_median([found.inner_max_px for found in pieces]),
        inner_median_px=_median([found.inner_median_px for found in pieces]),
    )


def _median(numbers: Sequence[float]) -> float:
    return float(np.median(numbers)) if numbers else 0.0

