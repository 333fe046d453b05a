"""Shares of a run: several processes, on one machine or many, divide the files among themselves without a word.

Each file belongs to the part that a hash of its place below INPUT says: the same on every machine and in every run. Each part has a ledger
of its own; `merge` puts them together once all are complete, and refuses before.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from segkit.errors import SettingsError
from segkit.folder.ledger import FOLDER, Entry, Ledger, digest_of
from segkit.folder.outputs import sweep
from segkit.folder.review import check_review, require_expected, write_review
from segkit.io import ReadSettings, Source, write_json
from segkit.io.claim import claimed
from segkit.io.files import stem
from segkit.labels import Labels

SHOWN = 5
"""Names that a message lists before it breaks off."""


@dataclass(frozen=True)
class Part:
    """Part `number` (from 0) of `count`; the only one of one part is the whole.

    Raises
    ------
    SettingsError
        There is no such part.
    """

    number: int = 0
    count: int = 1
    told_by: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise SettingsError(f"part {self.number} of {self.count}: parts are numbered from 0 to {self.count - 1} (--part-id, --num-parts)")

    @property
    def suffix(self) -> str:
        """For names of files: "" for the whole, "-0003-of-0016"."""
        return "" if self.count == 1 else f"-{self.number:04d}-of-{self.count:04d}"

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}" + (f" ({self.told_by})" if self.told_by else "")

    def holds(self, key: str) -> bool:
        return part_of(key, self.count) == self.number

    def choose(self, sources: Sequence[Source]) -> Sequence[Source]:
        return sources if self.count == 1 else [source for source in sources if self.holds(source.key)]


WHOLE = Part()


def part_of(key: str, count: int) -> int:
    """Names that differ only in how their accents are written (NFC, NFD) are one name on some disks, and so belong to one part."""
    written = unicodedata.normalize("NFC", key).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(written, digest_size=8).digest()) % count


def find_part(number: int | None, count: int | None, environment: Mapping[str, str] = os.environ) -> Part:
    """As given, else as torchrun or SLURM (srun, or an array of jobs) say, else the whole.

    Raises
    ------
    SettingsError
        Only one of the two is given, or there is no such part.
    """
    if (number is None) != (count is None):
        raise SettingsError("--num-parts and --part-id go together: part 0 of 4 is --num-parts 4 --part-id 0")
    if number is not None and count is not None:
        return Part(number, count)
    for told_by, marker, own, all_of_them, first in _SCHEDULERS:
        if marker in environment and environment.get(all_of_them, "").isdecimal() and environment.get(own, "").isdecimal():
            parts = int(environment[all_of_them])
            if parts > 1:
                return Part(int(environment[own]) - int(environment.get(first, "0")), parts, told_by)
    return WHOLE


_SCHEDULERS = (
    ("torchrun", "TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", ""),
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", ""),
    ("a SLURM array", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
)
"""Name, the variable that only it sets, own number, their count, number of the first. A batch script without srun is one process, and does it all."""


def listing_of(keys: Iterable[str]) -> dict[str, str | int]:
    """What all parts must agree on: how many files there are, and which."""
    digest, count = hashlib.blake2b(digest_size=16), 0
    for key in keys:
        digest.update(key.encode("utf-8", "surrogateescape") + b"\0")
        count += 1
    return {"files": count, "listing": digest.hexdigest()}


LEDGER_OF_A_PART = re.compile(r"ledger-\d{4}-of-\d{4}\.jsonl")


@dataclass(frozen=True)
class Merged:
    """What `merge` put together."""

    parts: int
    results: int
    failures: int
    review: tuple[Path, ...] = ()


def merge(out: Path, review: int | None = None) -> Merged:
    """Make one ledger, and its tables, of those of all parts; proves first that they are complete.

    With `review`, results.csv begins with what to look at first, and so many cases are drawn on a sheet.

    That is: every part is there, none is at work, all are of one model, its settings and one list of files, every file of that list
    has one entry, in the part that it belongs to, and every file that was written is there with the content that was written.

    Raises
    ------
    SettingsError
        One of it is not so; the message says what to do.
    """
    folder = out / FOLDER
    paths = sorted(path for path in folder.glob("ledger-*-of-*.jsonl") if LEDGER_OF_A_PART.fullmatch(path.name))  # and no copies
    if not paths:
        raise SettingsError(f"{out}: holds no parts of a run (looked for {FOLDER}/ledger-*-of-*.jsonl); run segkit predict with --num-parts first")
    count = int(paths[0].stem.rpartition("-")[2])
    parts = [Part(number, count) for number in range(count)]
    expected = [folder / f"ledger{part.suffix}.jsonl" for part in parts]
    _require_all(paths, expected, out)
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(claimed(folder, f"lock{part.suffix}"))
        stack.enter_context(claimed(folder, "lock"))
        ledgers = [stack.enter_context(Ledger(path)) for path in expected]
        about = _agreed(ledgers, out)
        _require_complete(parts, ledgers, about, out)
        if review is not None:
            _require_reviewable(ledgers, out, review)
        sweep(out)
        return _put_together(ledgers, about, out, review)


def _require_all(paths: Sequence[Path], expected: Sequence[Path], out: Path) -> None:
    strange = [path.name for path in paths if path not in expected]
    if strange:
        raise SettingsError(f"{out}: holds parts of two divisions ({paths[0].name} and {strange[0]}); run them into folders of their own")
    missing = [path.stem.removeprefix("ledger-") for path in expected if path not in paths]
    if missing:
        raise SettingsError(f"{out}: {len(missing)} of {len(expected)} parts were never run: {_some(missing)}; run them, then merge")


def _agreed(ledgers: Sequence[Ledger], out: Path) -> dict[str, object]:
    """What all runs said of themselves."""
    first = ledgers[0].about
    for ledger in ledgers:
        if not isinstance(ledger.about.get("files"), int):
            raise SettingsError(f"{ledger.path}: has lost its beginning; run this part again with --resume")
        for word, what in (("fingerprint", "of another model or of other settings"), ("listing", "of another list of files")):
            if ledger.about.get(word) != first.get(word):
                raise SettingsError(f"{out}: {ledger.path.name} is {what} than {ledgers[0].path.name}; run all parts again with --resume on the same INPUT")
    return first


def _require_complete(parts: Sequence[Part], ledgers: Sequence[Ledger], about: Mapping[str, object], out: Path) -> None:
    for part, ledger in zip(parts, ledgers, strict=True):
        strange = [entry.key for entry in ledger.entries() if not part.holds(entry.key)]
        if strange:
            raise SettingsError(f"{ledger.path}: holds {len(strange)} files of other parts: {_some(strange)}; remove this ledger, and run {part} again")
        spoiled = [entry.key for entry in ledger.entries() if not is_there(entry, out)]
        if spoiled:
            raise SettingsError(f"{out}: the results of {len(spoiled)} files are gone or changed: {_some(spoiled)}; run {part} again with --resume")
    total = sum(map(len, ledgers))
    files = int(str(about["files"]))
    if total > files:
        raise SettingsError(f"{out}: holds results of {total - files} files that INPUT has no longer; run all parts again with --overwrite")
    if total != files:
        short = [str(part) for part, ledger in zip(parts, ledgers, strict=True) if len(ledger) < ledger.about.get("share", 0)]
        raise SettingsError(f"{out}: {total} of {files} files are done; go on with --resume: {_some(short)}")


def is_there(entry: Entry, out: Path) -> bool:
    """Whether all that was written for a file still is there as it was written; a failure wrote nothing."""
    return all(is_as_written(out / place, written) for place, written in (entry.outputs or {}).items())


def is_as_written(path: Path, written: tuple[int, str]) -> bool:
    try:
        return digest_of(path) == tuple(written)
    except OSError:
        return False


def _require_reviewable(ledgers: Sequence[Ledger], out: Path, review: int) -> None:
    results = [entry.result for ledger in ledgers for entry in ledger.least_sure(1)]
    require_expected(bool(results), f"the model that made {out}", review)
    places = ((entry.key, PurePath(place)) for ledger in ledgers for entry in ledger.entries() for place in entry.outputs or ())
    check_review(((key, stem(place)) for key, place in places if len(place.parts) == 1), review)


def _put_together(ledgers: Sequence[Ledger], about: Mapping[str, object], out: Path, review: int | None) -> Merged:
    path = out / FOLDER / "ledger.jsonl"
    path.unlink(missing_ok=True)
    results = failures = 0
    with Ledger(path) as whole:
        whole.begin(about)
        for entry in (entry for ledger in ledgers for entry in ledger.entries()):
            whole.add(entry)
            results += entry.result is not None
            failures += entry.failure is not None
        classes = about.get("classes")
        whole.write_tables(out, classes if isinstance(classes, list) else [], by_expected_dice=review is not None)
        told = _told_by_the_first(out)
        pages = () if review is None else write_review(whole, out, review, *_how_read(told, out))
    write_json(out / "run.json", {**told, "files": results + failures, "failures": failures, "parts": len(ledgers)})
    return Merged(len(ledgers), results, failures, pages)


def _how_read(told: Mapping[str, Any], out: Path) -> tuple[Labels, ReadSettings]:
    """What the values of the masks mean, and how the pictures were read."""
    try:
        labels = Labels.from_mapping(told["labels"], ignore=told["ignore"], threshold=told["mask_threshold"])
        return labels, ReadSettings.model_validate(told["settings"]["read"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SettingsError(f"{out}: {FOLDER}/run-0000-of-*.json is damaged or gone, which says how to draw the sheet; run part 0 with --resume") from error


def _told_by_the_first(out: Path) -> dict[str, Any]:
    runs = sorted((out / FOLDER).glob("run-0000-of-*.json"))
    try:
        told = json.loads(runs[0].read_text(encoding="utf-8")) if runs else {}
    except ValueError:  # damaged: the masks and the ledgers are what counts
        told = {}
    return told if isinstance(told, dict) else {}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
