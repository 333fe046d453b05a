"""The ledger: what became of each file, a line of JSON each, appended as it happens.

    {"run": {"fingerprint": "5f…", "classes": ["nerve"], "files": 3, "listing": "a1…"}}
    {"key": "ward/a.png", "state": [[size, changed]], "outputs": {"ward/a.png": [size, digest]}, "result": {...}}
    {"key": "ward/b.png", "failure": {"path": …, "code": "E_CORRUPT", "message": …}}

A file that is done again has a further line, and its last one counts. The tables are made from it. A process that is killed leaves at most half a
line at the end, which is cut off when the ledger is opened again. A line is written when all that it speaks of is on the disk.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from heapq import nsmallest
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np

from segkit.errors import SettingsError, WriteError
from segkit.io import write_csv
from segkit.io.atomic import reason

FOLDER = ".segkit"

Places: TypeAlias = dict[bytes, int]
"""Digest of a key -> where its last line begins: ten million keys must fit into memory."""

SYNC_SECONDS = 1.0
"""How much of the ledger a power cut may cost: the files of the last second are then done again."""


@dataclass(frozen=True)
class Result:
    """A file that went well: a row of results.csv."""

    file: str
    output: str
    shape: tuple[int, ...]
    areas_px: dict[str, int]
    areas_mm: dict[str, float] | None
    confidence: float
    seconds: float
    notes: tuple[str, ...]
    expected_dice: float | None = None

    def cells(self) -> list[Any]:
        """mm² for a picture, mm³ for a volume; the other one stays empty."""
        areas: list[Any] = []
        for name, pixels in self.areas_px.items():
            size = "" if self.areas_mm is None else f"{self.areas_mm[name]:.4f}"
            areas += [pixels, *((size, "") if len(self.shape) == 2 else ("", size))]
        expected = "" if self.expected_dice is None else f"{self.expected_dice:.4f}"
        sure = (f"{self.confidence:.5f}", expected, f"{self.seconds:.3f}")
        return [self.file, self.output, "x".join(map(str, self.shape)), *areas, *sure, " | ".join(self.notes)]

    @staticmethod
    def header(classes: Iterable[str]) -> list[str]:
        areas = [f"{name}_{unit}" for name in classes for unit in ("px", "mm2", "mm3")]
        return ["file", "output", "shape", *areas, "mean_confidence", "expected_dice", "seconds", "notes"]


@dataclass(frozen=True)
class Failure:
    """A file that could not be used: a row of failures.csv."""

    path: str
    code: str
    message: str


@dataclass(frozen=True)
class Entry:
    """A line of the ledger.

    key : the file's place below INPUT
    state : [size, time of change] of what was read
    outputs : place below OUT -> [size, digest]
    """

    key: str
    result: Result | None = None
    failure: Failure | None = None
    state: tuple[tuple[int, int], ...] = ()
    outputs: Mapping[str, tuple[int, str]] | None = None

    def to_line(self) -> dict[str, Any]:
        if self.failure is not None:
            return {"key": self.key, "failure": asdict(self.failure)}
        assert self.result is not None
        return {"key": self.key, "state": self.state, "outputs": self.outputs, "result": asdict(self.result)}

    @staticmethod
    def from_line(line: Mapping[str, Any]) -> Entry:
        """KeyError or TypeError where it is none."""
        if "failure" in line:
            return Entry(line["key"], failure=Failure(**line["failure"]))
        told = dict(line["result"])
        result = Result(**{**told, "shape": tuple(told["shape"]), "notes": tuple(told["notes"])})
        result.cells()
        outputs = {place: (size, digest) for place, (size, digest) in line["outputs"].items()}
        return Entry(line["key"], result, None, tuple((size, changed) for size, changed in line["state"]), outputs)


class Ledger:
    """One file of lines, open for more. `path` is made where it is missing.

    Raises
    ------
    WriteError
        It can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about: dict[str, Any] = {}                    # what the last run said of itself
        self._last: Places = {}
        self._forgotten = path.with_suffix(".forgotten")   # lines of runs that `forget` was told of
        self._synced = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab+", buffering=0)    # noqa: SIM115 (closed by `close`; nothing waits in it to be written then)
            self._mend()
        except OSError as error:
            raise WriteError(f"{path}: can't be written: {reason(error)}") from error
        for place, line in _lines(path):
            self._note(place, line)
        self._before = self._index(self._forgotten)
        self.began = self._size()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of files that it speaks of."""
        return len(self._last)

    def begin(self, about: Mapping[str, Any]) -> None:
        """A run begins: its lines follow."""
        self.began = self._append({"run": dict(about)})

    def forget(self) -> None:
        """As new; but what was written is remembered, so that it can be taken away."""
        self._file.seek(0)
        try:
            with open(self._forgotten, "ab") as forgotten:
                shutil.copyfileobj(self._file, forgotten)
            self._file.truncate(0)
        except OSError as error:
            raise WriteError(f"{self.path}: can't be written: {reason(error)}") from error
        self.about, self._last, self.began = {}, {}, 0
        self._before = self._index(self._forgotten)

    def add(self, entry: Entry) -> None:
        self._append(entry.to_line())

    def find(self, key: str) -> Entry | None:
        """The last that was said of a file."""
        return _found(self.path, self._last, key)

    def outputs_of(self, key: str) -> Collection[str]:
        """Places below OUT where something was written for a file, by a forgotten run too."""
        entries = (self.find(key), _found(self._forgotten, self._before, key))
        return list(dict.fromkeys(place for entry in entries if entry is not None for place in entry.outputs or ()))

    def entries(self, since: int = 0) -> Iterator[Entry]:
        """The last line of each file, in the order of the ledger; `since` leaves out what came before a place in it."""
        for place, line in _lines(self.path, since):
            if "key" in line and self._last.get(_short(line["key"])) == place:
                yield Entry.from_line(line)

    def least_sure(self, count: int) -> list[Entry]:
        """So many of those with an expected Dice, the lowest first."""
        known = (entry for entry in self.entries() if entry.result is not None and entry.result.expected_dice is not None)
        return nsmallest(count, known, key=_worth_a_look)

    def by_expected_dice(self) -> Iterator[Entry]:
        """Those that went well, the lowest expected Dice first, and those without one last, each in the order of the ledger."""
        expected, places = array("d"), array("q")
        for place, line in _lines(self.path):
            if "result" in line and self._last.get(_short(line["key"])) == place:
                known = line["result"].get("expected_dice")
                expected.append(math.inf if known is None else known)
                places.append(place)
        with open(self.path, "rb") as file:
            for number in np.argsort(np.asarray(expected), kind="stable"):
                file.seek(places[number])
                yield Entry.from_line(json.loads(file.readline()))

    def of_this_run(self) -> Iterator[Entry]:
        return self.entries(self.began)

    def write_tables(self, folder: Path, classes: Iterable[str], *, by_expected_dice: bool = False) -> None:
        """results.csv, in the order of the ledger or of `by_expected_dice`, and failures.csv where there are any; that of an earlier time goes."""
        entries = self.by_expected_dice() if by_expected_dice else self.entries()
        write_csv(folder / "results.csv", Result.header(classes), (entry.result.cells() for entry in entries if entry.result))
        failures = ([row.path, row.code, row.message] for entry in self.entries() if (row := entry.failure))
        first = next(failures, None)
        if first is None:
            (folder / "failures.csv").unlink(missing_ok=True)
        else:
            write_csv(folder / "failures.csv", ["path", "code", "message"], _after(first, failures))

    def close(self) -> None:
        """What was said is on the disk."""
        if self._file.closed:
            return
        try:
            self._sync()
        except OSError as error:
            raise WriteError(f"{self.path}: not written: {reason(error)}") from error
        finally:
            self._file.close()

    def _append(self, line: Mapping[str, Any]) -> int:
        """Where the line begins."""
        place = self._size()
        try:
            text = memoryview(json.dumps(line, ensure_ascii=True).encode() + b"\n")
            while text:
                text = text[self._file.write(text) :]
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync()
        except OSError as error:
            raise WriteError(f"{self.path}: not written: {reason(error)}") from error
        self._note(place, line)
        return place

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def _size(self) -> int:
        return self._file.seek(0, os.SEEK_END)

    def _mend(self) -> None:
        """Cut off half a line at the end."""
        size = self._size()
        if size == 0:
            return
        for length in (2**16, size):                       # the last line is short, or it is anything
            start = max(0, size - length)
            self._file.seek(start)
            end = self._file.read(size - start).rfind(b"\n")
            if end >= 0 or start == 0:
                break
        self._file.truncate(start + end + 1)

    @staticmethod
    def _index(path: Path) -> Places:
        return {_short(line["key"]): place for place, line in _lines(path) if "key" in line} if path.exists() else {}

    def _note(self, place: int, line: Mapping[str, Any]) -> None:
        if "key" in line:
            self._last[_short(line["key"])] = place
        else:
            self.about = dict(line["run"])


def _worth_a_look(entry: Entry) -> tuple[float, str]:
    assert entry.result is not None
    assert entry.result.expected_dice is not None
    return entry.result.expected_dice, entry.key


def _found(path: Path, places: Places, key: str) -> Entry | None:
    place = places.get(_short(key))
    if place is None:
        return None
    for _, line in _lines(path, place):
        entry = Entry.from_line(line)
        return entry if entry.key == key else None
    return None


def _lines(path: Path, since: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """(where it begins, line) for all that are whole; damaged ones are as if they were not there."""
    with open(path, "rb") as file:
        file.seek(since)
        place = since
        for text in file:
            line = _parsed(text)
            if line is not None:
                yield place, line
            place += len(text)


def digest_of(path: Path) -> tuple[int, str]:
    """(size, digest) of a file.

    Raises
    ------
    OSError
        It can't be read.
    """
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, _blake)
        return file.tell(), digest.hexdigest()


def require_same_run(ledger: Ledger, fingerprint: str, out: Path, keys: Callable[[], Collection[str]] | None = None) -> None:
    """Masks of two models, or of two settings, never lie side by side: nobody could tell which is which.

    Where every mask is made anew, because `keys` gives all its files, the ledger is; without `keys` nothing is forgotten.

    Raises
    ------
    SettingsError
        Masks of another model or of other settings would stay in OUT.
    """
    if not ledger.about or ledger.about.get("fingerprint") == fingerprint:
        return
    anew = keys() if keys is not None else ()
    if any(entry.result is not None and entry.key not in anew for entry in ledger.entries()):
        raise SettingsError(f"{out}: holds masks of another model or of other settings; choose another folder with -o, or start anew with --overwrite")
    ledger.forget()


def _blake() -> Any:
    return hashlib.blake2b(digest_size=16)


def _short(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
        if "key" in line:
            _short(Entry.from_line(line).key)
        return line if "key" in line or isinstance(line["run"], dict) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _after(first: Any, rest: Iterable[Any]) -> Iterator[Any]:
    yield first
    yield from rest
