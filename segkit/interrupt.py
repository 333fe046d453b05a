"""Ctrl-C and SIGTERM as a wish, not an end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stop:
    """`signal` is the number of the signal that asked to stop, None until then; `is_asked` also where the work itself has had enough."""

    signal: int | None = None
    has_enough: bool = False

    @property
    def is_asked(self) -> bool:
        return self.has_enough or self.signal is not None


@contextmanager
def listening() -> Iterator[Stop]:
    """Inside the block SIGINT and SIGTERM only set `Stop.signal`, so that a step can be finished; a second one ends the process."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python hands signals to the main thread alone
        return

    def ask(number: int, frame: Any) -> None:
        if stop.signal is not None:
            raise KeyboardInterrupt
        stop.signal = number

    before: dict[int, Callable[..., Any] | int | None] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
