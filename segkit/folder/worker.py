"""What a process of a cluster does: a few files at a time, with a model that it loads once.

It is told paths, and answers with what became of each; pixels stay where they are.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from threading import Lock
from typing import Any

import torch

from segkit import __version__
from segkit.config import PredictSettings, RunConfig
from segkit.engines import Work, describe
from segkit.errors import SegkitError, SettingsError, WeightsError
from segkit.folder.ledger import Entry
from segkit.folder.outputs import Extras
from segkit.folder.pipeline import count_readers, read_ahead
from segkit.folder.procedure import Procedure
from segkit.io import ReadSettings, Source
from segkit.io.apart import Reader
from segkit.predict import Model, load

SECONDS_AT_ONCE = 3.0
"""After these a worker begins no further file of those that it has; they are handed out again. So a run that is stopped ends soon."""

VERSIONS = f"segkit {__version__}, torch {torch.__version__.partition('+')[0]}"
"""The same everywhere, or masks of one run would differ; builds for a CPU and for a GPU may."""

_AT_WORK = Lock()
"""One chunk at a time, whatever number of threads the worker has: they are the network's."""


@dataclass(frozen=True)
class Choice:
    """Of device, precision and engine, as in `segkit.load`: each worker chooses by what it has."""

    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"


@dataclass(frozen=True)
class Orders:
    """What a worker has to know of the run.

    model : absolute path, or a built-in name
    work : what the engine of one worker will be asked for, as far as is known
    versions : of the process that gives the orders
    """

    model: str
    fingerprint: str
    choice: Choice
    work: Work
    run: RunConfig
    predict: PredictSettings
    read: ReadSettings
    extras: Extras
    out: Path
    readers: int | None
    patience_seconds: float
    versions: str = VERSIONS


@dataclass(frozen=True)
class Chunk:
    """Files for a worker; the rest as in `Procedure`, of these files alone.

    taken : places below OUT that are other pictures' masks
    """

    sources: tuple[Source, ...]
    shared: frozenset[PurePath]
    earlier: Mapping[str, tuple[str, ...]]
    taken: tuple[str, ...]


async def make_ready(orders: Orders, to_see: Sequence[Path], dask_worker: Any) -> tuple[str, str, str] | SegkitError:
    """(device, precision, engine), or what is wrong; asked of each worker before the first file, beside the loop that answers the scheduler."""
    return await asyncio.to_thread(_make_ready, orders, to_see, dask_worker)


def _make_ready(orders: Orders, to_see: Sequence[Path], worker: Any) -> tuple[str, str, str] | SegkitError:
    try:
        hidden = [path for path in to_see if not path.exists()]
        if hidden:
            raise SettingsError(f"does not see {hidden[0]}; INPUT and OUT must lie where all workers see them, at the same place")
        with _AT_WORK:
            engine = _model(orders, worker.state.nthreads).engine
    except SegkitError as error:
        return _told_by(worker, error)
    return describe(engine.device), engine.precision, engine.name


def do_chunk(orders: Orders, chunk: Chunk) -> list[Entry]:
    """What became of the files that were begun in time.

    Raises
    ------
    SegkitError
        The disk is full, the model is gone, or this worker has another segkit: that would fail every file.
    RuntimeError
        A fault, with its traceback as text: an error that can't be pickled would be waited for in vain.
    """
    from distributed import get_worker

    worker = get_worker()
    try:
        with _AT_WORK:
            return _do(orders, chunk, worker.state.nthreads)
    except SegkitError as error:
        told: Exception = _told_by(worker, error)
    except Exception as error:
        told = RuntimeError(f"worker {worker.address}: {''.join(traceback.format_exception(error))}")
    raise told


def _told_by(worker: Any, error: SegkitError) -> SegkitError:
    """Without what led to it: not all of that can be pickled."""
    return type(error)(f"worker {worker.address}: {error}")


def _do(orders: Orders, chunk: Chunk, threads: int) -> list[Entry]:
    model = _model(orders, threads)
    readers = _readers(count_readers(orders.readers, threads, model.engine.device.type), orders.patience_seconds)
    taken = {orders.out / place for place in chunk.taken}
    work = Procedure(model, orders.out, orders.predict, orders.read, orders.extras, chunk.shared, lambda key: chunk.earlier.get(key, ()), taken)
    return list(work.entries(read_ahead(_in_time(chunk.sources), orders.read, readers)))


def _in_time(sources: Iterable[Source]) -> Iterator[Source]:
    """The first, and what follows until the time is up."""
    until = time.monotonic() + SECONDS_AT_ONCE
    for number, source in enumerate(sources):
        if number and time.monotonic() > until:
            return
        yield source


def _model(orders: Orders, threads: int) -> Model:
    """Also a worker that came when the run had begun must be of its kind."""
    if orders.versions != VERSIONS:
        raise SettingsError(f"has {VERSIONS}, here is {orders.versions}; install the same everywhere")
    torch.set_num_threads(threads)  # dask starts its workers with one
    return _load(orders.model, orders.fingerprint, orders.choice, orders.work).with_settings(orders.run)


@lru_cache(maxsize=1)
def _load(model: str, fingerprint: str, choice: Choice, work: Work) -> Model:
    """Once for all chunks of a run."""
    found = load(model, device=choice.device, precision=choice.precision, engine=choice.engine, work=work)
    if found.fingerprint != fingerprint:
        raise WeightsError(f"{model}: holds other weights there than here; give a file that all machines share")
    return found


@lru_cache(maxsize=1)
def _readers(count: int, patience_seconds: float) -> tuple[Reader, ...]:
    """They stay from chunk to chunk, and end with the worker."""
    return tuple(Reader(patience_seconds) for _ in range(count))
