"""Cases looked at in processes of their own: a decoder that crashes or hangs costs one case, and all processors are at work."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue

from segkit.check.facts import CaseFacts, Problem, look_at
from segkit.errors import CrashError
from segkit.io import ReadSettings
from segkit.layouts import FoundCase

PATIENCE_SECONDS = 300.0
"""A case that takes longer is given up: it hangs."""

CASES_EACH = 8
"""A process is worth its start for so many cases."""

MOST_WORKERS = 16


def look_at_all(cases: Sequence[FoundCase], classes: Sequence[str], settings: ReadSettings, workers: int | None = None) -> Iterator[CaseFacts]:
    """What `look_at` says of each, in their order; by so many processes, None for as many as there are processors, 0 for here."""
    if workers is None:
        workers = min(os.cpu_count() or 1, MOST_WORKERS, -(-len(cases) // CASES_EACH))
    if workers == 0:
        yield from (look_at(case, classes, settings) for case in cases)
        return
    crew = [_Worker() for _ in range(workers)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in crew:
        idle.put(worker)

    def ask(case: FoundCase) -> CaseFacts:
        worker = idle.get()
        try:
            return worker.look_at(case, classes, settings)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(ask, cases)
    finally:
        for worker in crew:
            worker.close()
        pool.shutdown(cancel_futures=True)


class _Worker:
    """A process that looks at one case after the other; started when it is first needed, and again where it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False

    def look_at(self, case: FoundCase, classes: Sequence[str], settings: ReadSettings) -> CaseFacts:
        process, hangs = self._started(), threading.Event()
        alarm = threading.Timer(PATIENCE_SECONDS, _give_up, (process, hangs))
        alarm.start()
        try:
            return _ask(process, (case, tuple(classes), settings))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            ended = f"could not be read within {PATIENCE_SECONDS:g} s" if hangs.is_set() else "reading it ended the process"
            self._stop()
            return CaseFacts(problem=_crashed(case, f"{case.image}: {ended} (or its mask did); it may be damaged: leave it out"))
        finally:
            alarm.cancel()

    def close(self) -> None:
        """End the process, also in the middle of a case."""
        self._is_over = True
        self._stop()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None and not self._is_over:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from segkit.check.workers import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # some decoders speak to the terminal; what matters comes as an answer
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        if self._process is None:
            raise CrashError("the check was ended")
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            process.wait()


def _give_up(process: subprocess.Popen[bytes], hangs: threading.Event) -> None:
    hangs.set()
    process.kill()


def _ask(process: subprocess.Popen[bytes], question: tuple[FoundCase, tuple[str, ...], ReadSettings]) -> CaseFacts:
    assert process.stdin is not None
    assert process.stdout is not None
    pickle.dump(question, process.stdin)
    process.stdin.flush()
    answer: CaseFacts = pickle.load(process.stdout)
    return answer


def _crashed(case: FoundCase, message: str) -> Problem:
    return Problem(case.image, CrashError.code, message, False)


def serve() -> None:
    """The life of the process: it looks at what it is told until its parent hangs up, or is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says what ends
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)                                 # whatever else is printed must not get among the answers
    with suppress(EOFError, BrokenPipeError):
        while True:
            case, classes, settings = pickle.load(questions)
            pickle.dump(_looked_at(case, classes, settings), answers)
            answers.flush()


def _looked_at(case: FoundCase, classes: Sequence[str], settings: ReadSettings) -> CaseFacts:
    try:
        return look_at(case, classes, settings)
    except MemoryError:
        return CaseFacts(problem=_crashed(case, f"{case.image}: does not fit into memory; leave it out, or cut it into parts"))
    except Exception as error:  # a fault of ours or of a library: the file is named, the check goes on
        return CaseFacts(problem=_crashed(case, f"{case.image}: looking at it failed ({type(error).__name__}: {error}); please report it"))
