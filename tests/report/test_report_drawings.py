"""Which cases are drawn and how, the charts, and the markup below them."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from segkit.errors import ShapeError
from segkit.image import Image
from segkit.metrics.intervals import Interval
from segkit.report.cases import INVENTED, MISSED, OTHER, choose, draw, draw_errors
from segkit.report.charts import Axes, forest_chart, line_chart, number, powers, scatter_chart, span, tenths, ticks
from segkit.report.markup import Markup, join, tag
from segkit.report.training import spelled


def test_best_median_and_ten_worst_are_chosen_each_once() -> None:
    dice = [number / 20 for number in range(20)]
    chosen = choose(dice)
    assert chosen[:3] == [("best", 19), ("median, 10th worst", 9), ("worst", 0)]
    assert [number for _, number in chosen[2:]] == list(range(9))
    assert choose([0.4, 0.3, 0.2, 0.1]) == [("best, 4th worst", 0), ("median, 2nd worst", 2), ("worst", 3), ("3rd worst", 1)]
    assert choose([math.nan, 0.5]) == [("1 of 1", 1)]
    assert choose([0.7, math.nan, 0.5]) == [("1 of 2", 2), ("2 of 2", 0)]
    assert choose([math.nan]) == []


@pytest.mark.parametrize(("size", "drawn"), [((33, 47), (225, 320)), ((400, 300), (400, 300)), ((1200, 600), (480, 240)), ((1, 640), (1, 480))])
def test_small_pictures_are_enlarged_and_large_ones_shrunk(size: tuple[int, int], drawn: tuple[int, int]) -> None:
    empty = np.zeros(size, np.uint8)
    found = draw(Image(np.zeros((1, *size), np.uint8)), empty, empty)
    assert found.drawn.shape == found.errors.shape == found.plain.shape == (*drawn, 3)
    assert found.where == ""


def test_of_a_volume_the_slice_with_most_errors_is_drawn() -> None:
    truth = np.zeros((3, 320, 320), np.uint8)
    truth[0, :9, :9], truth[1, :2, :2] = 1, 1
    prediction = truth.copy()
    prediction[1, 5:8, 5:8], truth[2, 100:, 100:] = 1, 255                     # nine wrong pixels; what is ignored is not wrong
    image = Image(np.stack([np.full((1, 320, 320), value, np.uint8) for value in (10, 20, 30)]))
    found = draw(image, prediction, truth)
    assert found.where == ", slice 2 of 3, the one with most errors"
    assert (found.plain == 20).all()
    assert draw(image, truth, truth).where == ", slice 1 of 3, the one that shows most"


def test_errors_have_the_colour_of_their_kind() -> None:
    prediction, truth = np.array([[0, 1, 2, 1, 0]], np.uint8), np.array([[1, 0, 1, 1, 255]], np.uint8)
    drawn = draw_errors(np.full((1, 5, 3), 100, np.uint8), prediction, truth)
    assert [tuple(pixel) for pixel in drawn[0].tolist()] == [MISSED, INVENTED, OTHER, (60, 60, 60), (60, 60, 60)]


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"its prediction \(4, 4\), its truth \(4, 5\); expected one size"):
        draw(Image(np.zeros((1, 4, 4), np.uint8)), np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))


def test_numbers_lie_where_the_axes_say() -> None:
    axes = Axes((0.0, 10.0), (0.0, 1.0), height=168)                           # 304 units wide from 44, 100 high from 28
    assert axes.place((0.0, 0.0)) == (44, 128)
    assert axes.place((5.0, 1.0)) == (196, 28)
    assert Axes((1.0, 100.0), (0.0, 1.0), is_log=True).column(10.0) == pytest.approx(196)


def test_a_gap_in_a_curve_has_no_point() -> None:
    drawn = line_chart({"disc": [(1, 0.5), (2, math.nan), (3, 0.7)]}, "step", "Dice", "a curve")
    assert drawn.count("<circle") == 2
    assert "nan" not in drawn
    assert "legend" not in drawn
    assert line_chart({"a": [(1, 0.5)], "b": [(1, 0.6)]}, "step", "Dice", "two").count('class="key') == 2


def test_an_interval_is_drawn_to_its_ends_and_an_unknown_one_not_at_all() -> None:
    known = forest_chart({"disc": (Interval(0.6, 0.4, 0.8, 9), [0.2, 1.0])}, "Dice", "scores")
    ends = [float(x) for x in re.findall(r'<line x1="([\d.]+)" x2="[\d.]+" y1="[\d.]+" y2="[\d.]+" class="interval"', known)]
    assert ends == [120, 120, 272]                                             # 304 units from 0.2 to 1: 0.4 is at a quarter of them
    assert 'class="interval"' not in forest_chart({"disc": (Interval(0.5, math.nan, math.nan, 1), [math.nan, 0.5])}, "Dice", "scores")


def test_sizes_over_powers_of_ten_are_drawn_by_their_logarithm() -> None:
    def columns(sizes: list[float]) -> list[float]:
        return [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', scatter_chart([(size, 0.5) for size in sizes], [], "size", "a chart", is_log=True))]

    far, near, none = columns([1, 10, 100]), columns([100, 150, 200]), columns([0, 50, 100])
    assert far[1] - far[0] == pytest.approx(far[2] - far[1], abs=0.02)
    assert near[1] - near[0] == pytest.approx(near[2] - near[1], abs=0.02)     # 1.5 to 2 is less than 1 to 1.5 by its logarithm
    assert none[1] - none[0] == pytest.approx(none[2] - none[1], abs=0.02)     # 0 has none


def test_ticks_are_round_and_ends_are_never_one() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(-3, 12) == [-2, 0, 2, 4, 6, 8, 10, 12]
    assert powers(8, 120) == [10, 20, 50, 100]
    assert powers(1, 1e5) == [1, 10, 100, 1000, 10000, 100000]
    assert span([5.0]) == (2.5, 7.5)
    assert span([0.0, 100.0]) == (0.0, 106.0)
    assert tenths([0.78, 0.86]) == (0.7, 0.9)
    assert tenths([1.0]) == (0.9, 1.0)
    assert tenths([0.0, math.nan]) == (0.0, 0.1)
    assert tenths([]) == (0.0, 1.0)


@pytest.mark.parametrize(("value", "shown"), [(1234.5, "1,234"), (25_000.0, "25k"), (2.5e6, "2.5M"), (0.81234, "0.812"), (-3, "-3")])
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "<b>", tag("i", "&"), None, class_='"x"') == '<p class="&quot;x&quot;">&lt;b&gt;<i>&amp;</i></p>'
    assert join(["<", Markup("<br>")]) == "&lt;<br>"
    assert tag("line", x1=1.23456, stroke_width=2.0, id=None) == '<line x1="1.23" stroke-width="2"/>'


@pytest.mark.parametrize(
    ("value", "words"),
    [({"kind": "fixed", "low": 0}, "kind fixed, low 0"), ([128, 128], "128 × 128"), ([0.75, 1.3], "0.75, 1.3"), (None, "none"), (False, "no"), (1e-3, "0.001")],
)
def test_settings_are_spelled_for_people(value: object, words: str) -> None:
    assert spelled(value) == words
