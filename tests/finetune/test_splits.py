"""Who is trained on, who validates, who is scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from segkit.errors import SettingsError
from segkit.finetune.splits import Division, Shelf, bind, divide, fold


def shelf(groups: Sequence[str], given: Sequence[str | None] | None = None, **more: Any) -> Shelf:
    held = more.pop("held", np.ones((len(groups), 1), bool))
    return Shelf(groups, given or [None] * len(groups), more.pop("twins", ()), more.pop("copies", ()), held, **more)


def sides(division: Division) -> dict[str, int]:
    return {side: len(division.of(side)) for side in ("train", "val", "test")}


def test_without_splits_some_are_set_aside_and_nobody_stands_on_two_sides() -> None:
    groups = [f"patient{number // 3}" for number in range(60)]
    division = divide(shelf(groups))
    assert sides(division) == {"train": 42, "val": 6, "test": 12}                       # a fifth of 60, then an eighth of 48
    for side in ("val", "test"):
        own = {groups[number] for number in division.of(side)}
        assert own.isdisjoint(groups[number] for number in range(60) if number not in division.of(side))


def test_the_seed_decides_who() -> None:
    groups = [str(number) for number in range(40)]
    first, same, other = (divide(shelf(groups), seed=seed).of("test") for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_pictures_of_one_view_stay_together() -> None:
    groups = [str(number) for number in range(20)]
    pairs = [(number, number + 1) for number in range(0, 20, 2)]
    division = divide(shelf(groups, twins=pairs))
    assert all(division.sides[first] == division.sides[second] for first, second in pairs)


def test_a_given_split_is_heeded_and_only_what_it_lacks_is_drawn() -> None:
    given = ["train"] * 20 + ["test"] * 5
    division = divide(shelf([str(number) for number in range(25)], given))
    assert division.of("test") == [20, 21, 22, 23, 24]
    assert sides(division) == {"train": 18, "val": 2, "test": 5}
    whole = divide(shelf(list("abcd"), ["train", "train", "val", "test"]))
    assert sides(whole) == {"train": 2, "val": 1, "test": 1}


def test_cases_to_train_on_that_the_test_knows_are_left_out_with_the_reason() -> None:
    given = ["train"] * 8 + ["test"] * 2
    groups = ["a", "b", "c", "d", "e", "f", "g", "h", "a", "z"]
    division = divide(shelf(groups, given, twins=[(1, 9), (2, 9)], copies=[(1, 9)]))
    assert division.left_out.keys() == {0, 1}                                           # the patient a, and the copy; a mere likeness stays
    assert "in test" in division.left_out[0]
    assert any("left out of training: 2 cases of which the patient" in note for note in division.notes)
    used = {side: {division.groups[number] for number in division.of(side)} for side in ("train", "val", "test")}
    assert used["test"].isdisjoint(used["train"] | used["val"])                         # segkit train refuses a group on two sides


def test_every_class_stands_on_every_side_where_that_can_be() -> None:
    held = np.zeros((30, 2), bool)
    held[:, 0] = True
    held[[3, 11, 19, 27], 1] = True                                                     # a rare class in four cases
    for seed in range(5):
        division = divide(shelf([str(number) for number in range(30)], held=held), seed=seed)
        assert all(held[division.of(side)].any(axis=0).all() for side in ("train", "val", "test"))


@pytest.mark.parametrize("rare", [1, 2])
def test_of_a_class_that_one_or_two_cases_hold_one_is_trained_on(rare: int) -> None:
    held = np.ones((30, 2), bool)
    held[:, 1] = [number in (7, 21)[:rare] for number in range(30)]
    for seed in range(20):
        division = divide(shelf([str(number // 2) for number in range(30)], held=held), seed=seed)
        assert held[division.of("train")].any(axis=0).all()


def test_a_few_groups_are_not_spared_for_a_test_and_it_is_said() -> None:
    division = divide(shelf(list("abcde")))
    assert sides(division) == {"train": 4, "val": 1, "test": 0}
    assert any("somewhat too good" in note for note in division.notes)


def test_what_can_not_be_used_is_on_no_side() -> None:
    division = divide(shelf(list("abcdef"), unfit={2: "cut short"}))
    assert 2 not in division.sides
    assert division.to_json(list("uvwxyz"))["left_out"] == {"w": "cut short"}


def test_one_group_can_not_be_divided() -> None:
    with pytest.raises(SettingsError, match="3 cases of 1 group can't be divided"):
        divide(shelf(["a", "a", "a"]))


def test_why_cases_can_not_be_divided_is_told_apart() -> None:
    with pytest.raises(SettingsError, match="none of 2 cases can be used, the first because cut short"):
        divide(shelf(list("ab"), unfit={0: "cut short", 1: "empty"}))
    with pytest.raises(SettingsError, match="no case is left to train on: the data set says 3 test, 1 left out; give some the split train"):
        divide(shelf(list("abcd"), ["test", "test", "test", "train"], unfit={3: "empty"}))
    with pytest.raises(SettingsError, match="set aside to be scored: 9 of 10 cases; .* give a smaller --test-split, or 0"):
        divide(shelf(list("abcdefghij")), test_share=0.9, validation_share=0.9)
    with pytest.raises(SettingsError, match="2 cases of 1 group can't be divided"):     # of those to train on, not of the test
        divide(shelf(list("aabc"), ["train", "train", "test", "test"]))


def test_unknown_words_for_splits_are_refused() -> None:
    with pytest.raises(SettingsError, match="rename fold1"):
        divide(shelf(list("ab"), ["train", "fold1"]))


def test_in_folds_every_case_validates_once_and_the_test_stays() -> None:
    groups = [f"p{number // 2}" for number in range(22)]
    given = ["train"] * 18 + ["test"] * 4
    division = divide(shelf(groups, given))
    parts = fold(division, shelf(groups, given), 3)
    validating = [number for part in parts for number in part.of("val")]
    assert sorted(validating) == list(range(18))
    assert all(part.of("test") == [18, 19, 20, 21] for part in parts)
    assert [len(part.of("val")) for part in parts] == [6, 6, 6]
    assert any(note.startswith("drawn to choose the best weights") for note in division.notes)
    assert [part.notes[-1] for part in parts] == [f"fold {number} of 3: 6 cases to choose the best weights" for number in range(3)]
    assert not any(note.startswith("drawn to choose the best weights") for part in parts for note in part.notes)
    for part in parts:
        assert {groups[number] for number in part.of("val")}.isdisjoint(groups[number] for number in part.of("train"))


def test_who_alone_holds_a_class_is_trained_on_in_every_fold() -> None:
    held = np.ones((12, 3), bool)
    held[:, 1] = [number == 4 for number in range(12)]
    held[:, 2] = [number in (8, 9) for number in range(12)]                              # both of p4
    given = shelf([f"p{number // 2}" for number in range(12)], ["train"] * 12, held=held)
    division = divide(given, test_share=0)
    parts = fold(division, given, 3)
    assert sorted(number for part in parts for number in part.of("val")) == [0, 1, 2, 3, 6, 7, 10, 11]
    assert all(held[part.of("train")].any(axis=0).all() for part in parts)
    assert "trained on in all folds, as no other holds their class: p2, p4" in parts[0].notes
    with pytest.raises(SettingsError, match="--folds 5: 4 groups .patients. can validate in turn, 2 more alone hold a class and must be trained on"):
        fold(division, given, 5)


def test_more_folds_than_groups_are_refused() -> None:
    given = shelf(list("aabbcc"))
    with pytest.raises(SettingsError, match=r"--folds 4: 3 groups \(patients\) can validate in turn; choose at most so many"):
        fold(divide(given, test_share=0), given, 4)


def test_groups_are_bound_over_others() -> None:
    assert bind(["c", "b", "a", "d"], [(0, 1), (1, 2)]) == ["a", "a", "a", "d"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("train val", "warning: 1 case to train on teaches little, and 1 case to validate on can hardly choose or tell anything: more pictures"),
        ("train train train train val val val", "warning: 4 cases to train on teach little: more pictures"),
        ("train train train train train val val", "warning: 2 cases to validate on can hardly choose or tell anything: more pictures"),
    ],
)
def test_few_cases_are_warned_of_in_one_sentence_that_stands_in_the_record_too(given: str, expected: str) -> None:
    splits = given.split()
    division = divide(shelf([str(number) for number in range(len(splits))], splits))
    (warning,) = division.warnings
    assert warning.startswith(expected)
    assert division.to_json([str(number) for number in range(len(splits))])["notes"][-1] == warning


def test_enough_cases_are_not_warned_of_and_each_fold_is_asked_for_itself() -> None:
    division = divide(shelf([str(number) for number in range(8)], [*["train"] * 5, *["val"] * 3]), test_share=0)
    assert division.warnings == []
    assert [len(part.warnings) for part in fold(division, shelf([str(number) for number in range(8)]), 2)] == [1, 1]   # 4 to train on
