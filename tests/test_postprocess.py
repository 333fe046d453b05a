"""Rules for the shape of objects, on masks that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segkit.config import validate_run
from segkit.errors import SettingsError
from segkit.postprocess import PostprocessSettings, piece_sizes, tidy


def draw(*rows: str) -> NDArray[np.uint8]:
    return np.array([[0 if letter == "." else int(letter) for letter in row] for row in rows], np.uint8)


def tidied(indices: NDArray[np.uint8], **settings: object) -> list[list[int]]:
    return tidy(indices, PostprocessSettings.model_validate(settings)).tolist()


def test_nothing_is_done_unless_it_is_asked_for() -> None:
    indices = draw("1.1", "...")
    assert tidy(indices, PostprocessSettings()) is indices


def test_pieces_below_the_smallest_size_become_background() -> None:
    assert tidied(draw("11....", "1....2", "...2.2"), min_size_px=3) == draw("11....", "1.....", "......").tolist()
    assert tidied(draw("11....", "1....2", "...2.2"), min_size_px=2) == draw("11....", "1....2", ".....2").tolist()


def test_pieces_touch_at_corners_too() -> None:
    assert tidied(draw("1..", ".1.", "..1"), min_size_px=3) == draw("1..", ".1.", "..1").tolist()


def test_the_largest_piece_of_each_class_stays() -> None:
    assert tidied(draw("11.1..", "....22", "2....2"), largest_only=True) == draw("11....", "....22", ".....2").tolist()


def test_the_largest_piece_goes_too_where_it_is_below_the_smallest_size() -> None:
    assert tidied(draw("11.1"), largest_only=True, min_size_px=3) == [[0, 0, 0, 0]]


def test_holes_are_filled_up_to_the_border_of_other_classes() -> None:
    assert tidied(draw("1111", "1.21", "1111"), fill_holes=True) == draw("1111", "1121", "1111").tolist()


def test_a_bay_is_no_hole() -> None:
    bay = draw("111", "1..", "111")
    assert tidied(bay, fill_holes=True) == bay.tolist()


def test_in_a_volume_pieces_reach_through_the_slices() -> None:
    volume = np.stack([draw("1..", "..."), draw("1..", "..1"), draw("1..", "...")])
    result = tidy(volume, PostprocessSettings(min_size_px=2))
    assert result.tolist() == np.stack([draw("1..", "...")] * 3).tolist()


def test_an_empty_mask_stays_empty() -> None:
    empty = np.zeros((33, 47), np.uint8)
    np.testing.assert_array_equal(tidy(empty, PostprocessSettings(min_size_px=9, largest_only=True, fill_holes=True)), empty)


def test_what_it_was_given_stays_as_it_was() -> None:
    indices = draw("1..2")
    tidy(indices, PostprocessSettings(min_size_px=2))
    assert indices.tolist() == [[1, 0, 0, 2]]


def test_a_class_may_have_rules_of_its_own_in_place_of_those_for_all() -> None:
    settings = PostprocessSettings.model_validate({"min_size_px": 2, "classes": {"vessel": {"fill_holes": True}}})
    tidied = tidy(draw("1.222", "1.2.2", "..222", "1...2"), settings, ("background", "nerve", "vessel"))
    assert tidied.tolist() == draw("1.222", "1.222", "..222", "....2").tolist()
    assert tidy(draw("2.1"), settings, ("background", "nerve", "vessel")).tolist() == [[2, 0, 0]]


def test_every_piece_has_its_size() -> None:
    assert sorted(piece_sizes(draw("11.1", "...1", "1...") == 1).tolist()) == [1, 2, 2]
    assert piece_sizes(draw("..") == 1).tolist() == []


def test_rules_for_a_class_that_there_is_not_are_refused() -> None:
    with pytest.raises(SettingsError, match="predict.postprocess.classes: 'nerv' is no class of data.labels; did you mean nerve?"):
        validate_run({"data": {"labels": {"background": 0, "nerve": 1}}, "predict": {"postprocess": {"classes": {"nerv": {}}}}}, "run.yaml")
    with pytest.raises(SettingsError, match="run.predict.postprocess.classes.nerve.min_size is not a setting of PieceRules; did you mean min_size_px?"):
        validate_run({"data": {"labels": {"background": 0, "nerve": 1}}, "predict": {"postprocess": {"classes": {"nerve": {"min_size": 3}}}}}, "run.yaml")


def test_a_size_below_0_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        PostprocessSettings(min_size_px=-1)
