"""One run at a time in a folder."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segkit.errors import SettingsError
from segkit.io.atomic import reason

NAME = ".segkit-lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder inside the block. The operating system frees the lock when the process ends, however it ends.

    Raises
    ------
    SettingsError
        Another run has it, or nothing can be written there.
    """
    try:
        file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise SettingsError(f"{folder}: can't be written to: {reason(error)}") from error
    try:
        try:
            _lock(file)
        except (BlockingIOError, PermissionError) as error:
            raise SettingsError(f"{folder}: another run is at work here; wait for it, or choose another folder") from error
        try:
            yield
        finally:
            _unlock(folder / NAME)
    finally:
        os.close(file)


def _unlock(path: Path) -> None:
    with suppress(OSError):  # Windows removes no open file: there an empty one stays
        path.unlink()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # a file system without locks: nobody can be kept out
                raise
