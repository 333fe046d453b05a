"""Prediction over files: each source walks, its mask is written, and one row says what was found in it.

The output folder::

    OUT/
    ├── <path below INPUT>/<stem>.<ext>      masks
    ├── overlays/...png                      with save_overlay
    ├── probabilities/...npz or .nii.gz      with save_probabilities
    ├── attention/...<stem>_attention.png    with save_attention: all maps on one sheet, and
    │                 <stem>_attention/      each by itself: encoder_<block>.png, skip<level>_stride<pixels>.png
    ├── results.csv                          a row a file
    ├── failures.csv                         path, code, message; only where something failed
    └── run.json                             model, settings, labels, machine
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segkit import __version__
from segkit.config import PredictSettings
from segkit.engines import describe
from segkit.errors import CollisionError, SegkitError, SettingsError, WriteError
from segkit.image import Image
from segkit.io import ReadSettings, Source, atomic_path, choose_split, mask_suffix, read_manifest, write_csv, write_json, write_mask, write_png
from segkit.io.atomic import reason
from segkit.io.files import check_outputs, stem
from segkit.plot import contact_sheet, heat_map, overlay, to_display, with_scale
from segkit.predict import Model, Segmentation, attend, fullest_slice, require_attention, segment
from segkit.preprocess.intensity import cut_off_notes

BESIDE = ("overlays", "probabilities", "attention")
"""Folders of OUT that hold no masks."""


@dataclass(frozen=True)
class Extras:
    """What is written beside each mask."""

    overlay: bool = False
    probabilities: bool = False
    attention: bool = False


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

    def cells(self) -> list[Any]:
        """mm² for a picture, mm³ for a volume; the other one stays empty."""
        areas: list[Any] = []
        for name, pixels in self.areas_px.items():
            size = "" if self.areas_mm is None else f"{self.areas_mm[name]:.4f}"
            areas += [pixels, *((size, "") if len(self.shape) == 2 else ("", size))]
        return [self.file, self.output, "x".join(map(str, self.shape)), *areas, f"{self.confidence:.5f}", f"{self.seconds:.3f}", " | ".join(self.notes)]

    @staticmethod
    def header(classes: Iterable[str]) -> list[str]:
        return ["file", "output", "shape", *(f"{name}_{unit}" for name in classes for unit in ("px", "mm2", "mm3")), "mean_confidence", "seconds", "notes"]


@dataclass(frozen=True)
class Failure:
    """A file that could not be used: a row of failures.csv."""

    path: str
    code: str
    message: str


@dataclass(frozen=True)
class Summary:
    """What became of the files."""

    results: tuple[Result, ...]
    failures: tuple[Failure, ...]


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


Watch = Callable[[Sequence[Source]], Iterable[Source]]
"""Hands the sources on, one by one, and may draw a bar."""


def predict_files(
    sources: Sequence[Source],
    model: Model,
    out: Path,
    *,
    predict: PredictSettings,
    read: ReadSettings,
    extras: Extras = Extras(),
    known_failures: Sequence[Failure] = (),
    watch: Watch = iter,
) -> Summary:
    """Walk every source and write what it gives; a bad file gets a row and stops nothing.

    Raises
    ------
    SettingsError, CollisionError
        `out` can't be written to, a mask would replace an input file, two pictures would share an overlay, or the network has no attention to draw.
    WriteError
        The disk is full or the folder went away: that would fail every file after it too. A name that is too long is a row.
    """
    if extras.attention:
        require_attention(model)
    if extras != Extras():
        check_outputs(sources, beside=True)
    _check_out(sources, out)
    write_json(out / "run.json", _facts(model, predict, read))
    written: set[Path] = set()
    results: list[Result] = []
    failures = list(known_failures)
    try:
        for done, source in enumerate(watch(sources), start=1):
            try:
                results.append(_predict_one(source, model, out, predict, read, extras, written))
            except SegkitError as error:
                if isinstance(error, WriteError) and not _concerns_one_name(error):
                    raise
                failures.append(Failure(source.name, error.code, str(error)))
                _discard(source, out, written)
            except (MemoryError, RuntimeError) as error:
                if not _is_lack_of_memory(error):
                    raise
                failures.append(Failure(source.name, "E_OOM", f"{source.name}: too little memory for it; try a smaller --tile"))
                _discard(source, out, written)
            if done & (done - 1) == 0:  # now and then: the tables' time stays a small share of the whole, however many files there are
                _write_tables(out, model, results, failures)
    finally:
        _write_tables(out, model, results, failures)
    return Summary(tuple(results), tuple(failures))


def _predict_one(source: Source, model: Model, out: Path, predict: PredictSettings, read: ReadSettings, extras: Extras, written: set[Path]) -> Result:
    """`written` are the masks of this run, to which the new one is added."""
    began = time.monotonic()
    image = source.read(read)
    found = segment(image, model, predict, keep_probabilities=extras.probabilities)
    target = out / f"{source.output}{mask_suffix(image)}"
    if target in written:
        raise CollisionError(f"{source.name}: another picture has its mask at {target} already; rename one of the two")
    write_mask(found.mask, image, target)
    written.add(target)
    _discard(source, out, written)
    if extras.overlay:
        write_png(out / "overlays" / f"{source.output}.png", overlay(image, found.mask.indices))
    if extras.probabilities:
        _write_probabilities(found, image, out / "probabilities" / str(source.output), mask_suffix(image))
    if extras.attention:
        _write_attention(found.mask.indices, image, model, predict, out / "attention" / f"{source.output}_attention")
    seconds = time.monotonic() - began
    notes = (*image.notes, *cut_off_notes(image, model.run.preprocess.intensity))
    return Result(source.name, str(target), image.shape, found.mask.areas_px(), found.mask.areas_mm(), found.confidence, seconds, notes)


def _write_probabilities(found: Segmentation, image: Image, stem: Path, suffix: str) -> None:
    """Where the mask is NIfTI: the same with a further axis of classes, float32. Others: .npz with `classes` and, on the file's own grid,
    `probabilities` (H, W, K) or (S, H, W, K) float16.
    """
    assert found.probabilities is not None
    upright = np.moveaxis(found.probabilities, 0, -1)                           # (H, W, K) or (S, H, W, K)
    if suffix.startswith(".nii"):
        image.origin.write(upright.astype(np.float32), stem.with_name(stem.name + suffix))
        return
    stored = upright if image.origin is None else image.origin.to_file(upright)
    with atomic_path(stem.with_name(f"{stem.name}.npz")) as temporary:
        np.savez_compressed(temporary, probabilities=stored, classes=np.array(found.mask.labels.names))


def _write_attention(indices: NDArray[np.uint8], image: Image, model: Model, predict: PredictSettings, folder: Path) -> None:
    """A drawing of each map into the folder, and all of them on one sheet beside it; of a volume, those of the slice with the most foreground."""
    plane = fullest_slice(indices)
    picture, mask = to_display(image)[plane], indices[plane] if image.is_volume else indices
    tiles = [(f"mask: {', '.join(model.labels.foreground)}", overlay(Image(np.moveaxis(picture, -1, 0)), mask))]
    stale = set(folder.glob("*.png"))
    for found in attend(image, model, predict, plane=plane):
        drawn = heat_map(picture, found.weights, mask > 0)
        write_png(folder / f"{found.name}.png", with_scale(drawn))
        tiles.append((f"{found.caption}\nweights {found.weights.min():.2f} to {found.weights.max():.2f}", drawn))
        stale.discard(folder / f"{found.name}.png")
    for path in stale:
        path.unlink(missing_ok=True)
    title = f"{Path(image.name).name}{f', slice {plane + 1} of {len(indices)}' if image.is_volume else ''}: spatial attention, the mask outlined in white"
    write_png(folder.with_name(f"{folder.name}.png"), contact_sheet(tiles, title))


def _write_tables(out: Path, model: Model, results: Sequence[Result], failures: Sequence[Failure]) -> None:
    """results.csv, and failures.csv where there are any; that of an earlier run goes."""
    write_csv(out / "results.csv", Result.header(model.labels.foreground), [result.cells() for result in results])
    if failures:
        write_csv(out / "failures.csv", ["path", "code", "message"], [[row.path, row.code, row.message] for row in failures])
    else:
        (out / "failures.csv").unlink(missing_ok=True)


def _discard(source: Source, out: Path, written: Collection[Path]) -> None:
    """Nothing of an earlier run stays beside a new mask, and nothing at all of a file that failed: it would be taken for a result.

    `written` stay: the masks of this run, among which may be that of a.png beside a failed a.tif.
    """
    stem = str(source.output)
    beside = (out / "overlays" / f"{stem}.png", *_masks(out / "probabilities" / stem), out / "probabilities" / f"{stem}.npz")
    attention = out / "attention" / f"{stem}_attention"
    for path in (*_masks(out / stem), *beside, attention.with_name(f"{attention.name}.png"), *attention.glob("*.png")):
        if path not in written:
            with suppress(OSError):  # a name too long to exist
                path.unlink()


def _concerns_one_name(error: WriteError) -> bool:
    """Whether only this file's name is in the way; a full disk would fail every file after it too."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENAMETOOLONG, errno.EISDIR)


def _masks(stem: Path) -> list[Path]:
    return [stem.with_name(stem.name + suffix) for suffix in (".png", ".tif", ".nii", ".nii.gz")]


def _is_lack_of_memory(error: Exception) -> bool:
    """torch has a class of its own for a GPU, and only words for a CPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "not enough memory" in str(error)


def _check_out(sources: Sequence[Source], out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise SettingsError(f"{out}: is a file; -o takes a folder for the masks")
    if (out / "state.pt").exists() or (out / "model.safetensors").exists():
        raise SettingsError(f"{out}: is the folder of a training run, whose run.json would be lost; choose another with -o, for example {out / 'masks'}")
    inputs = {file.resolve() for source in sources for file in source.files}
    for source in sources:
        if source.output.parts[0] in BESIDE and len(source.output.parts) > 1:
            raise CollisionError(f"{source.name}: its mask would lie among the {source.output.parts[0]} of OUT; rename that folder below INPUT")
        clash = [path for path in _masks(out / str(source.output)) if path.resolve() in inputs]
        if clash:
            raise CollisionError(f"{clash[0]}: the mask of {source.name} would replace this input file; choose another folder with -o")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with atomic_path(out / ".segkit-writable") as temporary:
            temporary.touch()
        (out / ".segkit-writable").unlink()
    except OSError as error:
        raise SettingsError(f"{out}: can't be written to: {reason(error)}") from error


def _facts(model: Model, predict: PredictSettings, read: ReadSettings) -> dict[str, Any]:
    data = model.run.data
    return {
        "segkit": __version__,
        "labels": data.labels,
        "ignore": data.ignore,
        "mask_threshold": data.mask_threshold,
        "model": {"trained_on": model.card.trained_on, "fingerprint": model.card.fingerprint, "steps": model.card.steps, "scores": model.card.scores},
        "settings": {"predict": predict.model_dump(mode="json"), "read": read.model_dump(mode="json")},
        "device": describe(model.engine.device),
        "precision": model.engine.precision,
    }
