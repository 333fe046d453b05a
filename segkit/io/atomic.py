"""The only door to the disk: a file is there whole, or as it was before.

Every writer of segkit writes to a temporary name beside the target, which then replaces it::

    out/0043.nii.gz    <-  out/.segkit-4711-9f86d081.tmp.nii.gz

A full disk, a crash or a power cut leaves at most a file of that pattern, which `find_sources` passes over.
"""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from segkit.errors import SegkitError, WriteError

TEMPORARY_PREFIX = ".segkit-"


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary name in the folder of `path`, with its ending; what is written there becomes `path` when the block ends.

    Missing folders are made. When the block raises, `path` stays as it was and the temporary file is removed.

    Raises
    ------
    WriteError
        For any `OSError` inside the block or while the file is put in place.
    """
    target = Path(path)
    temporary = target.with_name(_temporary_name(target.name))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _commit(temporary, target)
    except SegkitError:
        raise
    except OSError as error:
        raise WriteError(f"{target}: not written: {reason(error)}") from error
    finally:
        with suppress(OSError):  # the folder may be gone; the first error is the one to tell
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes) -> None:
    """`data` as the whole file; `WriteError` where that fails."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """UTF-8 with the line ends of `text`; file names that are not UTF-8 come out as the bytes they were."""
    write_bytes(path, text.encode("utf-8", errors="surrogateescape"))


def write_json(path: Path | str, data: Any) -> None:
    """Strict ASCII JSON: NaN and infinities, which JSON does not know, become null; NumPy values and paths are understood."""
    write_text(path, json.dumps(_strict(data), indent=2, ensure_ascii=True, allow_nan=False) + "\n")


def write_csv(path: Path | str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Comma-separated with a header line; None becomes an empty field."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        plain, quoted = (csv.writer(file, lineterminator="\n", quoting=quoting) for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
        plain.writerow(header)
        for row in rows:                           # one at a time: there may be millions
            (quoted if any("\r" in cell for cell in row if isinstance(cell, str)) else plain).writerow(row)  # which ends a line for who reads it


def reason(error: OSError) -> str:
    """Why something can't be written, in words for people, and what to do; of a `WriteError` the reason behind it."""
    if isinstance(error.__cause__, OSError):
        return reason(error.__cause__)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "the disk is full; free some space and run again"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "permission denied; choose a folder that you may write to"
        case errno.EISDIR:
            return "a folder of that name is in the way; choose another name"
        case errno.ENOTDIR | errno.EEXIST:
            return "a part of its path is a file, not a folder; choose another folder"
        case errno.ENOENT:
            return "its folder is gone or can't be made; choose another folder"
        case _:
            return f"{error.strerror or error}; choose another folder"


def _commit(temporary: Path, target: Path) -> None:
    """Each file of segkit passes here on its way to its name: to the disk first, then renamed."""
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, target)
    if os.name == "posix":
        with suppress(OSError):  # some network file systems can't; the file itself is in place
            _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary_name(name: str) -> str:
    endings = Path(name).suffixes
    kept = endings[-2:] if endings[-1:] == [".gz"] else endings[-1:]
    return f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}.tmp{''.join(kept)}"


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _strict(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
