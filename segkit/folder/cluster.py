"""A run on the processes of a dask.distributed cluster: paths travel, pixels do not.

    here                          scheduler                workers, one process each
    paths, a few at a time  ──>   who is idle?   ──>       read, network, write; the model is there once
    ledger, tables          <───────────────────────       what became of each file

The workers write the masks, so INPUT, OUT and the model file must lie where all of them see them. Nobody but this process writes the ledger,
and a file has its line when its mask was seen from here.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

from segkit.checkpoint import BUILT_IN, locate_model
from segkit.engines import Work
from segkit.errors import CrashError, SegkitError, SettingsError, WriteError
from segkit.folder.ledger import Entry
from segkit.folder.outputs import masks_of
from segkit.folder.procedure import Procedure
from segkit.folder.run import Options
from segkit.folder.scheduler import THREADS_EACH, client_of, one_line, require_distributed, require_safe
from segkit.folder.shards import is_there
from segkit.folder.worker import VERSIONS, Choice, Chunk, Orders, do_chunk, make_ready
from segkit.interrupt import Stop
from segkit.io import Source

FILES_AT_ONCE = 16
"""Handed to a worker together: enough to share batches, few enough that little is done again when a worker dies."""

CHUNKS_EACH = 2
"""On their way to each worker: one that it is at, and one that waits."""

POLL_SECONDS = 0.05

RESULT_SECONDS = 10.0
"""A result that does not come went away with the worker that had it, and is made anew."""

WORKERS_EVERY_SECONDS = 5.0
"""Workers come and go."""

WORKERLESS_SECONDS = 120.0
"""Without any worker for so long, the run ends."""

SEEN_WITHIN_SECONDS = 60.0
"""A network file system shows a new file on other machines only after a while."""

_UNDER_WAY = ("pending", "lost")
"""Lost is what was finished, went with its worker, and is made anew."""

_AS_EACH_LIKES = Choice()


@contextmanager
def connected(address: str, choice: Choice = _AS_EACH_LIKES) -> Iterator[Cluster]:
    """The cluster of the scheduler at that address; for "local" one of processes of this machine, there as long as the block.

    Raises
    ------
    SettingsError
        The address is neither loopback nor TLS, or nobody answers there.
    MissingExtraError
        dask.distributed is not installed.
    """
    with client_of(address, choice.device) as client:
        yield Cluster(client, address, choice)


@dataclass(frozen=True)
class Batch:
    """Files that are on their way; `alone`, nothing else is."""

    sources: Sequence[Source]
    alone: bool = False


class Cluster:
    """What `predict_files` takes as `elsewhere`.

    told : for people, once it has begun: "2 workers: cpu (…), bf16, torch"
    """

    def __init__(self, client: Any, address: str, choice: Choice) -> None:
        self._client, self._address, self._choice = client, address, choice
        self._workers: Collection[str] = ()         # their addresses
        self._asked = self._had_workers = time.monotonic()
        self.told = ""

    def begin(self, work: Procedure, options: Options, ledger: Path, sources: Sequence[Source]) -> Mapping[str, Any]:
        """Have the model on every worker, and know that each sees what this process sees.

        Raises
        ------
        SettingsError
            There are no workers, one of them is reached without TLS, has another segkit or torch, or does not see OUT or INPUT.
        VanishedError, WeightsError
            One of them does not find the model file, or another one there.
        """
        self._require_workers()
        self._work, self._orders = work, self._give_orders(work, options, len(sources))
        to_see = [_absolute(path) for path in (ledger, *(source.files[0] for source in sources[:1])) if path.exists()]
        answers = self._client.run(make_ready, self._orders, to_see, on_error="return")
        for worker, answer in answers.items():
            if isinstance(answer, SegkitError):
                raise answer
            if isinstance(answer, BaseException):
                raise SettingsError(f"worker {worker}: can't take part ({one_line(answer)}); install {VERSIONS} there as it is here")
        devices, precisions, engines = ("; ".join(sorted(set(words))) for words in zip(*answers.values(), strict=True))
        self.told = f"{len(answers)} worker{'s' if len(answers) != 1 else ''}: {devices}, {precisions}, {engines}"
        return {"cluster": self._address, "workers": len(answers), "device": devices, "precision": precisions, "engine": engines}

    def _require_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=WORKERLESS_SECONDS)
        except TimeoutError as error:
            raise SettingsError(f"--cluster {self._address}: has no workers; start some: dask worker {self._address} --nthreads {THREADS_EACH}") from error
        self._look_for_workers()

    def _give_orders(self, work: Procedure, options: Options, files: int) -> Orders:
        model = work.model
        return Orders(
            model=model.name if model.name in BUILT_IN else str(_absolute(locate_model(model.name))),
            fingerprint=model.fingerprint,
            choice=self._choice,
            work=Work(files // max(1, len(self._workers)), work.extras.attention),
            run=model.run,
            predict=work.predict,
            read=work.read,
            extras=work.extras,
            out=_absolute(work.out),
            readers=options.readers,
            patience_seconds=options.patience_seconds,
        )

    def entries(self, sources: Sequence[Source], stop: Stop) -> Generator[Entry, None, None]:
        """What became of each source, as the workers say; of those only that were handed out when `stop` was asked for.

        Raises
        ------
        WriteError
            A disk is full, or what a worker wrote is not to be seen here.
        CrashError
            The scheduler, or all workers, are gone.
        """
        queue = Queue(sources, self._work.shared, len(self._workers))
        running: dict[Any, Batch] = {}
        try:
            while True:
                if not stop.is_asked:
                    self._hand_out(queue, running)
                if not running:
                    return
                for future in self._wait(running):
                    yield from self._settle(future, running, queue)
        except KeyboardInterrupt:  # asked for twice: now
            running.clear()
            raise
        finally:
            while any(future.status in _UNDER_WAY for future in running):
                self._wait(running)  # what they are at is finished before another run may have OUT

    def _hand_out(self, queue: Queue, running: dict[Any, Batch]) -> None:
        while (batch := queue.take(len(running), CHUNKS_EACH * max(1, len(self._workers)))) is not None:
            self._require_scheduler()
            future = self._client.submit(do_chunk, self._orders, _chunk_of(batch.sources, self._work), pure=False)
            running[future] = batch

    def _wait(self, running: Iterable[Any]) -> list[Any]:
        """Those that are not under way any more."""
        time.sleep(POLL_SECONDS)
        self._require_scheduler()
        if time.monotonic() - self._asked > WORKERS_EVERY_SECONDS:
            self._look_for_workers()
        return [future for future in running if future.status not in _UNDER_WAY]

    def _require_scheduler(self) -> None:
        if self._client.status == "closed":
            raise CrashError(f"--cluster {self._address}: the scheduler is gone; start it again and go on with --resume")

    def _look_for_workers(self) -> None:
        try:
            self._workers = self._client.nthreads()
        except OSError:  # the connection is lost; the client tries to have it again, and closes where it can't
            self._workers = ()
        self._asked = time.monotonic()
        for worker in self._workers:
            require_safe(worker, "worker")
        if self._workers:
            self._had_workers = self._asked
        elif self._asked - self._had_workers > WORKERLESS_SECONDS:
            raise CrashError(f"--cluster {self._address}: all its workers are gone; start some and go on with --resume")

    def _settle(self, future: Any, running: dict[Any, Batch], queue: Queue) -> Iterator[Entry]:
        """One that falls back, or whose result does not come, is left where it is, and waited for again."""
        status = future.status  # asked once: it can be another a moment later
        if status == "finished":
            entries = _result_of(future)
            if entries is not None:
                yield from self._accept(entries, running.pop(future), queue)
        elif status == "error":
            yield from self._judge(future.exception(RESULT_SECONDS), running.pop(future), queue)
        elif status == "cancelled":  # with the connection to the scheduler
            queue.put_back(running.pop(future).sources)

    def _judge(self, error: BaseException, batch: Batch, queue: Queue) -> Iterator[Entry]:
        """Only a file that was alone is known to have ended its workers."""
        if not isinstance(error, require_distributed().KilledWorker):
            raise error
        if not batch.alone:
            queue.suspect(batch.sources)
            return
        (source,) = batch.sources
        what = f"ended the worker that was at it, {error.allowed_failures + 1} times"
        yield self._work.failed(source, "E_CRASH", f"{source.name}: {what}; it may be damaged, or too large for its memory: leave it out")

    def _accept(self, entries: Iterable[Entry], batch: Batch, queue: Queue) -> Iterator[Entry]:
        """What is not in time goes back to the queue."""
        left = {source.key: source for source in batch.sources}
        said = [(left.pop(entry.key), entry) for entry in entries]
        queue.put_back(list(left.values()))
        for source, entry in said:
            self._require_seen(entry)
            if source.output in self._work.shared:
                self._work.written.update(self._work.out / place for place in entry.outputs or ())
            yield _as_given(entry, source, self._work.out)

    def _require_seen(self, entry: Entry) -> None:
        until = time.monotonic() + SEEN_WITHIN_SECONDS
        while not is_there(entry, self._work.out):
            if time.monotonic() > until:
                first = next(iter(entry.outputs or ()))
                raise WriteError(f"{self._work.out}: a worker wrote {first}, but what it wrote is not there; OUT must be one folder for all")
            time.sleep(POLL_SECONDS)


class Queue:
    """What is still to be handed out: all in chunks; then, one at a time and with nothing beside it, each file of a chunk that ended its workers.

    Only so is it known which file it was: when a worker dies, all that it had is counted as having ended it.
    """

    def __init__(self, sources: Sequence[Source], shared: Collection[PurePath], workers: int) -> None:
        size = max(1, min(FILES_AT_ONCE, len(sources) // (CHUNKS_EACH * max(1, workers))))
        self._chunks = _divided(sources, shared, size)
        self._back: deque[Sequence[Source]] = deque()
        self._suspects: deque[Source] = deque()

    def take(self, running: int, window: int) -> Batch | None:
        """The next to hand out, if there is any and, with so many under way, its time has come."""
        if running >= window:
            return None
        sources = self._back.popleft() if self._back else next(self._chunks, None)
        if sources is not None:
            return Batch(sources)
        return Batch([self._suspects.popleft()], alone=True) if self._suspects and not running else None

    def put_back(self, sources: Sequence[Source]) -> None:
        if sources:
            self._back.append(sources)

    def suspect(self, sources: Iterable[Source]) -> None:
        self._suspects.extend(sources)


def _result_of(future: Any) -> list[Entry] | None:
    """None where it went away with its worker."""
    try:
        result: list[Entry] = future.result(RESULT_SECONDS)
    except (TimeoutError, CancelledError, require_distributed().KilledWorker):
        return None
    return result


def _divided(sources: Sequence[Source], shared: Collection[PurePath], size: int) -> Iterator[list[Source]]:
    """Of so many, or a few more: those that share an output stay together, because only who does both can keep them apart."""
    groups: dict[PurePath, list[Source]] = defaultdict(list)
    for source in sources:
        if source.output in shared:
            groups[source.output].append(source)
    alone = ([source] for source in sources if source.output not in shared)
    chunk: list[Source] = []
    for group in chain(groups.values(), alone):
        chunk += group
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _chunk_of(sources: Iterable[Source], work: Procedure) -> Chunk:
    """Whose paths hold wherever the worker's own folder is."""
    absolute = tuple(Source(tuple(map(_absolute, source.files)), source.output) for source in sources)
    sharing = [source for source in absolute if source.output in work.shared]
    shared = frozenset(source.output for source in sharing)
    taken = {path for output in shared for path in masks_of(work.out / str(output)) if path in work.written}
    earlier = {source.key: places for source in absolute if (places := tuple(work.earlier(source.key)))}
    return Chunk(absolute, shared, earlier, tuple(path.relative_to(work.out).as_posix() for path in taken))


def _as_given(entry: Entry, source: Source, out: Path) -> Entry:
    """With the names that this run was given in place of the absolute ones."""
    if entry.failure is not None:
        message = entry.failure.message
        for given in (Path(source.name), out):
            message = message.replace(str(_absolute(given)), str(given))
        return replace(entry, failure=replace(entry.failure, path=source.name, message=message))
    assert entry.result is not None
    mask = next(iter(entry.outputs or ()))
    return replace(entry, result=replace(entry.result, file=source.name, output=str(out / mask)))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
