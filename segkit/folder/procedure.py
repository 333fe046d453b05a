"""What is done with a file between its reader and the ledger: through the network, onto the disk, and into words."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from threading import Lock

from segkit.ahead import in_threads
from segkit.config import PredictSettings
from segkit.errors import CollisionError, SegkitError, WriteError
from segkit.folder.ledger import Entry, Failure, Result, digest_of
from segkit.folder.outputs import Extras, concerns_one_name, discard, write_all
from segkit.folder.pipeline import BEHIND, Item, segment_all
from segkit.io import ReadSettings, Source, mask_suffix
from segkit.predict import Model
from segkit.preprocess.intensity import cut_off_notes
from segkit.score import is_lack_of_memory


@dataclass
class Procedure:
    """What is done with each file, here or on a worker: it goes in as it was read, and what became of it comes out.

    shared : outputs that two sources share but for their endings; `written` are the masks of these
    earlier : a source's key -> places below OUT where an earlier run wrote something for it
    """

    model: Model
    out: Path
    predict: PredictSettings
    read: ReadSettings
    extras: Extras
    shared: Collection[PurePath]
    earlier: Callable[[str], Iterable[str]]
    written: set[Path] = field(default_factory=set)
    one_at_a_time: Lock = field(default_factory=Lock)

    def entries(self, items: Iterable[Item]) -> Iterator[Entry]:
        """Through the network and onto the disk, in their order."""
        found = segment_all(items, self.model, self.predict, self.extras)
        writers = 1 if self.model.engine.device.type == "cpu" else 4
        return in_threads(found, self._write, threads=writers, is_enough=lambda waiting: len(waiting) > BEHIND)

    def failed(self, source: Source, code: str, message: str) -> Entry:
        """A file that gives nothing: nothing of it stays."""
        discard(self._left_behind(source, ()))
        return Entry(source.key, failure=Failure(source.name, code, message))

    def _write(self, item: Item) -> Entry:
        """In a thread of its own: whatever became of a file, on the disk and in words."""
        try:
            if item.problem is not None:
                raise item.problem
            return self._write_found(item)
        except SegkitError as error:
            if isinstance(error, WriteError) and not concerns_one_name(error):
                raise
            return self.failed(item.source, error.code, str(error))
        except (MemoryError, RuntimeError) as error:
            if not is_lack_of_memory(error):
                raise
            return self.failed(item.source, "E_OOM", f"{item.source.name}: too little memory for it; try a smaller --tile")

    def _write_found(self, item: Item) -> Entry:
        began = time.monotonic()
        assert item.image is not None
        assert item.found is not None
        self._keep_apart(item)
        written = write_all(item.source, item.image, item.found, item.attention, self.extras, self.out)
        discard(self._left_behind(item.source, written))
        image, found, mask = item.image, item.found, item.found.mask
        notes = (*image.notes, *cut_off_notes(image, self.model.run.preprocess.intensity))
        seconds = item.seconds + time.monotonic() - began
        result = Result(item.source.name, str(written[0]), image.shape, mask.areas_px(), mask.areas_mm(), found.confidence, seconds, notes, found.expected_dice)
        outputs = {path.relative_to(self.out).as_posix(): digest_of(path) for path in written}
        return Entry(item.source.key, result, None, tuple((size, changed) for size, changed in item.state), outputs)

    def _keep_apart(self, item: Item) -> None:
        """a.png and a.tif become a.png and a.tif; but what was named a.tif may be a PNG."""
        if item.source.output not in self.shared or item.image is None:
            return
        target = self.out / f"{item.source.output}{mask_suffix(item.image)}"
        with self.one_at_a_time:
            if target in self.written:
                raise CollisionError(f"{item.source.name}: another picture has its mask at {target} already; rename one of the two")
            self.written.add(target)

    def _left_behind(self, source: Source, written: Sequence[Path]) -> Iterator[Path]:
        """What an earlier run left for this file, as the ledger says."""
        paths = (self.out / place for place in self.earlier(source.key))
        return (path for path in paths if path not in written and path not in self.written)
