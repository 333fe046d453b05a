"""The stages of a run, each ahead of the next: reading, the network, writing.

    readers (processes) ──> network (this thread) ──> writers (threads)

Items keep their order. Each stage holds a few of them, so that memory does not grow with their number.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from segkit.ahead import in_threads
from segkit.attend import attend, fullest_slice
from segkit.config import PredictSettings
from segkit.errors import SegkitError
from segkit.folder.outputs import Attention, Extras
from segkit.image import Image
from segkit.io import ReadSettings, Source
from segkit.io.apart import Reader, read_unchanged, state_of
from segkit.predict import Model, Segmentation, Walk, segment
from segkit.score import is_lack_of_memory, known_flips, score

AHEAD_BYTES = 2**28
"""Pictures that wait for the network hold no more than this and one picture."""

BEHIND = 8
"""Masks that wait to be written."""

Problem = SegkitError | MemoryError


@dataclass(eq=False)
class Item:
    """A file on its way; one with a `problem` has done with reading and the network, and is passed on.

    state : size and time of change of its files before they were read
    seconds : spent on reading it, and between the one before and this one while the network was at work
    """

    source: Source
    state: Sequence[Sequence[int]] = ()
    image: Image | None = None
    walk: Walk | None = None
    found: Segmentation | None = None
    attention: Attention | None = None
    problem: Problem | None = None
    seconds: float = 0.0

    @contextmanager
    def heeding_problems(self) -> Iterator[None]:
        """What can be wrong with one file is written down; what is wrong with the run goes through."""
        try:
            yield
        except SegkitError as error:
            self.problem = error
        except (MemoryError, RuntimeError) as error:
            if not is_lack_of_memory(error):
                raise
            self.problem = MemoryError(str(error))


def read_ahead(
    sources: Iterable[Source], settings: ReadSettings, readers: Sequence[Reader], leaving: Callable[[], object] = lambda: None
) -> Iterator[Item]:
    """Read by these processes, one file each at a time and some ahead; without any, here and when it is needed.

    `leaving` is called when no more will be asked for: what is still being read could be waited for in vain.
    """
    if not readers:
        return (_read(source, lambda source: read_unchanged(source, settings)) for source in sources)
    idle: SimpleQueue[Reader] = SimpleQueue()
    for reader in readers:
        idle.put(reader)

    def read(source: Source) -> Image:
        reader = idle.get()
        try:
            return reader.read(source, settings)
        finally:
            idle.put(reader)

    def is_enough(waiting: deque[Future[Item]]) -> bool:
        here = (item.result().image for item in waiting if item.done())
        return len(waiting) > 2 * len(readers) or sum(image.pixels.nbytes for image in here if image is not None) > AHEAD_BYTES

    return in_threads(sources, lambda source: _read(source, read), threads=len(readers), is_enough=is_enough, leaving=leaving)


def count_readers(wanted: int | None, processors: int, device: str) -> int:
    """As many as are wanted; None for as many as keep the network busy: a GPU waits for many, a CPU has other things to do."""
    if wanted is not None:
        return wanted
    return max(1, processors // 8 if device == "cpu" else min(8, processors - 1))


def _read(source: Source, read: Callable[[Source], Image]) -> Item:
    item, began = Item(source, state_of(source)), time.monotonic()
    with item.heeding_problems():
        item.image = read(source)
    item.seconds = time.monotonic() - began
    return item


def segment_all(items: Iterable[Item], model: Model, settings: PredictSettings, extras: Extras) -> Iterator[Item]:
    """Through the network, patches of several pictures together; each comes out with what was `found`, or with its problem."""
    flips = known_flips(model.run.augment) if settings.tta else ((),)
    passed_on: Item | None = None
    began = time.monotonic()
    pictures = _pictures(items, model, settings, extras)
    for (item, plane), band in score(pictures, model.engine, settings.tiles, flips, model.labels.num_classes):
        if item is passed_on:  # of a volume that came to grief, slices may still be on their way
            continue
        with item.heeding_problems():
            if isinstance(band, MemoryError):
                raise band
            if band is not None and item.walk is not None:
                item.walk.take(plane, band)
            if item.walk is not None and item.walk.is_complete:
                item.found, item.walk = item.walk.result(), None
            if item.found is not None and item.image is not None and extras.attention:
                chosen = fullest_slice(item.found.mask.indices)
                item.attention = Attention(chosen, attend(item.image, model, settings, plane=chosen))
        if item.found is not None or item.problem is not None:
            passed_on, now = item, time.monotonic()
            item.seconds, began = item.seconds + now - began, now
            yield item


def _pictures(items: Iterable[Item], model: Model, settings: PredictSettings, extras: Extras) -> Iterator[tuple[tuple[Item, int], Any]]:
    """The prepared slices of all; of an item that has none, or comes to grief on its way, only itself."""
    for item in items:
        with item.heeding_problems():
            if item.image is not None and model.engine.along_slices:
                item.found = segment(item.image, model, settings, keep_probabilities=extras.probabilities)
            elif item.image is not None:
                item.walk = Walk(item.image, model, settings, keep_probabilities=extras.probabilities)
        if item.walk is None:
            yield (item, 0), None
            continue
        slices = enumerate(item.walk.slices())
        while item.problem is None and item.found is None:
            with item.heeding_problems():
                following = next(slices, None)
            if item.problem is not None:
                yield (item, 0), None
            elif following is None:
                break
            else:
                plane, picture = following
                yield (item, plane), picture
