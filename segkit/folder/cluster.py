"""A run on the processes of a dask.distributed cluster: paths travel, pixels do not.

    here                          scheduler                workers, one process each
    paths, a few at a time  ──>   who is idle?   ──>       read, network, write; the model is there once
    ledger, tables          <───────────────────────       what became of each file

The workers write the masks, so INPUT, OUT and the model file must lie where all of them see them. Nobody but this process writes the ledger,
and a file has its line when its mask was seen from here. What travels is pickled: whoever reaches a port of the cluster can run programs on it.
So nothing but loopback and TLS is spoken.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path, PurePath
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import torch

from segkit import __version__
from segkit.checkpoint import BUILT_IN, locate_model
from segkit.config import PredictSettings, RunConfig
from segkit.engines import choose_device, describe
from segkit.errors import CrashError, MissingExtraError, SegkitError, SettingsError, WeightsError, WriteError
from segkit.folder.ledger import Entry
from segkit.folder.outputs import Extras, masks_of
from segkit.folder.pipeline import read_ahead
from segkit.folder.run import Options, Procedure
from segkit.folder.shards import is_there
from segkit.interrupt import Stop
from segkit.io import ReadSettings, Source
from segkit.io.apart import Reader
from segkit.predict import Model, load

FILES_AT_ONCE = 16
"""Handed to a worker together: enough to share batches, few enough that little is done again when a worker dies."""

SECONDS_AT_ONCE = 3.0
"""After these a worker begins no further file of those that it has; they are handed out again. So a run that is stopped ends soon."""

CHUNKS_EACH = 2
"""On their way to each worker: one that it is at, and one that waits."""

THREADS_EACH = 4
"""Of a worker of `local`: more threads for one picture gain less than another picture at the same time."""

CONNECT_SECONDS = 30.0

POLL_SECONDS = 0.05

RESULT_SECONDS = 10.0
"""A result that does not come went away with the worker that had it, and is made anew."""

WORKERS_EVERY_SECONDS = 5.0
"""Workers come and go."""

WORKERLESS_SECONDS = 120.0
"""Without any worker for so long, the run ends."""

SEEN_WITHIN_SECONDS = 60.0
"""A network file system shows a new file on other machines only after a while."""

AT_HOME: Mapping[str, Any] = {
    "distributed.deploy.lost-worker-timeout": "1 day",  # a worker that takes longer than the usual 15 s to start again would be given up
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
"""dask's settings for `local`."""

DEAF_TO_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""It reaches all processes at the terminal; what ends, and when, is said here."""


@contextmanager
def connected(address: str, device: str = "auto", precision: str = "auto") -> Iterator[Cluster]:
    """The cluster of the scheduler at that address; for "local" one of processes of this machine, there as long as the block.

    Raises
    ------
    SettingsError
        The address is neither loopback nor TLS, or nobody answers there.
    MissingExtraError
        dask.distributed is not installed.
    """
    if address != "local":
        address = require_safe(address, "--cluster")
    distributed, dask = _distributed()
    with ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.comm.retry.count": 0}))  # more let the wait for a result hang when its worker died
        if address == "local":
            stack.enter_context(dask.config.set(AT_HOME))
        where = address if address != "local" else stack.enter_context(_local(distributed, device)).scheduler_address
        yield Cluster(stack.enter_context(_client(distributed, where)), address, device, precision)


def require_safe(address: str, what: str) -> str:
    """The address, with its scheme.

    Raises
    ------
    SettingsError
        It is none, or one that others can reach and that is not encrypted.
    """
    scheme, _, place = address.rpartition("://")
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if scheme not in ("", "tcp", "tls") or not host or not port:
        raise SettingsError(f"{what} {address}: expected local, tcp://127.0.0.1:PORT or tls://HOST:PORT")
    if scheme != "tls" and not _is_loopback(host):
        raise SettingsError(f"{what} {address}: is neither loopback nor TLS: whoever reaches it can run programs there; use tls://{place}")
    return f"{scheme or 'tcp'}://{place}"


def _is_loopback(host: str) -> bool:
    """Of names only localhost: what others stand for can change."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _distributed() -> tuple[Any, Any]:
    try:
        import dask
        import distributed
    except ImportError as error:
        raise MissingExtraError('--cluster needs dask.distributed: pip install "segkit[dist]"') from error
    return distributed, dask


def _local(distributed: Any, device: str) -> Any:
    """Processes on 127.0.0.1, without web pages; how much memory they take is the machine's affair, as in a run without them."""
    count, threads = local_size(os.cpu_count() or 1, choose_device(device).type)
    return distributed.LocalCluster(
        n_workers=count,
        threads_per_worker=threads,
        processes=True,
        host="127.0.0.1",
        protocol="tcp",
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        preload=[DEAF_TO_CTRL_C],
    )


def local_size(processors: int, device: str) -> tuple[int, int]:
    """(processes, threads of each). A GPU has one process."""
    count = min(processors, max(2, processors // THREADS_EACH)) if device == "cpu" else 1
    return count, processors // count


def _client(distributed: Any, address: str) -> Any:
    security = distributed.Security()
    if address.startswith("tls://") and not (security.tls_ca_file and security.tls_client_cert):
        raise SettingsError(f"--cluster {address}: TLS needs distributed.comm.tls.ca-file and .client.cert (and .key) in dask's settings, which name no files")
    try:
        return distributed.Client(address, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:
        raise SettingsError(f"--cluster {address}: no scheduler answers there ({_one_line(error)}); start one: dask scheduler --host 127.0.0.1") from error


@dataclass(frozen=True)
class Orders:
    """What a worker has to know of the run.

    model : absolute path, or a built-in name
    """

    model: str
    fingerprint: str
    device: str
    precision: str
    run: RunConfig
    predict: PredictSettings
    read: ReadSettings
    extras: Extras
    out: Path
    readers: int | None
    patience_seconds: float


@dataclass(frozen=True)
class Chunk:
    """Files for a worker; the rest as in `Procedure`, of these files alone.

    taken : places below OUT that are other pictures' masks
    """

    sources: tuple[Source, ...]
    shared: frozenset[PurePath]
    earlier: Mapping[str, tuple[str, ...]]
    taken: tuple[str, ...]

    @classmethod
    def of(cls, sources: Iterable[Source], work: Procedure) -> Chunk:
        """Whose paths hold wherever the worker's own folder is."""
        absolute = tuple(replace(source, files=tuple(map(_absolute, source.files))) for source in sources)
        sharing = [source for source in absolute if source.output in work.shared]
        shared = frozenset(source.output for source in sharing)
        taken = {path for output in shared for path in masks_of(work.out / str(output)) if path in work.written}
        earlier = {source.key: tuple(work.earlier(source.key)) for source in sharing}
        return cls(absolute, shared, earlier, tuple(path.relative_to(work.out).as_posix() for path in taken))


@dataclass(frozen=True)
class Batch:
    """Files that are on their way; `alone`, nothing else is."""

    sources: Sequence[Source]
    alone: bool = False


class Cluster:
    """What `predict_files` takes as `elsewhere`.

    told : for people, once it has begun: "2 workers: CPU (…), bf16"
    """

    def __init__(self, client: Any, address: str, device: str, precision: str) -> None:
        self._client, self._address, self._device, self._precision = client, address, device, precision
        self._workers: Mapping[str, int] = {}       # address -> threads
        self._asked = self._had_workers = time.monotonic()
        self.told = ""

    def begin(self, work: Procedure, options: Options, ledger: Path, sources: Sequence[Source]) -> Mapping[str, Any]:
        """Have the model on every worker, and know that each sees what this process sees.

        Raises
        ------
        SettingsError
            There are no workers, one of them is reached without TLS, has another segkit, or does not see OUT or INPUT.
        VanishedError, WeightsError
            One of them does not find the model file, or another one there.
        """
        self._work, self._orders = work, self._give_orders(work, options)
        self._require_workers()
        to_see = [_absolute(path) for path in (ledger, *(source.files[0] for source in sources[:1])) if path.exists()]
        answers = self._client.run(make_ready, self._orders, __version__, to_see, on_error="return")
        for worker, answer in answers.items():
            if isinstance(answer, SegkitError):
                raise type(answer)(f"worker {worker}: {answer}")
            if isinstance(answer, BaseException):
                raise SettingsError(f"worker {worker}: can't take part ({_one_line(answer)}); install segkit {__version__} there as it is here")
        devices, precisions = ("; ".join(sorted(set(words))) for words in zip(*answers.values(), strict=True))
        self.told = f"{len(answers)} worker{'s' if len(answers) != 1 else ''}: {devices}, {precisions}"
        return {"cluster": self._address, "workers": len(answers), "device": devices, "precision": precisions}

    def _give_orders(self, work: Procedure, options: Options) -> Orders:
        model, run = work.model, work.model.run
        place = model.name if model.name in BUILT_IN else str(_absolute(locate_model(model.name)))
        how = (options.readers, options.patience_seconds)
        return Orders(place, model.fingerprint, self._device, self._precision, run, work.predict, work.read, work.extras, _absolute(work.out), *how)

    def _require_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=WORKERLESS_SECONDS)
        except TimeoutError as error:
            raise SettingsError(f"--cluster {self._address}: has no workers; start some: dask worker {self._address} --nthreads {THREADS_EACH}") from error
        self._look_for_workers()

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
                if stop.signal is None:
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
            future = self._client.submit(do_chunk, self._orders, Chunk.of(batch.sources, self._work), pure=False)
            running[future] = batch

    def _wait(self, running: Iterable[Any]) -> list[Any]:
        """Those that are not under way any more."""
        time.sleep(POLL_SECONDS)
        if self._client.status == "closed":
            raise CrashError(f"--cluster {self._address}: the scheduler is gone; start it again and go on with --resume")
        if time.monotonic() - self._asked > WORKERS_EVERY_SECONDS:
            self._look_for_workers()
        return [future for future in running if future.status not in _UNDER_WAY]

    def _look_for_workers(self) -> None:
        try:
            self._workers = self._client.nthreads()
        except OSError:  # the connection is lost; the client tries to have it again, and closes where it can't
            self._workers = {}
        self._asked = time.monotonic()
        for worker in self._workers:
            require_safe(worker, "worker")
        if self._workers:
            self._had_workers = self._asked
        elif self._asked - self._had_workers > WORKERLESS_SECONDS:
            raise CrashError(f"--cluster {self._address}: all its workers are gone; start some and go on with --resume")

    def _settle(self, future: Any, running: dict[Any, Batch], queue: Queue) -> Iterator[Entry]:
        """A finished one can fall back: then it is left where it is, and waited for again."""
        distributed, _ = _distributed()
        try:
            entries = future.result(RESULT_SECONDS) if future.status == "finished" else None
        except (TimeoutError, CancelledError, distributed.KilledWorker):
            return
        batch = running.pop(future)
        if entries is not None:
            yield from self._accept(entries, batch, queue)
        elif future.status == "cancelled":  # with the connection to the scheduler
            queue.put_back(batch.sources)
        elif not isinstance(error := future.exception(RESULT_SECONDS), distributed.KilledWorker):
            raise error
        elif batch.alone:
            (source,) = batch.sources
            times = error.allowed_failures + 1
            yield self._work.failed(source, "E_CRASH", f"{source.name}: ended the worker that was at it, {times} times; it may be damaged: leave it out")
        else:
            queue.suspect(batch.sources)

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
                out = self._work.out
                raise WriteError(f"{out}: a worker wrote {next(iter(entry.outputs or ()))}, but it is not there; OUT must be one folder for all")
            time.sleep(POLL_SECONDS)


_UNDER_WAY = ("pending", "lost")
"""Lost is what was finished, went with its worker, and is made anew."""


class Queue:
    """What is still to be handed out: all in chunks; then, one at a time and with nothing beside it, each file of a chunk that ended its workers.

    Only so is it known which file it was: when a worker dies, all that it had is counted as having ended it.
    """

    def __init__(self, sources: Sequence[Source], shared: Collection[PurePath], workers: int) -> None:
        size = max(1, min(FILES_AT_ONCE, len(sources) // (CHUNKS_EACH * max(1, workers))))
        self._chunks = _chunks(sources, shared, size)
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


def _chunks(sources: Sequence[Source], shared: Collection[PurePath], size: int) -> Iterator[list[Source]]:
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


def _as_given(entry: Entry, source: Source, out: Path) -> Entry:
    """With the names that this run was given in place of the absolute ones."""
    if entry.failure is not None:
        return replace(entry, failure=replace(entry.failure, path=source.name))
    assert entry.result is not None
    mask = next(iter(entry.outputs or ()))
    return replace(entry, result=replace(entry.result, file=source.name, output=str(out / mask)))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


# ---- on a worker ----

_AT_WORK = Lock()
"""One chunk at a time, whatever number of threads the worker has: they are the network's."""


async def make_ready(orders: Orders, version: str, to_see: Sequence[Path], dask_worker: Any) -> tuple[str, str] | SegkitError:
    """(device, precision), or what is wrong; asked of each worker before the first file."""
    return await asyncio.to_thread(_make_ready, orders, version, to_see, dask_worker.state.nthreads)


def _make_ready(orders: Orders, version: str, to_see: Sequence[Path], threads: int) -> tuple[str, str] | SegkitError:
    try:
        if version != __version__:
            raise SettingsError(f"has segkit {__version__}, not {version}; install the same everywhere")
        hidden = [path for path in to_see if not path.exists()]
        if hidden:
            raise SettingsError(f"does not see {hidden[0]}; INPUT and OUT must lie where all workers see them, at the same place")
        with _AT_WORK:
            torch.set_num_threads(threads)
            engine = _model(orders).engine
    except SegkitError as error:
        return _bare(error)
    return describe(engine.device), engine.precision


def do_chunk(orders: Orders, chunk: Chunk) -> list[Entry]:
    """What became of the files that were begun in time.

    Raises
    ------
    SegkitError
        The disk is full, or the model is gone: that would fail every file.
    RuntimeError
        A fault, with its traceback as text: an error that can't be pickled would be waited for in vain.
    """
    threads = _distributed()[0].get_worker().state.nthreads
    try:
        with _AT_WORK:
            torch.set_num_threads(threads)  # dask starts its workers with one
            return _do(orders, chunk, threads)
    except SegkitError as error:
        told: Exception = _bare(error)
    except Exception as error:
        told = RuntimeError("".join(traceback.format_exception(error)))
    raise told


def _bare(error: SegkitError) -> SegkitError:
    """Without what led to it: not all of that can be pickled."""
    return type(error)(str(error))


def _do(orders: Orders, chunk: Chunk, threads: int) -> list[Entry]:
    model, taken = _model(orders), {orders.out / place for place in chunk.taken}
    readers = _readers(_count_readers(orders, threads, model.engine.device.type), orders.patience_seconds)
    work = Procedure(model, orders.out, orders.predict, orders.read, orders.extras, chunk.shared, lambda key: chunk.earlier.get(key, ()), taken)
    return list(work.entries(read_ahead(_in_time(chunk.sources), orders.read, readers)))


def _in_time(sources: Iterable[Source]) -> Iterator[Source]:
    """The first, and what follows until the time is up."""
    until = time.monotonic() + SECONDS_AT_ONCE
    for number, source in enumerate(sources):
        if number and time.monotonic() > until:
            return
        yield source


def _count_readers(orders: Orders, threads: int, device: str) -> int:
    """At least one, unless told otherwise: a decoder that crashes then costs a file, and not a worker."""
    if orders.readers is not None:
        return orders.readers
    return max(1, threads // 8 if device == "cpu" else min(8, threads - 1))


def _model(orders: Orders) -> Model:
    return _load(orders.model, orders.fingerprint, orders.device, orders.precision).with_settings(orders.run)


@lru_cache(maxsize=1)
def _load(model: str, fingerprint: str, device: str, precision: str) -> Model:
    """Once for all runs with that model."""
    found = load(model, device=device, precision=precision)
    if found.fingerprint != fingerprint:
        raise WeightsError(f"{model}: holds other weights there than here; give a file that all machines share")
    return found


@lru_cache(maxsize=1)
def _readers(count: int, patience_seconds: float) -> tuple[Reader, ...]:
    """They stay from chunk to chunk, and end with the worker."""
    return tuple(Reader(patience_seconds) for _ in range(count))
