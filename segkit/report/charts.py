"""Charts as SVG within the page: their colours are the page's own, so that they are right by day and by night.

All are `WIDTH` units wide and are shown about as large on a phone, so that their letters can be read there too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from segkit.metrics.intervals import Interval
from segkit.report.markup import Markup, join, tag

WIDTH, HEIGHT = 360, 240

LEFT, RIGHT, TOP, BOTTOM = 44, 12, 28, 40
"""Margins, with room for numbers and the names of the axes."""

WIDE = 5
"""From so many times the smallest number on a logarithmic axis is worth it."""

ROW = 30
"""Height of a line of a forest plot."""

SERIES = 8
"""Colours of lines and dots, from the start again for more."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Axes:
    """Where numbers lie; a logarithmic axis is for numbers above 0."""

    x: Point
    y: Point
    height: int = HEIGHT
    is_log: bool = False

    def column(self, value: float) -> float:
        low, high, value = (*map(math.log, self.x), math.log(value)) if self.is_log else (*self.x, value)
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def row(self, value: float) -> float:
        low, high = self.y
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)

    def place(self, point: Point) -> tuple[float, float]:
        return self.column(point[0]), self.row(point[1])

    def frame(self, x_label: str, y_label: str) -> Iterator[Markup]:
        """Lines of the numbers, and what they are of."""
        for value in ticks(*self.y):
            yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=self.row(value), y2=self.row(value), class_="grid")
            yield tag("text", number(value), x=LEFT - 6, y=self.row(value) + 4, class_="end")
        floor = self.height - BOTTOM
        for value in powers(*self.x) if self.is_log else ticks(*self.x):
            yield tag("line", x1=self.column(value), x2=self.column(value), y1=floor, y2=floor + 4, class_="axis")
            yield tag("text", number(value), x=self.column(value), y=floor + 16, class_="middle")
        yield tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="axis")
        yield tag("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=self.height - 6, class_="middle label")
        yield tag("text", y_label, x=2, y=TOP - 14, class_="label")


def line_chart(series: Mapping[str, Sequence[Point]], x_label: str, y_label: str, title: str) -> Markup:
    """A line for each name; a number that is not finite leaves a gap, and the vertical axis spans the others."""
    shown = {name: [point for point in points if all(map(math.isfinite, point))] for name, points in series.items()}
    every = [point for points in shown.values() for point in points]
    axes = Axes(span([x for x, _ in every], 0.0), span([y for _, y in every]))
    drawn = [*axes.frame(x_label, y_label)]
    for place, points in enumerate(shown.values()):
        colour = f"s{place % SERIES}"
        drawn.append(tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in map(axes.place, points)), class_=f"line {colour}"))
        drawn += [tag("circle", cx=x, cy=y, r=2.5, class_=f"dot {colour}") for x, y in map(axes.place, points)]
    return join([_svg(drawn, title), legend(list(series)) if len(series) > 1 else None])


def reliability_chart(curves: Mapping[str, Sequence[tuple[float, float, float]]], title: str) -> Markup:
    """(mean confidence, share that is right, share of the pixels) of each bin; the larger a dot, the more pixels."""
    every = [value for curve in curves.values() for said, right, _ in curve for value in (said, right)]
    limits = tenths([*every, 1.0])
    axes = Axes(limits, limits, height=WIDTH - 12)
    drawn = [*axes.frame("what the model says", "share that is right")]
    drawn.append(tag("line", x1=axes.column(limits[0]), y1=axes.row(limits[0]), x2=axes.column(1), y2=axes.row(1), class_="ideal"))
    for place, curve in enumerate(curves.values()):
        places = [(axes.column(said), axes.row(right), 2.5 + 5 * math.sqrt(share)) for said, right, share in curve]
        drawn.append(tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places), class_=f"line s{place}"))
        drawn += [tag("circle", cx=x, cy=y, r=radius, class_=f"dot s{place}") for x, y, radius in places]
    return join([_svg(drawn, title, axes.height), legend(list(curves))])


def forest_chart(rows: Mapping[str, tuple[Interval, Sequence[float]]], x_label: str, title: str) -> Markup:
    """A line for each name: its mean with the interval, over the pale dots of the cases."""
    height = BOTTOM + 2 * ROW * len(rows)
    limits = tenths([value for interval, cases in rows.values() for value in (interval.mean, *cases)])
    axes = Axes(limits, (0.0, 1.0), height)
    drawn = [tag("line", x1=axes.column(x), x2=axes.column(x), y1=0, y2=height - BOTTOM, class_="grid") for x in ticks(*limits)]
    drawn += [tag("text", number(x), x=axes.column(x), y=height - BOTTOM + 16, class_="middle") for x in ticks(*limits)]
    drawn.append(tag("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=height - 6, class_="middle label"))
    for place, (name, (interval, cases)) in enumerate(rows.items()):
        middle = 2 * ROW * place + 1.25 * ROW
        drawn.append(tag("text", cut(name, 40), x=LEFT, y=middle - 0.65 * ROW, class_="name"))
        spread = ((rank * 0.618) % 1 - 0.5 for rank in range(len(cases)))                           # the golden ratio spreads evenly
        drawn += [tag("circle", cx=axes.column(x), cy=middle + 12 * up, r=2.2, class_="pale") for x, up in zip(cases, spread, strict=True) if math.isfinite(x)]
        drawn += _bar(axes, middle, interval)
    return _svg(drawn, title, height)


def _bar(axes: Axes, row: float, interval: Interval) -> Iterator[Markup]:
    if interval.is_known:
        yield tag("line", x1=axes.column(interval.low), x2=axes.column(interval.high), y1=row, y2=row, class_="interval")
        for end in (interval.low, interval.high):
            yield tag("line", x1=axes.column(end), x2=axes.column(end), y1=row - 5, y2=row + 5, class_="interval")
    if math.isfinite(interval.mean):
        yield tag("circle", cx=axes.column(interval.mean), cy=row, r=4.5, class_="dot s0")


def scatter_chart(points: Sequence[Point], steps: Sequence[tuple[Point, Interval]], x_label: str, title: str, *, is_log: bool = False) -> Markup:
    """Scores over a measure. `steps` are ((from, to), mean) of the thirds: a bar, and its interval as a band."""
    measured = [x for x, _ in points]
    is_log = is_log and max(measured) > WIDE * min(measured) > 0
    axes = Axes(_log_span(measured) if is_log else span(measured), tenths([y for _, y in points]), is_log=is_log)
    drawn = [*axes.frame(x_label, "Dice")]
    for (low, high), interval in steps:
        left, right = axes.column(low), max(axes.column(high), axes.column(low) + 2)
        if interval.is_known:
            top = axes.row(interval.high)
            drawn.append(tag("rect", x=left, y=top, width=right - left, height=axes.row(interval.low) - top, class_="band"))
        drawn.append(tag("line", x1=left, x2=right, y1=axes.row(interval.mean), y2=axes.row(interval.mean), class_="step"))
    drawn += [tag("circle", cx=x, cy=y, r=2.8, class_="dot s0 many") for x, y in map(axes.place, points)]
    return _svg(drawn, title)


def square_chart(points: Sequence[Point], x_label: str, y_label: str, title: str) -> Markup:
    """Dots of shares on two axes that are the same, and the line on which both are."""
    limits = low, high = tenths([value for point in points for value in point])
    axes = Axes(limits, limits, height=WIDTH - 12)
    ideal = tag("line", x1=axes.column(low), y1=axes.row(low), x2=axes.column(high), y2=axes.row(high), class_="ideal")
    dots = [tag("circle", cx=x, cy=y, r=3.0, class_="dot s0 many") for x, y in map(axes.place, points)]
    return _svg([*axes.frame(x_label, y_label), ideal, *dots], title, axes.height)


def grid_chart(cells: Sequence[Sequence[tuple[float, int]]], title: str) -> Markup:
    """(mean, cases) of places in a picture, the upper left one first; the darker a cell, the better. Nothing is said of a place without cases."""
    side, gap = 76, 4
    drawn = []
    for row, line in enumerate(cells):
        for column, (mean, count) in enumerate(line):
            left, top = column * (side + gap), row * (side + gap)
            drawn.append(tag("rect", x=left, y=top, width=side, height=side, rx=4, class_="empty" if count == 0 else "cell"))
            if count:
                drawn.append(tag("rect", x=left, y=top, width=side, height=side, rx=4, class_="heat", fill_opacity=0.1 + 0.6 * mean))
                drawn.append(tag("text", f"{mean:.2f}", x=left + side / 2, y=top + side / 2 + 1, class_="middle value"))
            drawn.append(tag("text", f"n = {count}", x=left + side / 2, y=top + side / 2 + 19, class_="middle count"))
    extent = 3 * side + 2 * gap
    return tag("svg", tag("title", title), *drawn, viewBox=f"-6 -6 {extent + 12} {extent + 12}", role="img", class_="grid3")


def legend(names: Sequence[str]) -> Markup:
    return tag("p", *(tag("span", tag("i", class_=f"key s{place % SERIES}"), name) for place, name in enumerate(names)), class_="legend")


def _svg(drawn: Sequence[Markup], title: str, height: float = HEIGHT) -> Markup:
    return tag("svg", tag("title", title), *drawn, viewBox=f"0 0 {WIDTH} {height:g}", role="img")


def span(values: Sequence[float], margin: float = 0.06) -> Point:
    """Ends of an axis around the values: never one and the same number, and not below 0 where no value is."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    around = margin * (high - low) if high > low else 0.5 * abs(high) or 0.5
    return max(0.0, low - around) if low >= 0 else low - around, high + around


def tenths(shares: Sequence[float]) -> Point:
    """Ends of an axis for numbers from 0 to 1, at round tenths; those that are not finite don't count."""
    finite = [share for share in shares if math.isfinite(share)] or [0.0, 1.0]
    low, high = math.floor(10 * min(finite) + 1e-9) / 10, math.ceil(10 * max(finite) - 1e-9) / 10
    return (low, high) if high > low else (max(0.0, low - 0.1), max(0.1, high))


def _log_span(values: Sequence[float]) -> Point:
    return min(values) / 1.15, max(values) * 1.15


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from one end to the other, about five: 0.2, 0.4, 0.6, ..."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda size: abs(math.log(size * power / rough)))
    return [round(count * step, 12) for count in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def powers(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20, ... between the ends; over many powers of ten only those, so that they do not touch."""
    first, last, decades = math.floor(math.log10(low)), math.ceil(math.log10(high)), math.log10(high / low)
    steps = (1,) if decades > 3 else (1, 3) if decades > 2 else (1, 2, 5)
    found = [size * 10.0**power for power in range(first, last + 1) for size in steps if low <= size * 10.0**power <= high]
    return found or [low, high]


def number(value: float) -> str:
    """1234.5 -> "1,234", 25000.0 -> "25k", 0.81234 -> "0.812"."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.3g}k"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
