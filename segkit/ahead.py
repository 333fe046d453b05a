"""Work that is begun before its result is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_threads(
    given: Iterable[Given],
    work: Callable[[Given], Made],
    *,
    threads: int,
    is_enough: Callable[[deque[Future[Made]]], bool],
    leaving: Callable[[], object] = lambda: None,
) -> Iterator[Made]:
    """What comes of each, in their order; more is begun ahead until it `is_enough`.

    Left early, what was not begun is not done, and what was begun is waited for; `leaving` may cut it short.
    """
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for one in given:
            waiting.append(pool.submit(work, one))
            while is_enough(waiting):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        leaving()
        pool.shutdown(wait=True, cancel_futures=True)
