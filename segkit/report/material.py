"""What a run left in its folder, read once; what is not there is None, and the page says so."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from segkit.config import RunConfig, load_run
from segkit.dataset import Case, cases_of_split, find_cases
from segkit.errors import SegkitError, SettingsError, VanishedError
from segkit.metrics import Evaluation


@dataclass(frozen=True)
class Training:
    """One training: the run itself, or a fold of it.

    log : lines of log.csv
    facts : run.json
    tuning : lines of tuning.csv
    splits : splits.json
    """

    folder: Path
    log: Sequence[dict[str, str]] | None
    facts: dict[str, Any] | None
    tuning: Sequence[dict[str, str]] | None
    splits: dict[str, Any] | None

    @property
    def classes(self) -> list[str]:
        """Names of the foreground, as log.csv has them."""
        return [column.removeprefix("dice_") for column in (self.log[0] if self.log else ()) if column.startswith("dice_")]

    def curve(self, column: str) -> list[tuple[float, float]]:
        return [(float(row["step"]), float(row[column])) for row in self.log or ()]


@dataclass(frozen=True)
class Material:
    """The files of a run.

    trainings : one, or one for each fold
    evaluation : None of a run without test/
    expected : (case, expected Dice, Dice) of confidence.csv
    """

    folder: Path
    trainings: tuple[Training, ...]
    evaluation: Evaluation | None
    settings: Sequence[dict[str, Any]] | None
    check: dict[str, Any] | None
    measurements: dict[str, Any] | None
    smoke: dict[str, Any] | None
    start: dict[str, Any] | None
    calibration: dict[str, Any] | None
    expected: Sequence[tuple[str, float, float]] | None

    @property
    def title(self) -> str:
        """What the model is for, in the words of its settings."""
        described = next((row["value"] for row in self.settings or () if row["setting"] == "description"), None)
        facts = self.trainings[0].facts or {}
        return str(described or facts.get("settings", {}).get("description") or self.folder.resolve().name)

    @property
    def masks(self) -> Path:
        """Where the predicted masks of the scored cases lie, if they were kept."""
        return self.folder / "test" / "masks"

    @property
    def is_tested(self) -> bool:
        """Whether what was scored had no part in the training, not even in the choice of the weights; where nothing says it, it is not."""
        splits = self.trainings[0].splits
        return (self.calibration or {}).get("scored_on") == "test" if splits is None else bool(splits.get("test"))

    @cached_property
    def config(self) -> RunConfig:
        """Of the first training; SettingsError or VanishedError where there is no config.yaml that can be read."""
        return load_run(self.trainings[0].folder / "config.yaml")

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """Those that were scored, in the order of their scores.

        Raises
        ------
        SegkitError
            The settings or the manifest can't be read.
        SettingsError
            They name other cases than the scores.
        """
        scored = [] if self.evaluation is None else [case.case for case in self.evaluation.cases]
        found = cases_of_split(self.config.data, "test") if self.is_tested else list(self._validation())
        if len(found) != len(scored) or not all(_is_called(case, name) for case, name in zip(found, scored, strict=True)):
            raise SettingsError(f"{self.folder}: its manifest names other cases than test/evaluation.json; score them again")
        return tuple(found)

    def _validation(self) -> Iterator[Case]:
        for training in self.trainings:
            yield from find_cases(load_run(training.folder / "config.yaml").data, 0)[1]

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Whose each scored case is; where the manifest can't be read each counts for itself, and `groups_unknown` says why."""
        if self.groups_unknown is None:
            return tuple(case.group for case in self.cases)
        return tuple(f"case {number}" for number in range(0 if self.evaluation is None else len(self.evaluation.cases)))

    @cached_property
    def groups_unknown(self) -> str | None:
        try:
            return None if self.cases else "there are no scores"
        except SegkitError as error:
            return str(error)

    def expected_of(self, number: int) -> float | None:
        """The expected Dice of a scored case, by its number; None where the model expects none, or two cases have its name."""
        if self.expected is None or self.evaluation is None:
            return None
        found = [expected for name, expected, _ in self.expected if name == self.evaluation.cases[number].case]
        return found[0] if len(found) == 1 and math.isfinite(found[0]) else None


def _is_called(case: Case, name: str) -> bool:
    """Whether this is the name of its picture, perhaps with some of its folders."""
    parts = PurePosixPath(name).parts
    return bool(parts) and case.image.parts[-len(parts) :] == parts


def read_run(folder: Path) -> Material:
    """All that is there.

    Raises
    ------
    VanishedError
        There is no such folder.
    SettingsError
        It is not the folder of a run, or one of its files is broken.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise VanishedError(f"{folder}: {what}; name the folder of a run of segkit finetune or segkit train")
    places = sorted((path for path in folder.glob("fold[0-9]*") if path.is_dir()), key=lambda path: int(path.name.removeprefix("fold")))
    trainings = tuple(_training(place) for place in places or [folder])
    if is_of_predictions(folder):
        raise SettingsError(f"{folder}: holds the results of segkit predict, not a run; name the folder of segkit finetune or segkit train")
    if not any(training.facts or training.log for training in trainings):
        raise SettingsError(f"{folder}: is not the folder of a run: it has neither run.json nor log.csv; name that of segkit finetune or segkit train")
    scores = _json(folder / "test" / "evaluation.json")
    return Material(
        folder,
        trainings,
        None if scores is None else _evaluation(scores, folder / "test" / "evaluation.json"),
        _json(folder / "settings.json"),
        _json(folder / "check.json"),
        _json(folder / "measurements.json"),
        _json(folder / "smoke.json"),
        _json(folder / "start.json"),
        _json(folder / "test" / "calibration.json"),
        _expected(folder / "test" / "confidence.csv"),
    )


def is_of_predictions(folder: Path) -> bool:
    """Whether segkit predict wrote its masks there, which leaves a run.json of its own."""
    return (folder / "results.csv").exists() and not any((folder / name).exists() for name in ("log.csv", "config.yaml"))


def _training(folder: Path) -> Training:
    return Training(folder, _table(folder / "log.csv"), _json(folder / "run.json"), _table(folder / "tuning.csv"), _json(folder / "splits.json"))


def _evaluation(told: Any, path: Path) -> Evaluation:
    try:
        return Evaluation.from_json(told)
    except (KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{path}: is not what segkit evaluate writes ({error!r}); score the model again, or remove the file") from error


def _expected(path: Path) -> list[tuple[str, float, float]] | None:
    rows = _table(path)
    try:
        return None if rows is None else [(row["case"], float(row["expected_dice"] or math.nan), float(row["dice"] or math.nan)) for row in rows]
    except (KeyError, ValueError) as error:
        raise SettingsError(f"{path}: expected columns case, expected_dice, dice with numbers ({error}); remove it, and the report goes without") from error


def _json(path: Path) -> Any:
    text = _text(path)
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{path}: is not JSON ({error}); remove it, and the report goes without") from error


def _table(path: Path) -> list[dict[str, str]] | None:
    text = _text(path)
    return None if text is None else list(csv.DictReader(io.StringIO(text)))


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{path}: can't be read: {error.strerror}") from error
