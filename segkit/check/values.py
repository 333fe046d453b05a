"""What the numbers in all masks of a set mean, decided once for the whole set and never file by file.

Tried in this order: what the user says; one file for each class or object; what the layout says (dataset.json); colours;
0 and 255; whole numbers from 0; the numbers of objects; black and white with a soft edge (JPEG, antialiased); a few other values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from segkit.check.facts import FEWEST_OBJECTS, CaseFacts, MaskFacts, Pieces
from segkit.check.objects import Objects, merged
from segkit.check.reading import HALF
from segkit.image import Array
from segkit.labels import COLOURS, GREY, IGNORE_INDEX, Labels
from segkit.layouts import MOST_CLASSES, FoundDataset

Kind = Literal[
    "as told",
    "files of classes",
    "files of objects",
    "colours",
    "0 and 255",
    "class numbers",
    "0/1 and 0/255 mixed",
    "object numbers",
    "soft",
    "levels",
    "none",
]

EDGE_VALUES = 12
"""Soft edges have more values than these; a few among black and white may be classes."""

NEAR_END = 16
"""Values so near to 0 and 255 are black and white that a JPEG or a resizing has moved."""

SOFT_SHARE = 0.8
"""So much of the pixels lies near the ends where black and white were meant."""

STRAY_CASES, STRAY_SHARE, ENOUGH_CASES = 0.02, 1e-3, 10
"""A value is stray that stands in at most 2 % of the cases (or one), at most in 0.1 % of their pixels; in sets of at least 10 cases."""


MOST_MASKS, FULL, ONE_PIECE, MANY, SURE = 0.9, 0.5, 1.1, 8, 0.01
"""Objects are numbered where this holds for more than so much of the masks that show any: so much of the numbers up to the highest is there, in at most so
many pieces each. Many are more than classes mostly are; sizes follow the numbers where Kruskal's and Wallis' test is as certain as this."""


@dataclass(frozen=True)
class MaskValues:
    """The decision.

    Attributes
    ----------
    kind : in words
    labels : class name -> value (or colour) in the masks, background first; None where nothing sensible can be said
    ignore, threshold : as `segkit.labels.Labels`
    are_names_known : the user or the layout named the classes; else they are called by their values
    strays : value that belongs to no class -> numbers of the cases that hold it
    """

    kind: Kind
    labels: Mapping[str, int | str] | None
    ignore: int | str | None = None
    threshold: float | None = None
    are_names_known: bool = False
    strays: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def as_labels(self) -> Labels | None:
        """For training on the masks as they are; None where it is not clear what they mean."""
        return self._as_labels

    @cached_property
    def _as_labels(self) -> Labels | None:
        if self.labels is None or len(self.labels) < 2:
            return None
        return Labels.from_mapping(self.labels, ignore=self.ignore, threshold=self.threshold)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.labels or ())

    def class_of(self, value: int, is_colour: bool = False) -> int | None:
        """Class index of a value of a mask, in colours or in grey; `IGNORE_INDEX` where ignored, None for a stray one."""
        if self.kind == "0/1 and 0/255 mixed":
            return {0: 0, 1: 1, 255: 1}.get(value)
        if self.kind == "object numbers":
            return int(value > 0)
        labels = self.as_labels()
        if labels is None:
            return None
        if value == labels.ignore:
            return IGNORE_INDEX
        if labels.threshold is not None:
            return labels.values.index(max(labels.values) if value > labels.threshold else min(labels.values))
        if labels.colour and not is_colour:
            value *= GREY
        return labels.values.index(value) if value in labels.values else None

    def encode(self, raw: Array) -> NDArray[np.uint8]:
        """Values of a mask -> class indices; what is stray becomes `IGNORE_INDEX` - 1."""
        values, where = np.unique(raw, return_inverse=True)
        classes = [self.class_of(int(value), raw.dtype == COLOURS) for value in values]
        table = np.array([IGNORE_INDEX - 1 if index is None else index for index in classes], np.uint8)
        return table[where].reshape(raw.shape)

    def pixels(self, mask: MaskFacts) -> NDArray[np.int64]:
        """(K,) pixels of each class in a mask."""
        counts = np.zeros(len(self.names), np.int64)
        for value, count in mask.pixels.items():
            index = self.class_of(value, mask.is_colour)
            if index is not None and index < len(counts):
                counts[index] += count
        return counts

    def border(self, mask: MaskFacts) -> float:
        """Share of the border that is no background."""
        foreground = sum(count for value, count in mask.border.items() if self.class_of(value, mask.is_colour) not in (0, None, IGNORE_INDEX))
        return foreground / max(1, sum(mask.border.values()))

    def objects(self, mask: MaskFacts, index: int) -> Objects | None:
        return merged(found for value, found in self._pieces(mask).objects.items() if self.class_of(value, mask.is_colour) == index)

    def slices(self, mask: MaskFacts, indices: Collection[int]) -> int:
        """Slices that hold any of these classes."""
        held = [has for value, has in self._pieces(mask).slices_with.items() if self.class_of(value, mask.is_colour) in indices]
        return int(np.any(held, axis=0).sum()) if held else 0

    def _pieces(self, mask: MaskFacts) -> Pieces:
        """Those of another threshold than 127 are taken for those of 127: between soft edges they hardly differ."""
        return mask.halves if self.threshold is not None and mask.halves is not None else mask.pieces

    def describe(self) -> str:
        """``0 background, 255 foreground``."""
        if self.labels is None:
            return "unclear"
        parts = [f"{value} {name}" for name, value in self.labels.items()]
        ignored = [] if self.ignore is None else [f"{self.ignore} ignored"]
        split = [] if self.threshold is None else [f"told apart at {self.threshold:g}"]
        return ", ".join(parts + ignored + split)

    @property
    def argument(self) -> str | None:
        """For the command line: ``background=0,foreground=255``."""
        if self.labels is None:
            return None
        ignored = [] if self.ignore is None else [f"ignore={self.ignore}"]
        return ",".join([f"{name}={value}" for name, value in self.labels.items()] + ignored)


@dataclass(frozen=True)
class _Census:
    """Which values stand in the masks of the set."""

    masks: Mapping[int, MaskFacts]  # by the number of the case

    @property
    def pixels(self) -> Counter[int]:
        together: Counter[int] = Counter()
        for mask in self.masks.values():
            together.update(mask.pixels)
        return together

    def cases_with(self, value: int) -> tuple[int, ...]:
        return tuple(number for number, mask in self.masks.items() if value in mask.pixels)

    def outside(self, is_known: Callable[[int, bool], bool]) -> dict[int, tuple[int, ...]]:
        """The values, of masks in colours or in grey, that no label names, and the cases that hold them."""
        found: dict[int, list[int]] = {}
        for number, mask in self.masks.items():
            for value in mask.pixels:
                if not is_known(value, mask.is_colour):
                    found.setdefault(value, []).append(number)
        return {value: tuple(found[value]) for value in sorted(found)}

    def rare(self) -> set[int]:
        """Values that stand in few cases, and only in specks."""
        if len(self.masks) < ENOUGH_CASES:
            return set()
        found = set()
        for value in self.pixels:
            cases = self.cases_with(value)
            few = len(cases) <= max(1, STRAY_CASES * len(self.masks))
            if few and all(self.masks[number].pixels[value] <= STRAY_SHARE * self.masks[number].size for number in cases):
                found.add(value)
        return found


def decide_values(found: FoundDataset, facts: Sequence[CaseFacts], given: Labels | None = None) -> MaskValues:
    """What the values mean; `given` is what the user says."""
    census = _Census({number: fact.mask for number, fact in enumerate(facts) if fact.mask is not None})
    kinds = {case.combine for case in found.cases}
    if given is not None:
        return _as_told(given, census)
    if "classes" in kinds:
        names = class_names(found)
        return MaskValues("files of classes", {"background": 0} | {name: index for index, name in enumerate(names, start=1)}, are_names_known=True)
    if kinds == {"instances"}:
        return MaskValues("files of objects", {"background": 0, "foreground": 255})
    if found.labels is not None and len(found.labels) > 1:
        return _as_told(Labels.from_mapping(found.labels, ignore=found.ignore), census)
    return _by_themselves(census)


def class_names(found: FoundDataset) -> tuple[str, ...]:
    """Names of the classes that have files of their own, in the order of the alphabet: their numbers begin at 1."""
    return tuple(sorted({name for case in found.cases for name in case.classes}))


def _as_told(given: Labels, census: _Census) -> MaskValues:
    told = MaskValues("as told", given.mapping, _ignored(given), given.threshold, True)
    strays = census.outside(lambda value, is_colour: told.class_of(value, is_colour) is not None)
    if strays and told.ignore is None and _are_ends(given) and len(census.pixels) > EDGE_VALUES and _is_soft(census.pixels):
        return MaskValues("soft", told.labels, threshold=HALF, are_names_known=True)
    return MaskValues("as told", told.labels, told.ignore, told.threshold, True, strays)


def _are_ends(labels: Labels) -> bool:
    """Two classes, black and white, that no threshold tells apart yet."""
    low, high = min(labels.values), max(labels.values)
    return len(labels.values) == 2 and labels.threshold is None and not labels.colour and low <= NEAR_END and 255 - NEAR_END <= high <= 255


def _ignored(labels: Labels) -> int | str | None:
    return f"#{labels.ignore:06x}" if labels.colour and labels.ignore is not None else labels.ignore


def _by_themselves(census: _Census) -> MaskValues:
    pixels = census.pixels
    if not pixels:
        return MaskValues("none", None)
    if any(mask.is_colour for mask in census.masks.values()):
        return _colours(census)
    rare = census.rare()
    values = set(pixels) - rare if len(set(pixels) - rare) > 1 else set(pixels)
    strays = {value: census.cases_with(value) for value in sorted(set(pixels) - values)}
    if values <= {0, 255}:
        return MaskValues("0 and 255", {"background": 0, "foreground": 255}, strays=strays)
    if values <= {0, 1, 255} and not any({1, 255} <= mask.values for mask in census.masks.values()) and 255 in values:
        return MaskValues("0/1 and 0/255 mixed", {"background": 0, "foreground": 255}, strays=strays)
    if _are_objects(census):
        return MaskValues("object numbers", {"background": 0, "foreground": 255})
    if max(values - {255}) < MOST_CLASSES:
        return _numbers(values, strays)
    if _is_soft(pixels):
        return MaskValues("soft", {"background": 0, "foreground": 255}, threshold=HALF)
    if len(values) <= MOST_CLASSES:
        ordered = sorted(values)
        return MaskValues("levels", {"background": ordered[0]} | {f"class_{value}": value for value in ordered[1:]}, strays=strays)
    return MaskValues("none", None)


def _numbers(values: set[int], strays: dict[int, tuple[int, ...]]) -> MaskValues:
    """0, 1, 2 ... and perhaps 255 for what is to be ignored; a hole among them is a class that no mask holds."""
    classes = sorted(values - {255})
    background, *others = classes if classes[0] == 0 else [0, *classes]
    names = {"foreground": others[0]} if len(others) == 1 else {f"class_{value}": value for value in others}
    return MaskValues("class numbers", {"background": background, **names}, 255 if 255 in values else None, strays=strays)


def _colours(census: _Census) -> MaskValues:
    pixels = Counter[int]()
    for mask in census.masks.values():
        for value, count in mask.pixels.items():
            pixels[value if mask.is_colour else value * GREY] += count
    if len(pixels) > MOST_CLASSES or max(pixels) > 0xFFFFFF:               # the latter: grey of 16 bits among them
        return MaskValues("none", None)
    background = 0 if 0 in pixels else pixels.most_common(1)[0][0]
    others = sorted(set(pixels) - {background})
    colours: dict[str, int | str] = {"background": f"#{background:06x}"}
    return MaskValues("colours", colours | {f"colour_{value:06x}": f"#{value:06x}" for value in others})


def _are_objects(census: _Census) -> bool:
    """Each number is one piece, and the numbers mean nothing from mask to mask."""
    filled = [mask for mask in census.masks.values() if mask.distinct > 1]
    pieces = [mask.pieces_per_value for mask in filled if mask.pieces_per_value is not None]
    if not pieces or float(np.median(pieces)) > ONE_PIECE:
        return False
    numbered = [mask for mask in filled if _is_numbered(mask)]
    return _stand_once(filled) or (len(numbered) > MOST_MASKS * len(filled) and _mean_nothing(numbered))


def _stand_once(masks: Sequence[MaskFacts]) -> bool:
    """More numbers than there are classes, hardly one in two masks: counted on from mask to mask."""
    found = Counter(value for mask in masks for value in mask.pixels if value)
    return len(found) > MOST_CLASSES and sum(count == 1 for count in found.values()) > MOST_MASKS * len(found)


def _mean_nothing(masks: Sequence[MaskFacts]) -> bool:
    """More numbers than there are classes; or many, up to another in each mask; or of sizes that have nothing to do with the number."""
    highest = [max(mask.pixels) for mask in masks]
    is_gapless = 2 * sum(mask.distinct - 1 == high for mask, high in zip(masks, highest, strict=True)) > len(masks)
    varies = len(set(highest)) > max(1, len(masks) // 4)
    return max(highest) > MOST_CLASSES or (varies and max(highest) > MANY) or ((varies or is_gapless) and not _sizes_follow(masks))


def _is_numbered(mask: MaskFacts) -> bool:
    """From 0 on, few numbers are missing, and what is high is not most of the foreground, as it is where black and white have a soft edge."""
    if min(mask.pixels) < 0 or mask.distinct - 1 < FULL * max(mask.pixels):
        return False
    white = sum(count for value, count in mask.pixels.items() if 255 - NEAR_END <= value <= 255)
    return 2 * white < mask.size - mask.pixels.get(0, 0)


def _sizes_follow(masks: Sequence[MaskFacts]) -> bool:
    """Whether each number has a size of its own, as classes have and numbered objects have not; also where it can't be told."""
    areas = [[mask.pixels[value] for mask in masks if value in mask.pixels] for value in range(1, max(mask.distinct for mask in masks))]
    groups = [group for group in areas if len(group) >= 3]
    if len(masks) < ENOUGH_CASES or len(groups) < FEWEST_OBJECTS or np.ptp(np.concatenate(groups)) == 0:
        return True
    return float(stats.kruskal(*groups).pvalue) < SURE


def _is_soft(pixels: Counter[int]) -> bool:
    total = sum(pixels.values())
    near = sum(count for value, count in pixels.items() if value <= NEAR_END or 255 - NEAR_END <= value <= 255)
    many = len(pixels) > EDGE_VALUES or near > (1 - STRAY_SHARE) * total
    return max(pixels) <= 255 and many and near > SOFT_SHARE * total and any(value >= 255 - NEAR_END for value in pixels)
