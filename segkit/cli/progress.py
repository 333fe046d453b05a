"""Progress on stderr: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from segkit.train import Report, Row, Watcher

Item = TypeVar("Item")

PLAIN_EVERY = 15.0
"""Seconds between two lines where there is no terminal."""


def watch(items: Iterable[Item], what: str, quiet: bool = False, total: int | None = None) -> Iterator[Item]:
    """Hand the items on; a bar on a terminal, a line now and then elsewhere, nothing where there is one item or quiet was asked for.

    `total` is how many there are, where `items` can't say so itself.
    """
    count = len(items) if isinstance(items, Sized) else total or 0
    if quiet or count < 2:
        yield from items
    elif sys.stderr.isatty():
        columns = (TextColumn(what), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield from bar.track(items, total=count)
    else:
        told = time.monotonic()
        for number, item in enumerate(items):
            if time.monotonic() - told > PLAIN_EVERY:
                told = time.monotonic()
                print(f"{what} {number}/{count}", file=sys.stderr, flush=True)
            yield item


@contextmanager
def counting(what: str, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A number that grows, nobody knows how far: live on a terminal, a line now and then elsewhere. Inside the block it is handed over."""
    if not quiet and sys.stderr.isatty():
        with Progress(TextColumn(what + " {task.completed}"), console=Console(stderr=True), transient=True) as live:
            task = live.add_task("")
            yield lambda number: live.update(task, completed=number)
        return
    told = time.monotonic()

    def tell(number: int) -> None:
        nonlocal told
        if not quiet and time.monotonic() - told > PLAIN_EVERY:
            told = time.monotonic()
            print(f"{what} {number}", file=sys.stderr, flush=True)

    yield tell


class TrainingProgress:
    """A watcher of a training run."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False, force_terminal=sys.stderr.isatty())  # FORCE_COLOR makes no terminal of a pipe
        self._live = Progress(
            BarColumn(),
            TextColumn("step {task.fields[step]}  loss {task.fields[loss]:.4f}  {task.fields[dice]}"),
            TextColumn("{task.fields[rate]:.0f} patches/s  {task.fields[left]} left"),
            console=self._console,
            transient=True,
        )
        self._download: Progress | None = None
        self._task: Any = None
        self._told = 0.0
        self._dice = "Dice –"
        self._rate = math.nan

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end_download()
        if self._task is not None:  # stopping a bar that never began prints an empty line
            self._live.stop()

    def scan(self, cases: Sequence[int]) -> Iterable[int]:
        return watch(cases, "reading pairs")

    def note(self, text: str) -> None:
        self._end_download()
        self._console.print(text, markup=False)

    def downloading(self, name: str, done: int, total: int) -> None:
        if self._console.is_terminal:
            if self._download is None:
                self._download = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=self._console, transient=True)
                self._download.add_task(name, total=total or None)
                self._download.start()
            self._download.update(self._download.task_ids[0], completed=done)
        elif time.monotonic() - self._told > PLAIN_EVERY:
            self._told = time.monotonic()
            self.note(f"downloading {name}  {done / 1e6:.1f}" + (f" of {total / 1e6:.1f} MB" if total else " MB"))

    def _end_download(self) -> None:
        """What follows a download is a note of what was loaded, or the end; two live bars can't share a terminal."""
        if self._download is not None:
            self._download.stop()
            self._download = None

    def stepped(self, report: Report) -> None:
        self._rate = report.patches_per_second if math.isnan(self._rate) else 0.9 * self._rate + 0.1 * report.patches_per_second
        if self._console.is_terminal:
            fields: dict[str, Any] = {"step": report.step, "loss": report.loss, "dice": self._dice, "rate": self._rate, "left": clock(report.seconds_left)}
            if self._task is None:
                self._live.start()
                self._task = self._live.add_task("train", total=1.0, **fields)
            self._live.update(self._task, completed=report.progress, **fields)
        elif time.monotonic() - self._told > PLAIN_EVERY:
            self._told = time.monotonic()
            self.note(f"step {report.step}  loss {report.loss:.4f}  {self._dice}  {self._rate:.0f} patches/s  {clock(report.seconds_left)} left")

    def validated(self, row: Row) -> None:
        self._dice = "Dice " + "  ".join(f"{name} {value:.4f}" for name, value in row.dice.items())
        self.note(f"step {row.step}  {row.minutes:.1f} min  loss {row.loss:.4f}  validation {self._dice}")


def clock(seconds: float) -> str:
    """75 -> "1:15"."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def training_watcher(quiet: bool) -> AbstractContextManager[Watcher]:
    """A new watcher of a training: one that is silent, or draws its progress."""
    from segkit.train import Silence

    return nullcontext(Silence()) if quiet else TrainingProgress()
