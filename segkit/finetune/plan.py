"""What is asked for, and all that is known before the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.finetune.machine import Machine
from segkit.finetune.recipe import Recipe
from segkit.finetune.splits import Division
from segkit.finetune.survey import Survey
from segkit.labels import Labels

CONFIG, MANIFEST = "config.yaml", "manifest.csv"


@dataclass(frozen=True)
class Request:
    """What was asked for; the rest is derived.

    labels : what the values in the masks mean; None where the data set or the values say it
    minutes : of training, of each fold
    start : a model to begin with
    freeze_epochs : with `freeze`, how long; None for the whole run
    patience : validations without a better score after which training ends; None for no early end
    overrides : ``"a.b=c"``, last
    validation_share, test_share : where the data set has no splits; None for the usual ones
    folds : 0 for one training
    """

    dataset: Path
    folder: Path
    labels: Labels | None = None
    minutes: float = 10
    start: str | Path | None = None
    freeze: bool = False
    freeze_epochs: float | None = None
    patience: int | None = None
    overrides: Sequence[str] = ()
    device: str = "auto"
    precision: str = "auto"
    validation_share: float | None = None
    test_share: float | None = None
    seed: int = 0
    folds: int = 0
    smoke_test: bool = True


@dataclass(frozen=True)
class Plan:
    """All that is known before the training."""

    survey: Survey
    divisions: tuple[Division, ...]
    recipe: Recipe
    machine: Machine
    configs: tuple[Path, ...]
    belonging: float | None
