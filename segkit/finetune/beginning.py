"""A run that fails before anything is there to go on with leaves no trace, so that another try begins afresh."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segkit.errors import SegkitError
from segkit.finetune.plan import KEPT


@contextmanager
def without_new_folders(folder: Path) -> Iterator[None]:
    """Where an error of segkit ends the block, `folder` and those above it that were not there before it go again, unless something lies in them."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except SegkitError:
        for place in made:
            with suppress(OSError):                                          # it is not empty, or was never made
                place.rmdir()
        raise


@contextmanager
def without_new_files(folder: Path) -> Iterator[None]:
    """Where an error of segkit ends the block, what it made in a folder that was empty goes.

    In one that held something the request alone goes, if it replaced another: its files may have been replaced too.
    """
    is_empty, request = not _entries(folder), _request(folder)
    try:
        yield
    except SegkitError:
        for path in _entries(folder) if is_empty else ():
            _remove(path)
        if _request(folder) != request:
            _remove(folder / KEPT)
        raise


def _entries(folder: Path) -> list[Path]:
    """Without what is hidden, as the lock of the run at work is."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def _request(folder: Path) -> bytes | None:
    path = folder / KEPT
    return path.read_bytes() if path.is_file() else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
