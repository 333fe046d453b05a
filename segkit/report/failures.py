"""Where the model fails: the score against size, position and brightness, and a sentence only where the difference is clear."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from segkit.errors import counted
from segkit.metrics import Evaluation
from segkit.metrics.intervals import Floats, Interval, bootstrap_mean
from segkit.report.charts import grid_chart, number, scatter_chart
from segkit.report.markup import Markup, figure, folded, join, note, section, table, tag
from segkit.report.material import Material
from segkit.report.sight import Place, Sight

FEWEST = 12
"""Cases with the class: of fewer the thirds say nothing."""

CHANCE = 0.01
"""How seldom shuffled scores may show so large a gap between two thirds for a sentence: there are four measures of each class, and intervals of four or
five cases alone are apart by chance in one of ten."""

SHUFFLES = 2000

UNFOLDED = 3
"""Classes whose charts are seen at once; those of more are folded."""


@dataclass(frozen=True)
class Measure:
    """Something that scores may depend on; `who` names its lower, middle and upper third, `is_log` is for what spans powers of ten."""

    name: str
    who: tuple[str, str, str]
    unit: str = ""
    is_log: bool = False


DISTANCE = Measure(
    "distance from the centre (1: a corner)",
    ("objects near the centre", "objects between centre and border", "objects far from the centre"),
)
BRIGHTNESS = Measure("mean brightness of the picture", ("dark pictures", "pictures of middling brightness", "bright pictures"), is_log=True)
CONTRAST = Measure(
    "contrast of the object to the rest, in deviations",
    ("faint objects", "objects of middling contrast", "objects that stand out"),
)


def size_measure(unit: str) -> Measure:
    return Measure("size in the truth", ("small objects", "objects of middling size", "large objects"), unit, is_log=True)


@dataclass(frozen=True)
class Third:
    """Cases with a measure from `low` to `high`."""

    low: float
    high: float
    cases: int
    dice: Interval


@dataclass(frozen=True)
class Pattern:
    """The thirds, and how often shuffled scores show as large a gap between two of them."""

    thirds: tuple[Third, ...]
    chance: float


def find_pattern(values: Sequence[float], dice: Sequence[float], groups: Sequence[str]) -> Pattern:
    """The cases in three parts by their values; equal values stay together, so that a part may be missing."""
    measured, scored, whose = np.array(values), np.array(dice, dtype=np.float64), np.array(groups, dtype=object)
    part = np.digitize(measured, np.quantile(measured, [1 / 3, 2 / 3]), right=True)
    found = []
    for here in (part == which for which in np.unique(part)):
        mean = bootstrap_mean(scored[here][:, None], list(whose[here]))
        found.append(Third(float(measured[here].min()), float(measured[here].max()), int(here.sum()), mean))
    return Pattern(tuple(found), _chance(scored, part))


def _chance(scored: Floats, part: NDArray[np.integer]) -> float:
    """Share of the shuffles, the scores as they are among them, whose largest gap between the means of two parts is as large."""
    members = (part[:, None] == np.unique(part)).astype(np.float64)                                     # (N, parts)
    shuffled = np.random.default_rng(0).permuted(np.tile(scored, (SHUFFLES, 1)), axis=1)
    gaps = np.ptp(np.vstack([scored, shuffled]) @ members / members.sum(axis=0), axis=1)
    return float(np.mean(gaps >= gaps[0] - 1e-12))


def sentence(measure: Measure, pattern: Pattern) -> str | None:
    """"Small objects do worse: Dice 0.41 below 300 px, 0.78 above 900 px." None where no two thirds are clearly apart."""
    parts = pattern.thirds
    worst, best = (pick(range(len(parts)), key=lambda place: parts[place].dice.mean) for pick in (min, max))
    if pattern.chance > CHANCE or not parts[worst].dice.is_apart_from(parts[best].dice):
        return None
    who = measure.who[worst if len(parts) == 3 or worst == 0 else 2]
    told = ", ".join(f"{parts[place].dice.mean:.2f} {_where(measure, parts, place)}" for place in (worst, best))
    return f"{who.capitalize()} do worse: Dice {told}."


def _where(measure: Measure, parts: Sequence[Third], place: int) -> str:
    unit = f" {measure.unit}" if measure.unit else ""
    ends = [number((one.high + other.low) / 2) for one, other in pairwise(parts)]
    if place == 0:
        return f"below {ends[0]}{unit}"
    return f"above {ends[-1]}{unit}" if place == len(parts) - 1 else f"from {ends[0]} to {ends[1]}{unit}"


def failures_section(material: Material, sights: Sequence[Sight] | str) -> Markup:
    """For each class; `sights` are those of the scored cases, or why they can't be seen."""
    title = "Where it fails"
    if material.evaluation is None:
        return section("failures", title, note("No case was scored by itself, so nothing can be said of where the model fails."))
    if len(material.evaluation.cases) < FEWEST:
        return section("failures", title, note(f"Scored: {_too_few(len(material.evaluation.cases))}"))
    if isinstance(sights, str):
        return section("failures", title, note(f"The pictures can't be read any more, so nothing can be said of where the model fails: {sights}"))
    names = material.evaluation.names
    blocks = [_Class(material.evaluation, material.groups, sights, name) for name in names]
    parts = [join([tag("h3", block.name), block.told()]) if len(names) <= UNFOLDED else folded(block.name, block.told()) for block in blocks]
    how = (
        "Each dot is a case that holds the class. The bars are the means of the lower, middle and upper third of the cases, with 95 % intervals over "
        f"patients. A sentence stands only where two of them are apart, and shuffled scores are so far apart in at most {CHANCE:.0%} of the tries."
    )
    return section("failures", title, tag("p", how), *parts)


def _too_few(cases: int) -> str:
    return f"{counted(cases, 'case')}. That is too few to say where the model fails: it takes {FEWEST}."


@dataclass(frozen=True)
class _Class:
    """A class over the cases that hold it."""

    evaluation: Evaluation
    groups: Sequence[str]
    sights: Sequence[Sight]
    name: str

    @property
    def held(self) -> list[int]:
        """Numbers of the cases that hold it, and in which it was seen."""
        return [number for number, sight in enumerate(self.sights) if self.name in sight.places and not math.isnan(self.dice[number])]

    @property
    def dice(self) -> Floats:
        return np.array([case.classes[self.name].scores["dice"] for case in self.evaluation.cases])

    def told(self) -> Markup:
        held = self.held
        if not held:
            return note("No scored case holds it.")
        if len(held) < FEWEST:
            return note(f"In the truth of {_too_few(len(held))}")
        measured = self._measured(held)
        dice, groups = self.dice[held].tolist(), [self.groups[one] for one in held]
        patterns = {measure: find_pattern(values, dice, groups) for measure, values in measured.items()}
        said = [told for measure, pattern in patterns.items() if (told := sentence(measure, pattern))]
        charts = [self._chart(measure, values, patterns[measure], dice) for measure, values in measured.items()]
        grid = figure(grid_chart(self._grid(held), f"Dice of {self.name} by its place in the picture"), "Mean Dice by where its centre lies in the picture.")
        lines = [tag("p", line, class_="finding") for line in said] or [tag("p", f"No pattern is visible with {len(held)} cases.", class_="finding")]
        return join([*lines, tag("div", *charts, grid, class_="charts"), _table(self.name, patterns)])

    def _measured(self, held: Sequence[int]) -> Mapping[Measure, list[float]]:
        size, unit = self._sizes()
        of_place: Mapping[Measure, Callable[[Place], float]] = {DISTANCE: lambda place: place.from_centre, CONTRAST: lambda place: place.contrast}
        measured = {size_measure(unit): [size[one] for one in held], BRIGHTNESS: [self.sights[one].brightness for one in held]}
        return measured | {measure: [read(self.sights[one].places[self.name]) for one in held] for measure, read in of_place.items()}

    def _sizes(self) -> tuple[list[float], str]:
        """Of the class in each case: mm² or mm³ where all files know their spacing, and are of one kind."""
        pixels = [case.classes[self.name].truth_px for case in self.evaluation.cases]
        spacings = [case.spacing_mm for case in self.evaluation.cases]
        if None in spacings or len({len(one or ()) for one in spacings}) > 1:
            return [float(count) for count in pixels], "px"
        areas = [count * math.prod(spacing or ()) for count, spacing in zip(pixels, spacings, strict=True)]
        return areas, "mm²" if len(spacings[0] or ()) == 2 else "mm³"

    def _chart(self, measure: Measure, values: Sequence[float], pattern: Pattern, dice: Sequence[float]) -> Markup:
        points = list(zip(values, dice, strict=True))
        steps = [((part.low, part.high), part.dice) for part in pattern.thirds]
        label = f"{measure.name}{f', {measure.unit}' if measure.unit else ''}"
        return figure(scatter_chart(points, steps, label, f"Dice of {self.name} by {label}", is_log=measure.is_log))

    def _grid(self, held: Sequence[int]) -> list[list[tuple[float, int]]]:
        cells: list[list[list[float]]] = [[[] for _ in range(3)] for _ in range(3)]
        for one in held:
            place = self.sights[one].places[self.name]
            cells[min(2, int(3 * place.row))][min(2, int(3 * place.column))].append(self.dice[one])
        return [[(float(np.mean(cell)) if cell else math.nan, len(cell)) for cell in line] for line in cells]


def _table(name: str, patterns: Mapping[Measure, Pattern]) -> Markup:
    rows = [
        [who.capitalize(), *_row(measure, part)]
        for measure, pattern in patterns.items()
        for who, part in zip(measure.who if len(pattern.thirds) == 3 else measure.who[::2], pattern.thirds, strict=False)
    ]
    header = ["", "from … to", "n", "Dice", "95 % interval"]
    return folded("The thirds in numbers", table(f"Dice of {name} in thirds of the cases", header, rows, numbers=range(1, 5)))


def _row(measure: Measure, part: Third) -> list[object]:
    ends = f"{part.dice.low:.3f} to {part.dice.high:.3f}" if part.dice.is_known else "–"
    return [f"{number(part.low)} to {number(part.high)} {measure.unit}", part.cases, f"{part.dice.mean:.3f}", ends]
