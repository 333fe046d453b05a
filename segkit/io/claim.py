"""One process at a time in a folder.

The operating system's lock on a file says whether somebody is at work, and is freed however that process ends; what stands in the
file says who it is. On a file system without locks the file itself is the claim.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segkit.errors import SettingsError
from segkit.io.atomic import reason

NAME = ".segkit-lock"

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def claimed(folder: Path, name: str = NAME) -> Iterator[None]:
    """Keep others out of the folder, or of the share of its work that `name` stands for, inside the block.

    Raises
    ------
    SettingsError
        Another process has it, or nothing can be written there.
    """
    try:
        file, path = _take(folder / name)
    except OSError as error:
        raise SettingsError(f"{folder}: can't be written to: {reason(error)}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file: there an empty one stays
            path.unlink()
        os.close(file)


def _take(path: Path) -> tuple[int, Path]:
    """An open file that is ours alone and says so, and where it lies."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(file)
    except OSError as error:
        who = _read(file)
        os.close(file)
        if error.errno in _NO_LOCKS:
            path.unlink(missing_ok=True)
            return _create(path.with_name(f"{path.name}-claim"))
        raise SettingsError(f"{path.parent}: another run is at work here ({who}); wait for it, or choose another folder") from error
    if _is_at(file, path):
        return _sign(file), path
    os.close(file)  # its owner ended, and removed it, between our opening and our locking it
    return _take(path)


def _create(path: Path) -> tuple[int, Path]:
    """Where nothing can be locked: who can create the file has the folder. One of a process that died on this machine is taken over."""
    try:
        return _sign(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)), path
    except FileExistsError:
        who = path.read_text(encoding="utf-8", errors="replace")
    if _is_dead(who):
        path.unlink(missing_ok=True)
        return _create(path)
    raise SettingsError(f"{path.parent}: another run is at work here ({who}); wait for it; if it is no more, remove {path}")


def _sign(file: int) -> int:
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode())
    return file


def _read(file: int) -> str:
    """Who holds it; on Windows a locked file can't be read."""
    with suppress(OSError):
        return os.read(file, 300).decode("utf-8", "replace") or "another process"
    return "another process"


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _is_dead(who: str) -> bool:
    """Whether that process was one of this machine and is there no more."""
    words = who.replace(",", "").split()
    if len(words) < 4 or not words[1].isdecimal() or words[3] != socket.gethostname() or sys.platform == "win32":
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's
        return False
    return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
