"""Reading in a process of its own: a decoder that crashes or hangs costs one file, and decoding happens while the network is at work.

What goes through the pipes is pickled, but for the pixels, which are bytes. Both ends are ours.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import fields
from types import TracebackType
from typing import IO, Any

import numpy as np

from segkit.errors import CrashError, SegkitError, VanishedError
from segkit.image import Image
from segkit.io.files import Source
from segkit.io.origin import ReadSettings
from segkit.io.read import read_source

PATIENCE_SECONDS = 120.0
"""A file that takes longer is given up: it hangs."""

ATTEMPTS = 2
"""A process may also be ended from outside (for want of memory): so once more, in a fresh one."""


class Reader:
    """A process that reads one file after the other; `read` may be called from one thread at a time.

    It is started when it is first needed, and again where it died.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = ""
        self._is_over = False

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """A thread that waits in `read` is told that the run is over, and starts nothing more."""
        self._is_over = True
        self.close()

    def read(self, source: Source, settings: ReadSettings) -> Image:
        """As ``read_source(source, settings)``.

        Raises
        ------
        ReadError
            One of its kinds; `CrashError` where reading ended the process twice, or took too long.
        MemoryError
            It does not fit into memory.
        """
        for _ in range(ATTEMPTS):
            answer = None if self._is_over else self._ask_in_time(source, settings)
            if isinstance(answer, Image):
                return answer
            if answer is not None:
                raise answer
            if self._is_over:
                raise CrashError(f"{source.name}: was not read to its end, because the run was over")
        raise CrashError(f"{source.name}: reading it ended the process ({self._ended}), twice; it may be damaged: leave it out")

    def _ask_in_time(self, source: Source, settings: ReadSettings) -> Image | Exception | None:
        """The picture, or what is wrong with it; None where the process ended meanwhile."""
        process, hangs = self.start(), threading.Event()
        alarm = threading.Timer(self._patience, _give_up, (process, hangs))
        alarm.start()
        try:
            return _ask(process, source, settings)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # it ended, or was closed from another thread
            self._ended = self.close()
        finally:
            alarm.cancel()
        if hangs.is_set():
            return CrashError(f"{source.name}: could not be read within {self._patience:g} s; it may be damaged: leave it out, or raise --patience")
        return None

    def start(self) -> subprocess.Popen[bytes]:
        """Have the process there before it is needed."""
        if self._process is None:
            path = os.pathsep.join(filter(None, sys.path))
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from segkit.io.apart import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # some decoders speak to the terminal; what matters comes as an error
                env={**os.environ, "PYTHONPATH": path},
            )
        return self._process

    def close(self) -> str:
        """End the process, also in the middle of a file; how it ended, in words."""
        process, self._process = self._process, None
        if process is None:
            return "not started"
        with suppress(OSError):
            process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        status = process.wait()
        return signal.Signals(-status).name if status < 0 else f"exit code {status}"


def _give_up(process: subprocess.Popen[bytes], hangs: threading.Event) -> None:
    hangs.set()
    process.kill()


def _ask(process: subprocess.Popen[bytes], source: Source, settings: ReadSettings) -> Image | Exception:
    assert process.stdin is not None
    assert process.stdout is not None
    pickle.dump((source, settings), process.stdin)
    process.stdin.flush()
    answer: Any = pickle.load(process.stdout)
    if isinstance(answer, Exception):
        return answer
    rest, shape, dtype = answer
    pixels = np.empty(shape, dtype)
    _fill(pixels.reshape(-1).view(np.uint8).data, process.stdout)
    return Image(pixels=pixels, **rest)


def _fill(buffer: memoryview, stream: IO[bytes]) -> None:
    """EOFError where the stream ends before the buffer is full."""
    done = 0
    while done < len(buffer):
        count = stream.readinto(buffer[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count


def serve() -> None:
    """The life of the process: it reads what it is asked for until its parent hangs up, or is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says what ends
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)                                 # whatever else is printed must not get among the answers
    while True:
        try:
            source, settings = pickle.load(questions)
        except EOFError:
            return
        try:
            image = read_unchanged(source, settings)
        except (SegkitError, MemoryError) as error:
            pickle.dump(error, answers)
        except Exception as error:  # a fault of ours or of a library: the file is named, the run goes on
            pickle.dump(CrashError(f"{source.name}: reading it failed ({type(error).__name__}: {error}); please report it"), answers)
        else:
            _send(image, answers)
        with suppress(BrokenPipeError):
            answers.flush()


def read_unchanged(source: Source, settings: ReadSettings) -> Image:
    """As ``read_source(source, settings)``, and `VanishedError` where a file changed meanwhile: half of it may be old and half new."""
    before = state_of(source)
    image = read_source(source, settings)
    if before != state_of(source):
        raise VanishedError(f"{source.name}: changed while it was read; run again when it is complete")
    return image


def state_of(source: Source) -> list[list[int]]:
    """[size, time of the last change in ns] of each file; empty where one is not there."""
    try:
        stats = [os.stat(file) for file in source.files]
    except OSError:
        return []
    return [[stat.st_size, stat.st_mtime_ns] for stat in stats]


def _send(image: Image, stream: IO[bytes]) -> None:
    pixels = np.ascontiguousarray(image.pixels)
    rest = {field.name: getattr(image, field.name) for field in fields(image) if field.name != "pixels"}
    pickle.dump((rest, pixels.shape, pixels.dtype.str), stream)
    stream.write(pixels.reshape(-1).view(np.uint8).data)
