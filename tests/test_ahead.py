"""Work that is begun before its result is asked for."""

from __future__ import annotations

from itertools import count
from threading import Barrier, Event

import pytest

from segkit.ahead import in_threads


def test_results_keep_their_order_while_others_are_on_their_way() -> None:
    both = Barrier(2, timeout=20)

    def work(number: int) -> int:
        both.wait()                                         # goes on only when another one is begun too
        return number**2

    assert list(in_threads(range(6), work, threads=2, is_enough=lambda waiting: len(waiting) > 2)) == [0, 1, 4, 9, 16, 25]


def test_no_more_is_begun_than_is_enough() -> None:
    begun: list[int] = []
    made = in_threads(count(), begun.append, threads=1, is_enough=lambda waiting: len(waiting) > 3)
    next(made)
    assert len(begun) <= 4
    made.close()  # type: ignore[attr-defined]


def test_who_leaves_early_can_cut_short_what_was_begun() -> None:
    cut_short = Event()
    made = in_threads([0, 1], lambda number: number == 0 or cut_short.wait(20), threads=1, is_enough=lambda waiting: len(waiting) > 1, leaving=cut_short.set)
    assert next(made) is True
    assert not cut_short.is_set()
    made.close()  # type: ignore[attr-defined]
    assert cut_short.is_set()


def test_a_fault_comes_through_in_its_turn() -> None:
    made = in_threads([2, 1, 0], lambda number: 2 // number, threads=1, is_enough=lambda waiting: len(waiting) > 1)
    assert [next(made), next(made)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(made)
