"""What is written for a picture: its mask, and what was asked for beside it; and what of an earlier run must not stay."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from segkit.attend import AttentionMap
from segkit.errors import CollisionError, SettingsError, WriteError
from segkit.image import Image
from segkit.io import Source, atomic_path, mask_suffix, write_mask, write_png
from segkit.io.atomic import TEMPORARY_PREFIX, reason
from segkit.plot import contact_sheet, heat_map, overlay, to_display, with_scale
from segkit.predict import Segmentation

BESIDE = ("overlays", "probabilities", "attention")
"""Folders of OUT that hold no masks."""

MASK_SUFFIXES = (".png", ".tif", ".nii", ".nii.gz")


@dataclass(frozen=True)
class Extras:
    """What is written beside each mask."""

    overlay: bool = False
    probabilities: bool = False
    attention: bool = False


@dataclass(frozen=True)
class Attention:
    """The maps of one slice: a picture has slice 0 alone."""

    plane: int
    maps: Sequence[AttentionMap]


def write_all(source: Source, image: Image, found: Segmentation, attention: Attention | None, extras: Extras, out: Path) -> list[Path]:
    """The mask first; all files that were written.

    Raises
    ------
    WriteError
        One of them can't be written.
    """
    mask = out / f"{source.output}{mask_suffix(image)}"
    write_mask(found.mask, image, mask)
    written = [mask]
    if extras.overlay:
        written.append(out / "overlays" / f"{source.output}.png")
        write_png(written[-1], overlay(image, found.mask.indices))
    if extras.probabilities:
        written.append(_write_probabilities(found, image, out / "probabilities" / str(source.output)))
    if attention is not None:
        written += _write_attention(found, image, attention, out / "attention" / f"{source.output}_attention")
    return written


def _write_probabilities(found: Segmentation, image: Image, stem: Path) -> Path:
    """Where the mask is NIfTI: the same with a further axis of classes, float32. Others: .npz with `classes` and, on the file's own grid,
    `probabilities` (H, W, K) or (S, H, W, K) float16.
    """
    assert found.probabilities is not None
    upright = np.moveaxis(found.probabilities, 0, -1)                           # (H, W, K) or (S, H, W, K)
    suffix = mask_suffix(image)
    if suffix.startswith(".nii"):
        path = stem.with_name(stem.name + suffix)
        image.origin.write(upright.astype(np.float32), path)
        return path
    stored = upright if image.origin is None else image.origin.to_file(upright)
    path = stem.with_name(f"{stem.name}.npz")
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, probabilities=stored, classes=np.array(found.mask.labels.names))
    return path


def _write_attention(found: Segmentation, image: Image, attention: Attention, folder: Path) -> list[Path]:
    """A drawing of each map into the folder, and all of them on one sheet beside it, behind the mask; of a volume, those of one slice."""
    indices = found.mask.indices
    (picture,), mask = to_display(image, [attention.plane]), indices[attention.plane] if image.is_volume else indices
    tiles = [(f"mask: {', '.join(found.mask.labels.foreground)}", overlay(Image(np.moveaxis(picture, -1, 0)), mask))]
    written = [folder.with_name(f"{folder.name}.png")]
    for one in attention.maps:
        drawn = heat_map(picture, one.weights)
        written.append(folder / f"{one.name}.png")
        write_png(written[-1], with_scale(drawn))
        tiles.append((f"{one.caption}\nweights {one.weights.min():.2f} to {one.weights.max():.2f}", drawn))
    where = f", slice {attention.plane + 1} of {len(indices)}" if image.is_volume else ""
    write_png(written[0], contact_sheet(tiles, f"{Path(image.name).name}{where}: the mask, and spatial attention"))
    return written


def masks_of(stem: Path) -> list[Path]:
    """All names that the mask of a picture may have."""
    return [stem.with_name(stem.name + suffix) for suffix in MASK_SUFFIXES]


def discard(paths: Iterable[Path]) -> None:
    """Nothing of an earlier run stays beside a new mask, and nothing at all of a file that failed: it would be taken for a result. Other people's
    files stay, whatever they are named.
    """
    for path in paths:
        with suppress(OSError):  # a name too long to exist
            path.unlink()


def concerns_one_name(error: WriteError) -> bool:
    """Whether only this file's name is in the way; a full disk would fail every file after it too."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENAMETOOLONG, errno.EISDIR)


def check_out(sources: Sequence[Source], out: Path) -> None:
    """Before the first picture is read.

    Raises
    ------
    SettingsError
        OUT is a file, the folder of a training run, or can't be written to.
    CollisionError
        A mask would replace an input, or lie among what is written beside the masks.
    """
    if out.exists() and not out.is_dir():
        raise SettingsError(f"{out}: is a file; -o takes a folder for the masks")
    if (out / "state.pt").exists() or (out / "model.safetensors").exists():
        raise SettingsError(f"{out}: is the folder of a training run, whose run.json would be lost; choose another with -o, for example {out / 'masks'}")
    _check_names(sources, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out, prefix=TEMPORARY_PREFIX):
            pass
    except OSError as error:
        raise SettingsError(f"{out}: can't be written to: {reason(error)}") from error


def _check_names(sources: Sequence[Source], out: Path) -> None:
    for source in sources:
        first, _, _ = source.folder.partition(os.sep)
        if first in BESIDE:
            raise CollisionError(f"{source.name}: its mask would lie among the {first} of OUT; rename that folder below INPUT")
    folders = {folder for folder in {source.folder for source in sources} if (out / folder).is_dir()}   # few, perhaps of millions of files
    files = (os.path.realpath(file) if os.path.islink(file) else file for source in sources for file in source.places) if folders else ()
    read_from = {os.path.realpath(folder) for folder in {os.path.dirname(file) for file in files}}
    written_to = {folder for folder in folders if os.path.realpath(out / folder) in read_from}
    near = [source for source in sources if source.folder in written_to]
    inputs = {file.resolve() for source in sources for file in source.files} if near else set()
    for source in near:
        clash = [path for path in masks_of(out / source.output) if path.resolve() in inputs]
        if clash:
            raise CollisionError(f"{clash[0]}: the mask of {source.name} would replace this input file; choose another folder with -o")


def sweep(out: Path) -> None:
    """Remove half-written files that a killed run left below OUT; only for who has OUT to itself."""
    if not (out / ".segkit").exists():
        return
    for folder, below, names in os.walk(out):
        below[:] = [name for name in below if not Path(folder, name, ".segkit").exists()]      # another run's OUT, which may be at work
        for name in names:
            if name.startswith(TEMPORARY_PREFIX) and ".tmp" in name:
                with suppress(OSError):
                    Path(folder, name).unlink()
