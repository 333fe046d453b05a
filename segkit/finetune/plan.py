"""What is asked for, and all that is known before the training; both are kept in the folder of the run, so that it can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from segkit.errors import SettingsError
from segkit.io import write_json
from segkit.labels import Labels

CONFIG, MANIFEST = "config.yaml", "manifest.csv"

KEPT = "finetune.json"
"""Request and plan."""


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

    @property
    def places(self) -> list[Path]:
        """The folder of each training."""
        return [self.folder / f"fold{number}" for number in range(self.folds)] or [self.folder]

    @property
    def configs(self) -> list[Path]:
        return [place / CONFIG for place in self.places]

    def to_json(self) -> dict[str, Any]:
        """But for the folder, which may be moved."""
        told = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "folder"}
        labels = None if self.labels is None else {"mapping": self.labels.mapping, "ignore": self.labels.ignore, "threshold": self.labels.threshold}
        start = str(self.start) if isinstance(self.start, Path) else self.start
        return {**told, "dataset": str(self.dataset.resolve()), "labels": labels, "start": start, "overrides": list(self.overrides)}

    @staticmethod
    def from_json(told: dict[str, Any], folder: Path) -> Request:
        """KeyError or TypeError where it is none."""
        labels = told["labels"]
        known = None if labels is None else Labels.from_mapping(labels["mapping"], ignore=labels["ignore"], threshold=labels["threshold"])
        return Request(**{**told, "dataset": Path(told["dataset"]), "folder": folder, "labels": known, "overrides": tuple(told["overrides"])})


@dataclass(frozen=True)
class Plan:
    """What the trial before the training has to know of the survey.

    pictures : numbers of the training cases (of the first fold) that are to be learnt by heart
    belonging : by how many standard errors the masks belong to their pictures, None where that is not known
    """

    pictures: tuple[int, ...]
    belonging: float | None


def keep(request: Request, plan: Plan | None) -> None:
    """`plan` is None until all files of the preparation are there."""
    write_json(request.folder / KEPT, {"request": request.to_json(), "plan": None if plan is None else asdict(plan)})


def take_up(folder: Path) -> tuple[Request, Plan | None]:
    """What `keep` wrote.

    Raises
    ------
    SettingsError
        The folder holds no finetuning.
    """
    path = folder / KEPT
    if not path.is_file():
        raise SettingsError(f"{folder}: holds nothing to resume (no {KEPT}); start without --resume")
    try:
        told = json.loads(path.read_text("utf-8"))
        plan = told["plan"]
        return Request.from_json(told["request"], folder), None if plan is None else Plan(tuple(plan["pictures"]), plan["belonging"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path}: is not what segkit finetune wrote ({error!r}); start without --resume, in another folder") from error


def require_same(asked: Request, begun: Request, names: Collection[str]) -> None:
    """SettingsError where one of these fields is asked for otherwise than the run was begun with."""
    one, two = asked.to_json(), begun.to_json()
    changed = [f"{name} {_told(one[name])} instead of {_told(two[name])}" for name in sorted(names) if one[name] != two[name]]
    if changed:
        raise SettingsError(f"{asked.folder}: was begun with other settings, now {'; '.join(changed)}; resume with the same ones, or start in another folder")


def _told(value: Any) -> str:
    return "none" if value is None or value == [] else json.dumps(value) if isinstance(value, dict | list) else str(value)
