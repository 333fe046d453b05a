"""What is told of a run: to whoever watches, and to the files in its folder."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from segkit import __version__
from segkit.config import RunConfig
from segkit.dataset import Case, Inventory
from segkit.engines import describe
from segkit.errors import MissingExtraError
from segkit.io import write_csv, write_png
from segkit.plot import curves


@dataclass(frozen=True)
class Report:
    """The run after a step; `progress` goes from 0 to 1."""

    step: int
    progress: float
    loss: float
    patches_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Row:
    """A validation: a line of log.csv. `dice` is the mean over cases of each foreground class."""

    step: int
    minutes: float
    learning_rate: float
    loss: float
    dice: Mapping[str, float]

    @property
    def mean_dice(self) -> float:
        """Over the classes that were there; NaN where none was."""
        known = [value for value in self.dice.values() if math.isfinite(value)]
        return sum(known) / len(known) if known else math.nan


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    reason : "finished", "stopped early" or "interrupted"
    best : mean validation Dice of the weights that were kept
    signal : the number of the one that asked to stop; also where the run was at its end by then, for who has more to do after it
    """

    reason: str
    best: float
    steps: int
    minutes: float
    signal: int | None = None


class Watcher(Protocol):
    """Told how the run goes; the command line draws it."""

    def scan(self, cases: Sequence[int]) -> Iterable[int]: ...
    def note(self, text: str) -> None: ...
    def downloading(self, name: str, done: int, total: int) -> None: ...
    def stepped(self, report: Report) -> None: ...
    def validated(self, row: Row) -> None: ...


class Silence:
    """A watcher that says nothing."""

    def scan(self, cases: Sequence[int]) -> Iterable[int]:
        return cases

    def note(self, text: str) -> None: ...
    def downloading(self, name: str, done: int, total: int) -> None: ...
    def stepped(self, report: Report) -> None: ...
    def validated(self, row: Row) -> None: ...


def write_log(folder: Path, history: Sequence[Row]) -> None:
    """log.csv and curves.png."""
    classes = list(history[-1].dice)
    header = ["step", "minutes", "learning_rate", "loss", "mean_dice", *(f"dice_{name}" for name in classes)]
    write_csv(folder / "log.csv", header, [_cells(row) for row in history])
    steps = [float(row.step) for row in history]
    dice = curves(steps, {name: [row.dice[name] for row in history] for name in classes}, title="Dice on the validation pictures", x_label="step")
    loss = curves(steps, {"training loss": [row.loss for row in history]}, title="Loss on the training patches", x_label="step")
    write_png(folder / "curves.png", np.concatenate([dice, loss]))


def _cells(row: Row) -> list[str | int]:
    dice = [f"{value:.5f}" for value in (row.mean_dice, *row.dice.values())]
    return [row.step, f"{row.minutes:.3f}", f"{row.learning_rate:.3e}", f"{row.loss:.5f}", *dice]


def facts(run: RunConfig, inventory: Inventory, training: Sequence[Case], validation: Sequence[Case], device: torch.device, precision: str) -> dict[str, Any]:
    """run.json as it stands at the start; paths among its settings are relative to `directory`."""
    return {
        "segkit": __version__,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "machine": {"system": platform.platform(), "device": describe(device)},
        "precision": precision,
        "seed": run.train.seed,
        "settings": run.model_dump(mode="json"),
        "directory": str(Path.cwd()),
        "data": {
            "fingerprint": inventory.fingerprint,
            "pixels": dict(zip(run.data.labels, inventory.pixels.tolist(), strict=True)),
            "slices": sum(inventory.slices),
            "training": [case.name for case in training],
            "validation": [case.name for case in validation],
        },
    }


def ending(outcome: Outcome, history: Sequence[Row]) -> dict[str, Any]:
    """What run.json gains at the end."""
    return {"outcome": asdict(outcome), "validations": [{**asdict(row), "mean_dice": row.mean_dice} for row in history]}


class Track:
    """TensorBoard's event files, where `train.tensorboard` asks for them; a silent nothing otherwise."""

    def __init__(self, folder: Path, wanted: bool) -> None:
        """Raises MissingExtraError where TensorBoard is not installed."""
        self._writer: Any = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingExtraError("train.tensorboard needs TensorBoard: pip install tensorboard (the extra [track]), or leave it out") from error
            self._writer = SummaryWriter(str(folder / "tensorboard"))

    def row(self, row: Row) -> None:
        if self._writer is not None:
            self._writer.add_scalar("loss", row.loss, row.step)
            self._writer.add_scalar("learning_rate", row.learning_rate, row.step)
            for name, value in row.dice.items():
                self._writer.add_scalar(f"dice/{name}", value, row.step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
