"""Graphs kept from one run to the next."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segkit.errors import WriteError

KEPT = 16
"""Graphs that are kept, those that were used last; each is as large as its model's weights."""

ENDING = ".graph"
DIGEST_BYTES = 32


@dataclass(frozen=True)
class Shelf:
    """A folder of files KEY.graph: the sha256 of a graph, then the graph.

    A file that is damaged, or that another user wrote, is made anew. A shelf that can't be written to costs time and a warning, no result.

    folder : may be missing
    write : puts bytes into a file, whole or not at all; `WriteError` where it can't (`segkit.io.write_bytes`)
    """

    folder: Path
    write: Callable[[Path, bytes], None]

    def fetch(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The graph of that key: from its file, else made and put there."""
        path = self.folder / f"{key}{ENDING}"
        graph = _read(path)
        if graph is None:
            graph = make()
            self._put(path, graph)
        return graph

    def _put(self, path: Path, graph: bytes) -> None:
        try:
            self.write(path, hashlib.sha256(graph).digest() + graph)
        except WriteError as error:
            warnings.warn(f"the network's graph was not kept, so the next run will make it again: {error}", stacklevel=2)
            return
        self._clear()

    def _clear(self) -> None:
        with suppress(OSError):  # another run may clear at the same time
            for path in sorted(self.folder.glob(f"*{ENDING}"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
                path.unlink()


def _read(path: Path) -> bytes | None:
    """The graph in a file, None where there is none that may be used; a graph that is used becomes the youngest."""
    try:
        if not _is_own(path):
            return None
        content = path.read_bytes()
        graph = content[DIGEST_BYTES:]
        if hashlib.sha256(graph).digest() != content[:DIGEST_BYTES]:
            return None
        os.utime(path)
        return graph
    except OSError:
        return None


def _is_own(path: Path) -> bool:
    """Whether this user wrote it: a graph of somebody else's would decide what the masks are."""
    return not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()
