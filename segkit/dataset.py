"""Pairs of files become samples: cases on disk, an inventory of what they hold, and patches drawn from them.

A sample is drawn from its number alone (seed, number) -> patch. So a run that is interrupted and resumed sees the same
patches, and it does not matter which process draws them.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segkit.augment import Augmenter
from segkit.config import DataSettings, RunConfig, TrainSettings
from segkit.errors import PairingError, SegkitError, SettingsError, TrainingError, VanishedError
from segkit.image import Image
from segkit.io import Row, choose_split, pair_folders, read_image, read_manifest, read_mask
from segkit.labels import IGNORE_INDEX, Labels, Mask
from segkit.models.blocks import grow
from segkit.preprocess import PreprocessSettings, prepare

COORDINATES_KEPT = 512
"""Foreground pixels remembered for each class of each slice, evenly spread; patches are centred on them."""

SHOWN = 5
"""Names that a message lists before it breaks off."""

POLL_SECONDS = 5.0
"""How often a run that waits for its workers looks whether they are alive."""


@dataclass(frozen=True)
class Case:
    """A picture or volume and its mask, on disk."""

    image: Path
    mask: Path
    group: str

    @property
    def name(self) -> str:
        return self.image.name


def find_cases(data: DataSettings, seed: int) -> tuple[list[Case], list[Case]]:
    """Cases to train on and to validate on, as the settings say; no group stands on both sides.

    Raises
    ------
    SettingsError
        Neither a manifest nor two folders are given, or a split is empty.
    PairingError
        A picture without a mask, or a group on both sides.
    """
    rows = _rows(data)
    _keep_groups_apart(rows, data)
    any_split = any(row.split for row in rows)  # without a split column all rows count
    training = _cases(choose_split(rows, data.split, "data") if any_split else rows)
    if data.validation_split is None:
        return split_by_group(training, data.validation_share, seed)
    validation = cases_of_split(data, data.validation_split)
    require_apart(training, validation, f"data.validation_split {data.validation_split}")
    return training, validation


def _keep_groups_apart(rows: Sequence[Row], data: DataSettings) -> None:
    """PairingError where rows of the training split share a group with another split: its scores would be those of patients that the network knows."""
    own = {_group(row) for row in rows if row.split == data.split}
    shared = sorted({(_group(row), row.split) for row in rows if _group(row) in own and row.split and row.split != data.split})
    if data.split is not None and shared:
        group, split = shared[0]
        raise PairingError(
            f"{data.manifest}: {len({group for group, _ in shared})} groups stand in {data.split!r} and in another split, first {group!r} in {split!r}; "
            "a patient belongs to one side"
        )


def cases_of_split(data: DataSettings, split: str) -> list[Case]:
    """The cases of one split of the manifest.

    Raises
    ------
    SettingsError
        There is no manifest, or no row of it has that split.
    PairingError
        A picture without a mask.
    """
    if data.manifest is None:
        raise SettingsError(f"data: {split!r} needs a manifest with a column split; folders have no splits")
    return _cases(choose_split(_rows(data), split, data.manifest))


def require_apart(training: Sequence[Case], scored: Sequence[Case], name: str) -> None:
    """PairingError that begins with `name` where cases that are scored, or others of their groups, are trained on: the network knows them."""
    known = {case.group for case in training}
    shared = [case for case in scored if case.group in known]
    if shared:
        first = shared[0].name if shared[0].group == str(shared[0].image) else f"{shared[0].name} of {shared[0].group}"
        raise PairingError(
            f"{name}: {len(shared)} of the {len(scored)} cases are trained on, or others of their groups are, first {first}; "
            "score other rows, or train on fewer (data.split), so that no patient is on both sides"
        )


def require_files(cases: Sequence[Case]) -> None:
    """VanishedError with the names of the files that are not there, before any is read."""
    missing = [str(path) for case in cases for path in (case.image, case.mask) if not path.exists()]
    if missing:
        shown = ", ".join(missing[:SHOWN])
        shown += ", …" if len(missing) > SHOWN else ""
        verb = "is" if len(missing) == 1 else "are"
        raise VanishedError(f"data: {len(missing)} of {2 * len(cases)} files {verb} not there: {shown}; bring them or leave their rows out")


def split_by_group(cases: Sequence[Case], share: float, seed: int) -> tuple[list[Case], list[Case]]:
    """Set a share of the groups aside: (training, validation), at least one group each.

    Raises
    ------
    SettingsError
        There is only one group.
    """
    groups = sorted({case.group for case in cases})
    if len(groups) < 2:
        raise SettingsError(
            f"data: {len(cases)} pairs of one group ({groups[0] if groups else 'none'}) can't be split into training and validation; "
            "at least two groups are needed"
        )
    shuffled = np.random.default_rng(seed).permutation(groups)
    held_out = set(shuffled[: min(len(groups) - 1, max(1, round(share * len(groups))))])
    return [case for case in cases if case.group not in held_out], [case for case in cases if case.group in held_out]


def _rows(data: DataSettings) -> list[Row]:
    if data.manifest is not None:
        return read_manifest(data.manifest)
    if data.images is not None and data.masks is not None:
        return pair_folders(data.images, data.masks)
    raise SettingsError("data: nothing to train on; give --data MANIFEST (data.manifest), or the folders data.images and data.masks")


def _cases(rows: Sequence[Row]) -> list[Case]:
    without = [row.image.name for row in rows if row.mask is None]
    if without:
        raise PairingError(f"data: {len(without)} pictures have no mask: {', '.join(without[:5])}{', …' if len(without) > 5 else ''}; leave their rows out")
    return [Case(row.image, row.mask, _group(row)) for row in rows if row.mask is not None]


def _group(row: Row) -> str:
    return row.group or str(row.image)


def load_pair(case: Case, data: DataSettings, labels: Labels) -> tuple[Image, Mask]:
    """Read a case: the picture, and its mask on the picture's grid.

    Raises
    ------
    ReadError, ShapeError, MaskValuesError
        A file can't be read, the two differ in size, the mask has values that no label names.
    """
    image = read_image(case.image, data.read)
    raw = read_mask(case.mask, like=image, settings=data.read)
    return image, Mask(labels.encode(raw, str(case.mask)), labels, image.spacing_mm)


@dataclass(frozen=True)
class Prepared:
    """A case on the model's grid, in memory: (S, C, H, W) float32 in the model's range, (S, H, W) uint8 classes."""

    pictures: Tensor
    truth: Tensor

    @property
    def nbytes(self) -> int:
        return self.pictures.nbytes + self.truth.nbytes


def prepare_pair(image: Image, mask: Mask, settings: PreprocessSettings) -> Prepared:
    """Walk a pair to the model's grid, slice by slice."""
    preparation = prepare(image, settings)
    indices = mask.indices if image.is_volume else mask.indices[None]
    pictures = torch.stack(list(preparation.walk(image.slices)))
    return Prepared(pictures, torch.stack([preparation.apply_to_truth(plane) for plane in indices]))


@dataclass(frozen=True)
class Inventory:
    """What one look at every case found.

    pixels : (K,) pixels of each class over all cases
    slices : number of slices of each case
    anchors : for each class, (A, 4) rows of (case, slice, row, column): foreground pixels on the model's grid to centre patches on
    nbytes : what all cases need in memory
    fingerprint : sha256 over names, pixels and masks, in order
    empty : cases without any foreground
    """

    pixels: NDArray[np.int64]
    slices: tuple[int, ...]
    anchors: tuple[NDArray[np.int32], ...]
    nbytes: int
    fingerprint: str
    empty: int


class CaseStore:
    """Prepared cases by number, the most recently used kept in memory up to a limit."""

    def __init__(self, cases: Sequence[Case], run: RunConfig) -> None:
        self.cases = tuple(cases)
        self.labels = run.data.make_labels()
        self._data, self._preprocess = run.data, run.preprocess
        self._limit = run.train.cache_mb * 2**20
        self._kept: OrderedDict[int, Prepared] = OrderedDict()

    def __getitem__(self, index: int) -> Prepared:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        image, mask = load_pair(self.cases[index], self._data, self.labels)
        self._keep(index, prepare_pair(image, mask, self._preprocess))
        return self._kept[index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}  # each worker process fills its own

    def _keep(self, index: int, prepared: Prepared) -> None:
        self._kept[index] = prepared
        while sum(kept.nbytes for kept in self._kept.values()) > self._limit and len(self._kept) > 1:
            self._kept.popitem(last=False)


def take_inventory(store: CaseStore, progress: Callable[[Sequence[int]], Iterable[int]] = iter) -> Inventory:
    """Read every case once: bad pairs are found before training starts, not in its third hour.

    Raises
    ------
    ReadError, ShapeError, MaskValuesError, ChannelsError, RangeError
        Pairs can't be used: the first in full, the others counted.
    SettingsError
        A class stands in no mask at all.
    """
    digest = hashlib.sha256()
    counts = np.zeros(store.labels.num_classes, np.int64)
    slices, nbytes, empty = [], 0, 0
    anchors: list[list[NDArray[np.int32]]] = [[] for _ in store.labels.names]
    bad: dict[str, SegkitError] = {}
    for index in progress(range(len(store.cases))):
        try:
            prepared = store[index]
        except SegkitError as error:
            bad[store.cases[index].name] = error
            continue
        truth = prepared.truth.numpy()
        digest.update(store.cases[index].name.encode("utf-8", "surrogateescape") + prepared.pictures.numpy().tobytes() + truth.tobytes())
        present = np.bincount(truth[truth != IGNORE_INDEX].ravel(), minlength=len(counts))
        counts += present
        empty += int(not present[1:].any())
        slices.append(len(truth))
        nbytes += prepared.nbytes
        for kind in np.flatnonzero(present[1:]) + 1:
            anchors[kind].append(find_anchors(truth == kind, index))
    raise_first(bad)
    missing = [name for name, count in zip(store.labels.names, counts, strict=True) if count == 0]
    if missing:
        raise SettingsError(f"data: no mask of the {len(store.cases)} training pairs holds {' or '.join(missing)}; check data.labels {store.labels.mapping}")
    stacked = tuple(np.concatenate(rows) if rows else np.zeros((0, 4), np.int32) for rows in anchors)
    return Inventory(counts, tuple(slices), stacked, nbytes, digest.hexdigest(), empty)


def check_pairs(cases: Sequence[Case], run: RunConfig, progress: Callable[[Sequence[int]], Iterable[int]] = iter) -> None:
    """Read each pair once, as validation will; raises as `take_inventory`."""
    labels, bad = run.data.make_labels(), {}
    for case in (cases[index] for index in progress(range(len(cases)))):
        try:
            prepare(load_pair(case, run.data, labels)[0], run.preprocess)
        except SegkitError as error:
            bad[case.name] = error
    raise_first(bad)


def raise_first(bad: Mapping[str, SegkitError]) -> None:
    """Raise the first error, if there is one, with the names of the other cases: they are repaired in one go."""
    if not bad:
        return
    (_, first), *others = bad.items()
    if not others:
        raise first
    names = ", ".join(name for name, _ in others[:SHOWN])
    raise type(first)(f"{first} (and {len(others)} more bad pairs: {names}{', …' if len(others) > SHOWN else ''})") from first


def find_anchors(mask: NDArray[np.bool_], case: int) -> NDArray[np.int32]:
    """(A, 4) case, slice, row, column of at most `COORDINATES_KEPT` pixels a slice."""
    kept = []
    for plane in np.flatnonzero(mask.any(axis=(1, 2))):
        rows, columns = np.nonzero(mask[plane])
        chosen = np.linspace(0, len(rows) - 1, min(len(rows), COORDINATES_KEPT)).astype(int)
        kept.append(np.stack([np.full(len(chosen), case), np.full(len(chosen), plane), rows[chosen], columns[chosen]], axis=1))
    return np.concatenate(kept).astype(np.int32)


class PatchDataset(Dataset[Any]):
    """Sample number -> (R, C, h, w) float32 patch and (R, h, w) uint8 classes, augmented; or the error that its file raised.

    R neighbouring slices where the network looks along them, all augmented alike, else one.
    """

    def __init__(self, store: CaseStore, inventory: Inventory, run: RunConfig) -> None:
        self.store = store
        self._first_slice = np.concatenate([[0], np.cumsum(inventory.slices)])
        self._anchors = [rows for rows in inventory.anchors if len(rows)]
        self._train, self._slices = run.train, run.slices
        self._augmenter = Augmenter(run.augment, run.preprocess.intensity.model_range)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor] | SegkitError:
        rng = np.random.default_rng((self._train.seed, number))
        case, plane, centre = self._choose(rng)
        try:
            prepared = self.store[case]
            planes = neighbours(plane, self._slices, len(prepared.truth))
            pictures, truth = crop(prepared.pictures[planes], prepared.truth[planes], self._train.patch, centre, rng)
            seed = int(rng.integers(2**32))
            changed = [self._augmenter(one.numpy(), classes.numpy(), seed) for one, classes in zip(pictures, truth, strict=True)]
        except SegkitError as error:  # travels as a value, so that a worker's traceback does not bury its one line
            return error
        except (ValueError, RuntimeError, MemoryError, OSError) as error:  # from the libraries below, which know no file
            return TrainingError(f"{self.store.cases[case].image}: no patch could be made of it: {error!r}")
        return torch.stack([torch.from_numpy(picture) for picture, _ in changed]), torch.stack([torch.from_numpy(mask) for _, mask in changed])

    def _choose(self, rng: np.random.Generator) -> tuple[int, int, tuple[int, int] | None]:
        """Case, slice and perhaps a pixel to centre on: `foreground_share` of the time on a foreground pixel, the classes drawn evenly."""
        if rng.random() < self._train.foreground_share:
            anchors = self._anchors[rng.integers(len(self._anchors))]
            case, plane, row, column = (int(value) for value in anchors[rng.integers(len(anchors))])
            return case, plane, (row, column)
        drawn = int(rng.integers(self._first_slice[-1]))
        case = int(np.searchsorted(self._first_slice, drawn, side="right")) - 1
        return case, drawn - int(self._first_slice[case]), None


def neighbours(plane: int, count: int, depth: int) -> list[int]:
    """`count` slices in a row with `plane` in their middle, moved back in at the ends of the volume; a shorter volume is mirrored: 0 1 2 1 0 1."""
    if depth == 1:
        return [0] * count
    first = min(max(0, plane - count // 2), max(0, depth - count))
    period = 2 * (depth - 1)
    return [min(number % period, period - number % period) for number in range(first, first + count)]


def crop(picture: Tensor, truth: Tensor, patch: tuple[int, int], centre: tuple[int, int] | None, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A patch around `centre` as far as the border allows, or anywhere; a picture smaller than the patch is padded.

    (R, C, H, W), (R, H, W) -> (R, C, h, w), (R, h, w), the same place in each slice. Padding is the network's own, and the truth there is `IGNORE_INDEX`.
    """
    corner = []
    for axis, (length, size) in enumerate(zip(truth.shape[-2:], patch, strict=True)):
        last = max(0, length - size)
        corner.append(int(rng.integers(last + 1)) if centre is None else min(last, max(0, centre[axis] - size // 2)))
    rows, columns = (slice(start, start + size) for start, size in zip(corner, patch, strict=True))
    return pad_to(picture[..., rows, columns], truth[..., rows, columns], patch)


def pad_to(picture: Tensor, truth: Tensor, patch: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Grow evenly on both sides up to the patch's size."""
    missing = [size - length for length, size in zip(truth.shape[-2:], patch, strict=True)]
    if max(missing) <= 0:
        return picture, truth
    top, left = (max(0, lacking) // 2 for lacking in missing)
    columns, rows = (left, max(0, missing[1]) - left), (top, max(0, missing[0]) - top)
    return grow(picture, columns, rows), torch.nn.functional.pad(truth, (*columns, *rows), value=IGNORE_INDEX)


@dataclass
class BatchLoader:
    """Batches of training patches, from a given step on, until told to stop.

    Samples are numbered ``step * batch_size + position``; worker processes are spawned (as Windows and macOS do), end with
    the loader, and are given up after `worker_timeout` seconds of silence.
    """

    dataset: PatchDataset
    train: TrainSettings
    workers: int
    _iterator: Any = field(default=None, init=False)

    def batches(self, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(B, R, C, h, w) float32, channels last, and (B, R, h, w) uint8, for ever.

        Raises
        ------
        SegkitError
            What a sample's file raised, naming it.
        TrainingError
            A worker process died or fell silent.
        """
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=_Steps(first_step, self.train.batch_size),
            num_workers=self.workers,
            collate_fn=collate,
            multiprocessing_context="spawn" if self.workers else None,
            timeout=min(POLL_SECONDS, self.train.worker_timeout) if self.workers else 0,
            worker_init_fn=_ignore_signals if self.workers else None,
        )
        with _keeping_the_handler_of_dead_children():
            self._iterator = iter(loader)
        while True:
            batch = self._next()
            if isinstance(batch, SegkitError):
                raise batch
            yield batch

    def _next(self) -> Any:
        deadline = time.monotonic() + self.train.worker_timeout
        while True:
            try:
                return next(self._iterator)
            except (RuntimeError, EOFError, ConnectionError) as error:
                hung_up = not isinstance(error, RuntimeError)  # died with a batch on its way
                dead = hung_up or any(not process.is_alive() for process in self._processes())
                waiting = str(error).startswith("DataLoader timed out")  # torch's words; asking again is safe then
                if not dead and not waiting:
                    raise
                if dead or time.monotonic() > deadline:
                    what = "a worker process died" if dead else f"no batch came for {self.train.worker_timeout:g} s (train.worker_timeout)"
                    raise TrainingError(f"loading patches failed: {what}; with train.workers=0 they are loaded in this process") from error

    def close(self) -> None:
        """End the worker processes."""
        processes = self._processes()
        if processes:
            self._iterator._shutdown_workers()
        for process in processes:
            process.kill()  # those that did not heed it
            process.join()
        self._iterator = None

    def _processes(self) -> list[Any]:
        return list(self._iterator._workers) if self._iterator is not None and self.workers else []


@contextmanager
def _keeping_the_handler_of_dead_children() -> Iterator[None]:
    """torch would have a dead worker raise wherever this process is at that moment, in the middle of writing a file too; `BatchLoader` looks itself."""
    before = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before)


def _ignore_signals(worker: int) -> None:
    """Ctrl-C and SIGTERM may reach a whole group of processes: the run decides what follows, and still needs its workers for the step at hand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _Steps:
    """The sample numbers of step after step."""

    def __init__(self, first_step: int, batch_size: int) -> None:
        self._first, self._size = first_step, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        step = self._first
        while True:
            yield list(range(step * self._size, (step + 1) * self._size))
            step += 1


def collate(samples: Sequence[tuple[Tensor, Tensor] | SegkitError]) -> tuple[Tensor, Tensor] | SegkitError:
    """Samples -> a batch; the first error among them instead."""
    pairs = []
    for sample in samples:
        if isinstance(sample, SegkitError):
            return sample
        pairs.append(sample)
    pictures, masks = zip(*pairs, strict=True)
    together = torch.stack(pictures)                                   # (B, R, C, h, w)
    channels_last = together.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return channels_last.view(together.shape), torch.stack(masks)
