"""Cut, score, stitch: pictures of any size in, their logits out band by band, with as many patches at once as keep the network busy.

A patch neither knows nor cares which picture it is from, so those of several pictures share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from segkit.ahead import in_threads
from segkit.augment import AugmentSettings
from segkit.patches import Band, Sliceable, Stitcher, TileSettings, Window, cut, join, plan_windows

SMALLEST_TILE = 128
"""Pixels along a side: a patch that is too much for the memory at this size is given up."""

LACK_OF_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "could not create a primitive",
    "could not create a memory object",
)
"""Words of torch on Windows and elsewhere, of the system, of the engines, and of oneDNN where its workspace does not fit."""

FLAT_LOGIT = 4.0
"""Of the background in a window that is not looked at, the others have 0: sure, but no match for what a neighbouring window has seen."""

Flips: TypeAlias = Sequence[tuple[int, ...]]
"""Axes to flip, for each pass over a picture; ((),) is one pass over the picture as it is."""


class Scorer(Protocol):
    """An engine, or what stands in for one."""

    batch_pixels: int
    in_flight: int

    @property
    def along_slices(self) -> bool: ...

    def __call__(self, batch: Tensor) -> Tensor: ...

    def score_volume(self, batches: Callable[[], Iterable[Tensor]]) -> Iterator[Tensor]: ...


@dataclass(frozen=True, eq=False)
class _Job:
    """A patch on its way; `owner` is what the caller knows its picture by, one that `is_flat` the network is not asked about."""

    owner: Any
    stitcher: Stitcher
    window: Window
    patch: Tensor
    is_flat: bool


@dataclass(frozen=True, eq=False)
class _Nothing:
    """Keeps the place of a picture that there is none of."""

    owner: Any


def score(
    pictures: Iterable[tuple[Any, Sliceable | None]], engine: Scorer, tiles: TileSettings, flips: Flips = ((),), classes: int | None = None
) -> Iterator[tuple[Any, Band | MemoryError | None]]:
    """(owner, (C, H, W)) of any sizes -> (owner, band), the pictures in their order and of each its bands from the first row to the last.

    Small pictures go through whole and several at a time, large ones window by window. Where memory is short, with fewer at a time and in
    smaller windows; a picture for which not even that helps gets the `MemoryError` in place of its further bands, and the next one follows.
    An owner without a picture passes in its turn. `classes` is K; where it is not known, `tiles.skip_flat` means nothing.
    """
    given_up: set[Stitcher] = set()
    groups = _groups(_jobs(pictures, tiles if classes else tiles.model_copy(update={"skip_flat": 0.0}), given_up), engine.batch_pixels)
    for group in _scored(groups, engine, flips, classes or 0):
        if isinstance(group, _Nothing):
            yield group.owner, None
            continue
        for job, logits in group:
            if job.stitcher in given_up:
                continue
            if isinstance(logits, MemoryError):
                given_up.add(job.stitcher)
                yield job.owner, logits
            else:
                yield from ((job.owner, band) for band in job.stitcher.add(logits, job.window))


def _jobs(pictures: Iterable[tuple[Any, Sliceable | None]], tiles: TileSettings, given_up: set[Stitcher]) -> Iterator[_Job | _Nothing]:
    for owner, picture in pictures:
        if picture is None:
            yield _Nothing(owner)
            continue
        shape = (picture.shape[-2], picture.shape[-1])
        stitcher = Stitcher(shape)
        for window in plan_windows(shape, tiles):
            if stitcher in given_up:
                break
            patch = cut(picture, [window])[0]
            yield _Job(owner, stitcher, window, patch, is_flat(patch, tiles.skip_flat))


def is_flat(patch: Tensor, limit: float) -> bool:
    """Whether every channel of (C, h, w) deviates by less than the limit."""
    return limit > 0 and bool((patch.flatten(1).std(dim=1, correction=0) < limit).all())


def _groups(jobs: Iterable[_Job | _Nothing], pixels: int) -> Iterator[list[_Job] | _Nothing]:
    """Neighbours of one shape, up to so many pixels together."""
    group: list[_Job] = []
    for job in jobs:
        if group and (isinstance(job, _Nothing) or job.patch.shape != group[0].patch.shape):
            yield group
            group = []
        if isinstance(job, _Nothing):
            yield job
            continue
        group.append(job)
        if len(group) >= at_once(job.patch.shape, pixels):
            yield group
            group = []
    if group:
        yield group


def at_once(shape: Sequence[int], pixels: int) -> int:
    """How many patches (..., h, w) make a batch of so many pixels."""
    return max(1, pixels // (shape[-2] * shape[-1]))


_Scored: TypeAlias = Iterable[tuple[_Job, Tensor | MemoryError]]


def _scored(groups: Iterable[list[_Job] | _Nothing], engine: Scorer, flips: Flips, classes: int) -> Iterator[_Scored | _Nothing]:
    """Each group with its logits; where the engine takes several at a time, the next ones are on their way meanwhile."""

    def work(group: list[_Job] | _Nothing) -> _Scored | _Nothing:
        return group if isinstance(group, _Nothing) else list(_score_group(group, engine, flips, classes))

    if engine.in_flight == 1:
        return map(work, groups)
    return in_threads(groups, work, threads=engine.in_flight, is_enough=lambda waiting: len(waiting) > engine.in_flight)


def _score_group(group: Sequence[_Job], engine: Scorer, flips: Flips, classes: int) -> Iterator[tuple[_Job, Tensor | MemoryError]]:
    """All at once; where that is too much one by one, and each in tiles."""
    asked = [job.patch for job in group if not job.is_flat]
    together = attempt(lambda: list(_flipped(torch.stack(asked), engine, flips))) if asked else []
    logits = iter(together) if together is not None else (_score_in_tiles(patch, engine, flips) for patch in asked)
    for job in group:
        yield job, _background(job.patch, classes) if job.is_flat else next(logits)


def _background(patch: Tensor, classes: int) -> Tensor:
    """(C, h, w) -> (K, h, w) logits that say: class 0."""
    logits = patch.new_zeros(classes, *patch.shape[-2:])
    logits[0] = FLAT_LOGIT
    return logits


def _score_in_tiles(patch: Tensor, engine: Scorer, flips: Flips) -> Tensor | MemoryError:
    """(C, h, w) -> (K, h, w), whole, or else in tiles of half its side, and so on."""
    side = max(patch.shape[-2:])
    while True:
        tiles = TileSettings(whole_up_to=0, tile=(side, side), overlap=0.25)
        bands = attempt(partial(_bands_of, patch, engine, tiles, flips))
        if bands is not None:
            return join(bands)
        if side <= SMALLEST_TILE:
            return MemoryError(f"not even {side}x{side} pixels fit")
        side = max(SMALLEST_TILE, side // 2)


def _bands_of(patch: Tensor, engine: Scorer, tiles: TileSettings, flips: Flips) -> list[Band]:
    stitcher = Stitcher((patch.shape[-2], patch.shape[-1]))
    windows = plan_windows((patch.shape[-2], patch.shape[-1]), tiles)
    return [band for window in windows for band in stitcher.add(_flipped(cut(patch, [window]), engine, flips)[0], window)]


def attempt(work: Callable[[], Any]) -> Any:
    """What the work gives, None where memory is short for it; the failed attempt's own memory is free by then."""
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
    return None


def is_lack_of_memory(error: BaseException) -> bool:
    """torch has a class of its own for a GPU, and only words for a CPU; so have the other engines."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in LACK_OF_MEMORY)


def score_volume(
    walk: Callable[[], Iterator[Sliceable]], shape: tuple[int, int], engine: Scorer, tiles: TileSettings, flips: Flips = ((),), *, only: int | None = None
) -> Iterator[Tensor]:
    """All (C, H, W) slices of a volume -> their (K, H, W) logits, in order, by a network that looks along them; with `only`, those of one slice.

    Each window is followed through the whole volume before the next.
    """
    windows = plan_windows(shape, tiles)
    bands: dict[int, list[Band]] = {}
    stitchers: dict[int, Stitcher] = {}
    for window in windows:
        for plane, logits in enumerate(_along(walk, window, engine, flips)):
            if only not in (None, plane):
                continue
            if len(windows) == 1:
                yield logits
            else:
                bands.setdefault(plane, []).extend(stitchers.setdefault(plane, Stitcher(shape)).add(logits, window))
    yield from map(join, bands.values())


def _along(walk: Callable[[], Iterator[Sliceable]], window: Window, engine: Scorer, flips: Flips) -> Iterator[Tensor]:
    """One window of every slice, (K, h, w) each: the mean over the flips."""

    def batches(axes: tuple[int, ...]) -> Iterator[Tensor]:
        for batch in _batched(walk(), at_once((window.height, window.width), engine.batch_pixels)):
            yield torch.cat([cut(picture, [window]) for picture in batch]).flip(axes)

    passes = [map(partial(torch.flip, dims=axes), engine.score_volume(partial(batches, axes))) for axes in flips]
    for group in zip(*passes, strict=True):
        yield from torch.stack(group).mean(dim=0)


def known_flips(augment: AugmentSettings) -> Flips:
    """The mirror images that training showed the network: any other would be strange to it, and make the mean worse."""
    left_right = ((), (-1,)) if augment.horizontal_flip > 0 else ((),)
    top_bottom = ((), (-2,)) if augment.vertical_flip > 0 else ((),)
    return [(*rows, *columns) for rows in top_bottom for columns in left_right]


def _flipped(batch: Tensor, engine: Scorer, flips: Flips) -> Tensor:
    """(N, C, h, w) -> (N, K, h, w), each flip undone, and their mean."""
    if list(flips) == [()]:
        return engine(batch)
    return torch.stack([engine(batch.flip(axes)).flip(axes) for axes in flips]).mean(dim=0)


def _batched(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
