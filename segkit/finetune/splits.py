"""Which cases are trained on, which choose the weights, and which are only scored: no patient, and no picture in two copies, on two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SettingsError, counted

TRAIN, VALIDATION, TEST = SIDES = ("train", "val", "test")

VALIDATION_SHARE, TEST_SHARE = 0.12, 0.2
"""Of the cases, where nobody says it. Few choose the weights well enough; the score that is told should rest on more."""

MOST_VALIDATION = 200
"""Cases: with more each validation takes time from training, and the choice gets no better."""

FEW_TO_TRAIN, FEW_TO_VALIDATE = 5, 3
"""Cases: with fewer a warning is told."""

FEWEST_FOR_TEST = 8
"""Groups: of fewer none can be spared; then the validation cases are scored, and it is said what that is worth."""

DRAWS = 64
"""Divisions that are drawn, of which the best is kept."""

DRAWN = "drawn to choose the best weights"
"""How a note begins that holds for one training and for no folds."""


@dataclass(frozen=True)
class Shelf:
    """What is known of the cases, by their numbers, before they are divided.

    groups : patient, or whatever must stay together
    given : the split that the data set says, or None
    twins : pairs of cases that show the same view; those in `copies` are so alike that they may not stand on two sides of a given split either
    held : (cases, K - 1) whether a case holds each class but the background
    unfit : cases that can't be used, and why
    """

    groups: Sequence[str]
    given: Sequence[str | None]
    twins: Sequence[tuple[int, int]]
    copies: Sequence[tuple[int, int]]
    held: NDArray[np.bool_]
    unfit: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Division:
    """A side for each case that is used, and a group that holds all that must stay together.

    sides : case -> "train", "val" or "test"
    groups : case -> name of its group
    left_out : case -> why
    notes : how it was divided, one sentence each
    """

    sides: Mapping[int, str]
    groups: Mapping[int, str]
    left_out: Mapping[int, str]
    notes: tuple[str, ...]
    seed: int

    def of(self, side: str) -> list[int]:
        return [number for number, its_side in self.sides.items() if its_side == side]

    @property
    def warnings(self) -> list[str]:
        """Where there are too few cases to rely on what comes out, a sentence about it."""
        training, validation = (len(self.of(side)) for side in (TRAIN, VALIDATION))
        few = [
            *([f"{counted(training, 'case')} to train on teach{'es' * (training == 1)} little"] if training < FEW_TO_TRAIN else []),
            *([f"{counted(validation, 'case')} to validate on can hardly choose or tell anything"] if validation < FEW_TO_VALIDATE else []),
        ]
        return [f"warning: {', and '.join(few)}: more pictures are worth more than any setting"] if few else []

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """splits.json, with the names of the cases."""
        return {
            "seed": self.seed,
            "notes": [*self.notes, *self.warnings],
            **{side: [names[number] for number in self.of(side)] for side in SIDES},
            "groups": {names[number]: group for number, group in self.groups.items() if number in self.sides},
            "left_out": {names[number]: why for number, why in self.left_out.items()},
        }


def divide(shelf: Shelf, *, validation_share: float | None = None, test_share: float | None = None, seed: int = 0) -> Division:
    """Heed what the data set says, and draw what it does not.

    Raises
    ------
    SettingsError
        The splits have other names, or there is nothing to train or to validate on.
    """
    sides, left_out, notes = _as_given(shelf)
    groups = bind(shelf.groups, [pair for pair in shelf.twins if sides.get(pair[0]) == sides.get(pair[1])])  # a split that is given stays as it is
    draw = _Draw(groups, shelf.held, seed)
    if TEST not in sides.values():
        whole = len({groups[number] for number in sides})
        share = test_share if test_share is not None else TEST_SHARE if whole >= FEWEST_FOR_TEST else 0
        if share > 0:
            sides |= dict.fromkeys(draw.some(_of(sides, TRAIN), share), TEST)
        notes.append(_told_of_test(len(_of(sides, TEST)), whole))
    if VALIDATION not in sides.values():
        training = _of(sides, TRAIN)
        share = validation_share or min(VALIDATION_SHARE, MOST_VALIDATION / max(1, len(training)))
        sides |= dict.fromkeys(draw.some(training, share), VALIDATION)
        drawn = len(_of(sides, VALIDATION))
        notes.append(f"{DRAWN}: {counted(drawn, 'case')}")
    if not _of(sides, TRAIN) or not _of(sides, VALIDATION):
        raise SettingsError(_indivisible(shelf, sides, groups, left_out))
    return Division(dict(sorted(sides.items())), dict(enumerate(groups)), left_out, tuple(notes), seed)


def fold(division: Division, shelf: Shelf, folds: int) -> list[Division]:
    """The same cases several times, each time others of them validate; what was set aside to be scored stays so.

    A group that alone holds a class is trained on in all: the folds' models become one, and each has to know the class.

    Raises
    ------
    SettingsError
        There are fewer groups than folds.
    """
    used = [number for number, side in division.sides.items() if side != TEST]
    members: dict[str, list[int]] = {}
    for number in used:
        members.setdefault(division.groups[number], []).append(number)
    kept = _sole_holders(members, shelf.held)
    if len(members) - len(kept) < folds:
        alone = f", {len(kept)} more alone hold{'s' * (len(kept) == 1)} a class and must be trained on" if kept else ""
        raise SettingsError(f"--folds {folds}: {counted(len(members) - len(kept), 'group')} (patients) can validate in turn{alone}; choose at most so many")
    hands: list[list[int]] = [[] for _ in range(folds)]
    order = np.random.default_rng(division.seed).permutation(sorted(members.keys() - kept))
    for group in sorted(order, key=lambda name: -len(members[str(name)])):      # large ones first, so that the hands come out even
        min(hands, key=len).extend(members[str(group)])
    parts, shared = [], [note for note in division.notes if not note.startswith(DRAWN)]
    if kept:
        shared.append(f"trained on in all folds, as no other holds their class: {', '.join(sorted(kept))}")
    for number, hand in enumerate(hands):
        sides = {case: VALIDATION if case in set(hand) else side if side == TEST else TRAIN for case, side in division.sides.items()}
        notes = (*shared, f"fold {number} of {folds}: {counted(len(hand), 'case')} to choose the best weights")
        parts.append(Division(sides, division.groups, division.left_out, notes, division.seed))
    return parts


def _sole_holders(members: Mapping[str, Sequence[int]], held: NDArray[np.bool_]) -> set[str]:
    """Groups without which a class would be in none."""
    holds = {name: held[list(numbers)].any(axis=0) for name, numbers in members.items()}
    alone = np.sum(list(holds.values()), axis=0) == 1                              # (K - 1,)
    return {name for name, its in holds.items() if (its & alone).any()}


def bind(groups: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """Groups of which two cases are a pair become one, by the name that comes first."""
    leader = {group: group for group in groups}

    def lead(group: str) -> str:
        while leader[group] != group:
            group = leader[group]
        return group

    for first, second in pairs:
        one, other = sorted((lead(groups[first]), lead(groups[second])))
        leader[other] = one
    return [lead(group) for group in groups]


def _of(sides: Mapping[int, str], side: str) -> list[int]:
    return [number for number, its_side in sides.items() if its_side == side]


def _as_given(shelf: Shelf) -> tuple[dict[int, str], dict[int, str], list[str]]:
    """Sides as the data set says, all to train on where it says nothing; cases to train on that are known to the others are left out."""
    words = Counter(word for word in shelf.given if word)
    strange = sorted(words.keys() - set(SIDES))
    if strange:
        raise SettingsError(
            f"the splits are called {', '.join(words)}; segkit finetune knows {', '.join(SIDES)}: rename {', '.join(strange)}, or leave the column out"
        )
    left_out = dict(shelf.unfit)
    sides = {number: word or TRAIN for number, word in enumerate(shelf.given) if number not in left_out}
    notes = [f"as the data set says: {', '.join(f'{words[side]} {side}' for side in SIDES if words[side])}"] if words else []
    groups = bind(shelf.groups, shelf.copies)
    for side, weaker in ((TEST, (TRAIN, VALIDATION)), (VALIDATION, (TRAIN,))):
        known = {groups[number] for number in _of(sides, side)}
        shared = [number for number, its_side in sides.items() if its_side in weaker and groups[number] in known]
        if shared:
            notes.append(f"left out of training: {counted(len(shared), 'case')} of which the patient, or the same picture, is in {side} too")
        for number in shared:
            left_out[number] = f"its patient, or the same picture, is in {side}"
            del sides[number]
    return sides, left_out, notes


@dataclass(frozen=True)
class _Draw:
    """Draws whole groups, again and again, and keeps the division in which no class is taken from those that are left to train on.

    Of several it is that in which every class is also among those that are taken, and then that of which the share is nearest.
    """

    groups: Sequence[str]
    held: NDArray[np.bool_]
    seed: int

    def some(self, cases: Sequence[int], share: float) -> list[int]:
        """About so many of the cases, at least one group; never all of them."""
        members: dict[str, list[int]] = {}
        for number in cases:
            members.setdefault(self.groups[number], []).append(number)
        if len(members) < 2:
            return []
        rng = np.random.default_rng((self.seed, len(cases)))
        names = sorted(members)
        drawn = [self._one([members[names[index]] for index in rng.permutation(len(names))], share * len(cases)) for _ in range(DRAWS)]
        faults = [self._fault(some, cases, share) for some in drawn]
        return sorted(drawn[faults.index(min(faults))])

    def _one(self, shuffled: Sequence[list[int]], wanted: float) -> list[int]:
        taken: list[int] = list(shuffled[0])
        for group in shuffled[1:-1]:
            if abs(len(taken) + len(group) - wanted) < abs(len(taken) - wanted):
                taken += group
        return taken

    def _fault(self, taken: Sequence[int], cases: Sequence[int], share: float) -> tuple[int, int, float]:
        """(classes that the rest lacks, classes that those taken lack, distance from the share)."""
        rest = sorted(set(cases) - set(taken))
        there = self.held[list(cases)].any(axis=0)
        untaught, unscored = (int((there & ~self.held[list(side)].any(axis=0)).sum()) for side in (rest, taken))
        return untaught, unscored, abs(len(taken) / len(cases) - share)


def _indivisible(shelf: Shelf, sides: Mapping[int, str], groups: Sequence[str], left_out: Mapping[int, str]) -> str:
    """Why there is nothing to train or to validate on, in words."""
    training, test = _of(sides, TRAIN), _of(sides, TEST)
    if not sides:
        return f"none of {counted(len(shelf.groups), 'case')} can be used, the first because {left_out[min(left_out)]}; segkit check says more"
    if not training:
        given = ", ".join(f"{count} {side}" for side, count in Counter(sides.values()).items())
        return f"no case is left to train on: the data set says {given}, {len(left_out)} left out; give some the split train"
    if test and TEST not in shelf.given:
        return f"set aside to be scored: {len(test)} of {counted(len(sides), 'case')}; too few are left to train on: give a smaller --test-split, or 0"
    return (
        f"{counted(len(training), 'case')} of {counted(len({groups[number] for number in training}), 'group')} can't be divided into some to train on "
        "and some to validate on; at least two groups (patients) are needed, and pictures of the same view are one"
    )


def _told_of_test(count: int, groups: int) -> str:
    if count:
        return f"drawn to be only scored, at the end: {counted(count, 'case')}"
    left = "the validation cases are scored, which chose the weights, so that the score is somewhat too good"
    return f"of {counted(groups, 'group')} none is spared for a test: {left}"
