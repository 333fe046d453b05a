"""One run: what is to be done, done, and written down."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from segkit import __version__
from segkit.attend import require_attention
from segkit.config import PredictSettings
from segkit.engines import describe
from segkit.errors import SettingsError
from segkit.folder.ledger import FOLDER, Entry, Failure, Ledger, Result, require_same_run
from segkit.folder.outputs import Extras, check_out, discard, masks_of, sweep
from segkit.folder.pipeline import count_readers, read_ahead
from segkit.folder.procedure import Procedure
from segkit.folder.review import check_review, require_expected, write_review
from segkit.folder.shards import WHOLE, Part, is_as_written, is_there, listing_of
from segkit.interrupt import Stop, listening
from segkit.io import ReadSettings, Source, choose_split, read_manifest, write_json
from segkit.io.apart import PATIENCE_SECONDS, Reader, state_of
from segkit.io.atomic import reason
from segkit.io.claim import claimed
from segkit.io.files import check_outputs, shared_outputs, stem
from segkit.memory import keep_freed_memory
from segkit.predict import Model

Item = TypeVar("Item")


@dataclass(frozen=True)
class Options:
    """How a run goes about it.

    resume : leave out what is finished, of the same model and settings, and still as it was written
    overwrite : forget what an earlier run of another model or other settings left in OUT
    stop_on_error : the first file that can't be used ends the run
    part : the share of the files that is this process's
    readers : processes that read; None for as many as keep the network busy, 0 to read in this one
    patience_seconds : a file that takes longer to read is given up
    review : cases on a sheet of those to look at first; results.csv is in that order then
    """

    resume: bool = False
    overwrite: bool = False
    stop_on_error: bool = False
    part: Part = WHOLE
    readers: int | None = None
    patience_seconds: float = PATIENCE_SECONDS
    review: int | None = None


NO_EXTRAS = Extras()

AS_USUAL = Options()


@dataclass(frozen=True)
class Summary:
    """What became of the files of this run.

    skipped : finished by an earlier run
    signal : number of the signal that ended it before its time, None otherwise
    seconds : from the first file to the last
    review : pages of those to look at first
    """

    ledger: Path
    began: int
    done: int
    failed: int
    skipped: int
    signal: int | None
    seconds: float
    review: tuple[Path, ...] = ()

    def entries(self) -> Iterator[Entry]:
        """Read from the ledger: there may be millions."""
        with Ledger(self.ledger) as ledger:
            yield from ledger.entries(self.began)

    @property
    def results(self) -> tuple[Result, ...]:
        return tuple(entry.result for entry in self.entries() if entry.result is not None)

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(entry.failure for entry in self.entries() if entry.failure is not None)


def manifest_sources(manifest: Path, split: str | None) -> tuple[Source, ...]:
    """The pictures of a manifest; each result goes where its picture lies below the manifest's folder.

    Raises
    ------
    SettingsError
        No row has that split.
    CollisionError
        Two results would have the same name.
    """
    chosen = [row.image for row in choose_split(read_manifest(manifest), split, manifest)]
    sources = tuple(Source((image,), _below(image, manifest.parent).with_name(stem(image))) for image in chosen)
    check_outputs(sources)
    return sources


def _below(image: Path, folder: Path) -> Path:
    """The picture's place below the manifest's folder, or its name alone: ../ must not lead a result out of the output folder."""
    whole, root = Path(os.path.abspath(image)), Path(os.path.abspath(folder))
    return whole.relative_to(root) if whole.is_relative_to(root) else Path(image.name)


class Watch(Protocol):
    """Hands on what is done, one by one, out of so many; and may draw a bar that says what."""

    def __call__(self, items: Iterable[Item], total: int, what: str, /) -> Iterable[Item]: ...


def unwatched(items: Iterable[Item], total: int, what: str) -> Iterable[Item]:
    return items


def predict_files(
    sources: Sequence[Source],
    model: Model,
    out: Path,
    *,
    predict: PredictSettings,
    read: ReadSettings,
    extras: Extras = NO_EXTRAS,
    options: Options = AS_USUAL,
    known_failures: Sequence[Failure] = (),
    watch: Watch = unwatched,
    elsewhere: Elsewhere | None = None,
) -> Summary:
    """Walk every source and write what it gives; a bad file gets a row and stops nothing. `elsewhere` has other processes do it.

    SIGINT and SIGTERM end the run when the files at hand are finished. On a processor the process keeps the memory that it frees from now on.

    Raises
    ------
    SettingsError, CollisionError
        `out` can't be written to, is another run's or of another model, a mask would replace an input file, two pictures would share an
        overlay, the network has no attention to draw, or the model can't say what to review.
    WriteError
        The disk is full or the folder went away: that would fail every file after it too. A name that is too long is a row.
    """
    if model.engine.device.type == "cpu" and elsewhere is None:
        keep_freed_memory()
    if extras.attention:
        require_attention(model)
    if extras != NO_EXTRAS:
        check_outputs(sources, beside=True)
    if options.review is not None:
        _require_reviewable(sources, model, predict, options)
    check_out(sources, out)
    part = options.part
    _make_folder(out / FOLDER)
    with claimed(out / FOLDER, f"lock{part.suffix}"), ExitStack() as stack:
        ledger = stack.enter_context(Ledger(out / FOLDER / f"ledger{part.suffix}.jsonl"))
        if options.overwrite:
            _clear(ledger, out, {source.key for source in sources})
            ledger.forget()
        about = _about(model, predict, read, sources, known_failures)
        require_same_run(ledger, about["fingerprint"], out, None if options.resume else lambda: {source.key for source in sources})
        if part.count == 1:
            _require_idle_parts(out / FOLDER)
            sweep(out)
        shared = shared_outputs(sources)
        work = Procedure(model, out, predict, read, extras, shared, ledger.outputs_of)
        return Job(work, options, ledger, elsewhere).run(sources, known_failures, about, watch)


def _require_reviewable(sources: Sequence[Source], model: Model, predict: PredictSettings, options: Options) -> None:
    assert options.review is not None
    if options.part.count > 1:
        raise SettingsError(f"--review {options.review}: {options.part} does not know the others; leave it out, and give it to segkit merge OUT in the end")
    require_expected(predict.expected_dice is not None, model.name, options.review)
    check_review(((source.name, str(source.output)) for source in sources), options.review)


def _require_idle_parts(folder: Path) -> None:
    """SettingsError where a part of a division is at work."""
    for path in sorted(folder.glob("lock-*")):
        with claimed(folder, path.name):
            pass


def _clear(ledger: Ledger, out: Path, keys: Collection[str]) -> None:
    """Masks of files that are not made anew go, or those of two models would lie side by side; what somebody has changed since stays."""
    for entry in ledger.entries():
        if entry.key not in keys:
            discard(out / place for place, written in (entry.outputs or {}).items() if is_as_written(out / place, written))


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{path}: is where the ledger of a run lies, but can't be made: {reason(error)}; move it away, or choose another -o") from error


class Elsewhere(Protocol):
    """Processes that do the files in place of this one: `segkit.folder.cluster`."""

    def begin(self, work: Procedure, options: Options, ledger: Path, sources: Sequence[Source]) -> Mapping[str, Any]:
        """Have them ready for these sources, or raise; what run.json says of them."""

    def entries(self, sources: Sequence[Source], stop: Stop) -> Generator[Entry, None, None]:
        """What became of each source, in any order; of those only that were begun when `stop` was asked for."""


@dataclass
class Job:
    """What is done with the files that are this process's: which of them, and what is written down of them."""

    work: Procedure
    options: Options
    ledger: Ledger
    elsewhere: Elsewhere | None = None

    def run(self, sources: Sequence[Source], known_failures: Sequence[Failure], about: dict[str, Any], watch: Watch) -> Summary:
        """This part's share, from the first file to the last, or to a signal."""
        part, work = self.options.part, self.work
        own, failures = part.choose(sources), [failure for failure in known_failures if part.holds(failure.path)]
        to_do = [source for source in watch(own, len(own), "checking") if not self._is_finished(source)] if self.options.resume else own
        share, skipped = len(own) + len(failures), len(own) - len(to_do)
        to_do = [] if failures and self.options.stop_on_error else to_do
        told = {**_facts(work), "fingerprint": about["fingerprint"], "files": share}
        if self.elsewhere is not None:
            told.update(self.elsewhere.begin(work, self.options, self.ledger.path, to_do))
        self._tell({**told, "state": "running"})
        self.ledger.begin({**about, "share": share})
        for failure in failures:
            self.ledger.add(Entry(failure.path, failure=failure))
        began = time.monotonic()
        try:
            with listening() as stop:
                done, failed = self._count(watch(self._work(to_do, stop), len(to_do), "segmenting"), stop)
        finally:
            self._write_tables(by_expected_dice=self.options.review is not None)
        seconds, failed = time.monotonic() - began, failed + len(failures)
        state = "finished" if done + failed + skipped == share else "interrupted"
        review = self._review() if state == "finished" else ()
        self._tell({**told, "state": state, "done": done, "failed": failed, "skipped": skipped, "seconds": round(seconds, 3)})
        return Summary(self.ledger.path, self.ledger.began, done, failed, skipped, stop.signal, seconds, review)

    def _count(self, entries: Iterable[Entry], stop: Stop) -> tuple[int, int]:
        """(how many went well, how many failed), as they come. Where the first failure ends the run, what is at hand is finished."""
        done = failed = 0
        for number, entry in enumerate(entries, start=1):
            done, failed = done + (entry.result is not None), failed + (entry.failure is not None)
            stop.has_enough = failed > 0 and self.options.stop_on_error
            if number & (number - 1) == 0:  # now and then: the tables' time stays a small share of the whole, however many files there are
                self._write_tables()
        return done, failed

    def _work(self, sources: Sequence[Source], stop: Stop) -> Iterator[Entry]:
        """Each source's entry, which the ledger has by then."""
        with closing(self._here(sources, stop) if self.elsewhere is None else self.elsewhere.entries(sources, stop)) as entries:
            for entry in entries:
                self.ledger.add(entry)
                yield entry

    def _here(self, sources: Sequence[Source], stop: Stop) -> Generator[Entry, None, None]:
        with ExitStack() as stack:
            readers = [stack.enter_context(Reader(self.options.patience_seconds)) for _ in range(self._count_readers(len(sources)))]

            def leaving() -> None:
                for reader in readers:
                    reader.end()

            items = read_ahead(sources, self.work.read, readers, leaving)
            yield from self.work.entries(takewhile(lambda item: not stop.is_asked, items))

    def _count_readers(self, files: int) -> int:
        """A process of its own takes a moment to start: one file is read here."""
        wanted = 0 if self.options.readers is None and files < 2 else self.options.readers
        return min(files, count_readers(wanted, os.cpu_count() or 1, self.work.model.engine.device.type))

    def _is_finished(self, source: Source) -> bool:
        """Whether all that is asked for is there as it was written, of the picture as it is now."""
        entry, work = self.ledger.find(source.key), self.work
        if entry is None or entry.result is None or entry.outputs is None:
            return False
        if [list(one) for one in entry.state] != state_of(source) or not self._has_all(source, entry.outputs):
            return False
        if source.output in work.shared:
            work.written.update(path for path in masks_of(work.out / str(source.output)) if path.relative_to(work.out).as_posix() in entry.outputs)
        return is_there(entry, work.out)

    def _has_all(self, source: Source, outputs: Iterable[str]) -> bool:
        extras = self.work.extras
        beside = {"overlays": extras.overlay, "probabilities": extras.probabilities, "attention": extras.attention}
        there = {place.partition("/")[0] for place in outputs}
        return all(folder in there for folder, is_wanted in beside.items() if is_wanted)

    def _tell(self, facts: dict[str, Any]) -> None:
        """run.json; that of a part lies beside its ledger."""
        suffix = self.options.part.suffix
        write_json(self.work.out / (f"{FOLDER}/run{suffix}.json" if suffix else "run.json"), facts)

    def _write_tables(self, *, by_expected_dice: bool = False) -> None:
        """Of parts, `merge` makes them."""
        if self.options.part.count == 1:
            self.ledger.write_tables(self.work.out, self.work.model.labels.foreground, by_expected_dice=by_expected_dice)

    def _review(self) -> tuple[Path, ...]:
        if self.options.review is None:
            return ()
        return write_review(self.ledger, self.work.out, self.options.review, self.work.model.labels, self.work.read)


def _about(model: Model, predict: PredictSettings, read: ReadSettings, sources: Iterable[Source], failures: Iterable[Failure]) -> dict[str, Any]:
    """What the ledger has to know of a run: two with the same fingerprint give the same masks."""
    preprocess = model.run.preprocess.model_dump(mode="json")
    reading = read.model_dump(mode="json", exclude={"max_pixels"})  # says which files are read, not what they hold
    flips = [model.run.augment.horizontal_flip > 0, model.run.augment.vertical_flip > 0] if predict.tta else []
    settings = [model.fingerprint, model.labels.mapping, preprocess, predict.model_dump(mode="json"), reading, flips]
    fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]
    keys = chain((source.key for source in sources), (failure.path for failure in failures))
    return {"segkit": __version__, "fingerprint": fingerprint, "classes": list(model.labels.foreground), **listing_of(keys)}


def _facts(work: Procedure) -> dict[str, Any]:
    model, data = work.model, work.model.run.data
    return {
        "segkit": __version__,
        "torch": torch.__version__,
        "labels": data.labels,
        "ignore": data.ignore,
        "mask_threshold": data.mask_threshold,
        "model": {"trained_on": model.card.trained_on, "fingerprint": model.card.fingerprint, "steps": model.card.steps, "scores": model.card.scores},
        "settings": {"predict": work.predict.model_dump(mode="json"), "read": work.read.model_dump(mode="json")},
        "device": describe(model.engine.device),
        "precision": model.engine.precision,
        "engine": model.engine.name,
    }

