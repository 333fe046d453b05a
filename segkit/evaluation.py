"""Evaluation: predictions against the truth, file by file, with one number for each class of each case and their means.

The way of a pair: match the names, read both files onto one grid, translate their values into classes, measure.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from segkit.errors import PairingError, SettingsError, ShapeError, VanishedError
from segkit.io import read_image, read_mask
from segkit.io.atomic import write_csv, write_json
from segkit.io.files import is_named_like_a_picture, is_passed_over, stem
from segkit.io.manifest import Row, choose_split, read_manifest
from segkit.io.origin import ReadSettings
from segkit.io.sniff import as_read_error
from segkit.labels import IGNORE_INDEX, Labels, Mask
from segkit.metrics import (
    DEFAULT_METRICS,
    DEFAULT_SETTINGS,
    CaseScore,
    ClassScore,
    Comparison,
    Evaluation,
    ScoreSettings,
    check_names,
    compare,
    compare_objects,
    measure,
)

Array = NDArray[Any]

OBJECT = "object"
"""The one class of masks that number their objects."""

SHOWN = 5
"""Names that a message lists before it breaks off."""

NOT_MASKS = ("overlays", "probabilities", "attention")
"""Folders that `segkit predict` writes beside its masks."""

SHEET = re.compile(r"review(-\d+)?")
"""What `segkit predict --review` draws."""


@dataclass(frozen=True)
class Pair:
    """Two mask files of one case, and the picture that they belong to where it is known."""

    name: str
    prediction: Path
    truth: Path
    image: Path | None = None


def evaluate(
    predictions: str | Path,
    truth: str | Path,
    *,
    labels: Labels | None = None,
    split: str | None = None,
    images: str | Path | None = None,
    spacing_mm: tuple[float, ...] | None = None,
    mask_threshold: float | None = None,
    allow_missing: bool = False,
    metrics: Sequence[str] = DEFAULT_METRICS,
    settings: ScoreSettings = DEFAULT_SETTINGS,
    objects: bool = False,
    read: ReadSettings | None = None,
    progress: Callable[[Sequence[Pair]], Iterable[Pair]] = iter,
) -> Evaluation:
    """Score a folder of predicted masks.

    Parameters
    ----------
    predictions : folder of mask files, as `segkit predict` writes them
    truth : folder of mask files with the same names below it (endings may differ), or a manifest (CSV, TSV, JSON lines)
    labels : what the values in all masks mean; else as in run.json beside the predictions, else from the values of the truth
    split : rows of the manifest to score; None for all
    images : folder of the pictures, with the names of the truth: they say the spacing where masks can't; a manifest names its own
    spacing_mm : of files that hold none: (row, column), or (slice, row, column) for volumes; without it distances are in pixels
    mask_threshold : for two classes whose masks are not clean: above it a pixel counts as the larger value, in truth and prediction
    allow_missing : score what is there where predictions are missing, and say so in `Evaluation.warnings`
    metrics : names out of `segkit.metrics.METRICS`; others are not computed
    settings : the tolerance of nsd, and the rule for empty masks
    objects : the masks number their objects (cells that touch): 0 is background, each other value one object, all of one class
    read : how files are read; else as in run.json beside the predictions
    progress : wrapped around the pairs, to draw a bar

    Raises
    ------
    PairingError
        Predictions are missing, or a file name fits twice.
    SettingsError
        The labels can't be told, or an argument does not fit.
    ReadError, ShapeError, MaskValuesError
        A file can't be read, two differ in size, or hold values that no label names.
    """
    check_names(metrics)
    if objects and (labels is not None or mask_threshold is not None):
        raise SettingsError("masks that number their objects have neither labels nor a mask threshold: 0 is background, each other value one object")
    folder = Path(predictions)
    if folder.is_file():
        raise SettingsError(f"{folder}: is a file; name the folder of the predictions")
    facts = _facts(folder)
    read = read or _read_settings(facts, folder)
    wanted = wanted_predictions(Path(truth), split, None if images is None else Path(images))
    found = match(folder, wanted, allow_missing=allow_missing)
    notes = found.notes(whole=split is None)
    if objects:
        cases = tuple(score_objects(pair, spacing_mm, read, metrics, settings) for pair in progress(found.pairs))
        evaluation = Evaluation((OBJECT,), tuple(metrics), cases, settings=settings)
    else:
        if labels is None:
            labels, derived = find_labels(facts, [one.truth for one in wanted], read)
            notes += derived
        if mask_threshold is not None:
            labels = replace(labels, threshold=mask_threshold)
        evaluation = evaluate_pairs((read_pair(pair, labels, spacing_mm, read) for pair in progress(found.pairs)), metrics, settings)
    return replace(evaluation, notes=(*notes, *_spacing_notes(evaluation, spacing_mm)))


def evaluate_pairs(
    pairs: Iterable[tuple[str, Mask, Mask]], metrics: Sequence[str] = DEFAULT_METRICS, settings: ScoreSettings = DEFAULT_SETTINGS
) -> Evaluation:
    """Score (name, prediction, truth) masks in memory, one at a time; distances are in mm where one of the two knows its spacing.

    Raises
    ------
    PairingError
        There is no pair.
    ShapeError, SettingsError
        The two masks differ in size or in the names of their classes.
    """
    check_names(metrics)
    names: tuple[str, ...] | None = None
    cases = []
    for name, prediction, truth in pairs:
        names = names or truth.labels.names
        for mask in (prediction, truth):
            if mask.labels.names != names:
                raise SettingsError(f"{name}: its classes are {', '.join(mask.labels.names)}, the first truth's are {', '.join(names)}; score them apart")
        cases.append(score_case(name, prediction, truth, metrics, settings))
    if names is None:
        raise PairingError("nothing to score: there is no pair of a prediction and a truth")
    return Evaluation(names[1:], tuple(metrics), tuple(cases), settings=settings)


def score_case(name: str, prediction: Mask, truth: Mask, metrics: Sequence[str], settings: ScoreSettings = DEFAULT_SETTINGS) -> CaseScore:
    """The metrics of all classes but the background; `ShapeError` where the two differ in size."""
    if prediction.indices.shape != truth.indices.shape:
        raise ShapeError(f"{name}: the prediction is {_by(prediction.indices.shape)}, the truth {_by(truth.indices.shape)}; masks are never resized")
    spacing_mm = prediction.spacing_mm if truth.spacing_mm is None else truth.spacing_mm
    comparisons = compare(prediction.indices, truth.indices, truth.labels.num_classes, spacing_mm, IGNORE_INDEX, settings)
    classes = {truth.labels.names[index]: _class_score(comparison, metrics) for index, comparison in comparisons.items()}
    return CaseScore(name, spacing_mm, classes)


def _class_score(comparison: Comparison, metrics: Sequence[str]) -> ClassScore:
    scores = {metric: measure(metric, comparison) for metric in metrics}
    return ClassScore(scores, comparison.prediction_px, comparison.truth_px)


def read_pair(pair: Pair, labels: Labels, spacing_mm: tuple[float, ...] | None, read: ReadSettings) -> tuple[str, Mask, Mask]:
    """(name, prediction, truth), both on the grid of the picture, or of the truth where the picture is not known.

    Raises
    ------
    ReadError, ShapeError, MaskValuesError
        A file can't be read, the two differ in size, hold values that no label names.
    """
    prediction, truth, spacing_mm = _read_values(pair, spacing_mm, read)
    return (
        pair.name,
        Mask(labels.encode(prediction, str(pair.prediction)), labels, spacing_mm),
        Mask(labels.encode(truth, str(pair.truth)), labels, spacing_mm),
    )


def score_objects(pair: Pair, spacing_mm: tuple[float, ...] | None, read: ReadSettings, metrics: Sequence[str], settings: ScoreSettings) -> CaseScore:
    """The metrics of one class, `OBJECT`, from masks that number their objects.

    Raises
    ------
    ReadError, ShapeError
        A file can't be read, the two differ in size.
    """
    prediction, truth, spacing_mm = _read_values(pair, spacing_mm, read)
    comparison = compare_objects(prediction, truth, spacing_mm, settings)
    return CaseScore(pair.name, spacing_mm, {OBJECT: _class_score(comparison, metrics)})


def _read_values(pair: Pair, spacing_mm: tuple[float, ...] | None, read: ReadSettings) -> tuple[Array, Array, tuple[float, ...] | None]:
    """The numbers in both files on the one grid, and its spacing, or the one given where the grid has none."""
    grid = read_image(pair.image or pair.truth, read)
    grid_is = "truth" if pair.image is None else "image"
    prediction, truth = (read_mask(path, like=grid, settings=read, like_is=grid_is) for path in (pair.prediction, pair.truth))
    return prediction, truth, spacing_mm if grid.spacing_mm is None else grid.spacing_mm


def _spacing_notes(evaluation: Evaluation, given: tuple[float, ...] | None) -> tuple[str, ...]:
    own = 0 if given is None else sum(case.spacing_mm != given for case in evaluation.cases)
    return (f"{own} of {len(evaluation.cases)} cases hold a spacing of their own, which counts instead of the one given",) if own else ()


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def save(evaluation: Evaluation, folder: Path | str) -> tuple[Path, Path]:
    """Write evaluation.csv, a row for each class of each case, and evaluation.json; `WriteError` where that fails."""
    table, whole = Path(folder) / "evaluation.csv", Path(folder) / "evaluation.json"
    write_csv(table, *evaluation.table())
    write_json(whole, evaluation.to_json())
    return table, whole


# Which files belong together.


@dataclass(frozen=True)
class Wanted:
    """A truth, and the names that its prediction may have below the folder of predictions, best first, without ending."""

    names: tuple[str, ...]
    truth: Path
    image: Path | None = None


def wanted_predictions(truth: Path, split: str | None = None, images: Path | None = None) -> list[Wanted]:
    """The truths to score: of a folder of masks, perhaps with one of pictures, or of a manifest.

    Raises
    ------
    SettingsError
        No such split; a split without a manifest, or a folder of pictures with one.
    PairingError
        There is no truth, or one of them has no picture in `images`.
    """
    if not truth.exists():
        raise VanishedError(f"{truth}: no such file or folder; expected a folder of masks or a manifest")
    if truth.is_dir():
        if split is not None:
            raise SettingsError(f"split {split!r} goes with a manifest (CSV, TSV, JSON lines); {truth} is a folder")
        return _wanted_of_folder(truth, images)
    if images is not None:
        raise SettingsError(f"{images}: a folder of pictures goes with a folder of masks; the manifest {truth} names its own")
    return [_wanted_of_row(row, truth) for row in _rows(truth, split)]


def _wanted_of_folder(truth: Path, images: Path | None) -> list[Wanted]:
    pictures = {} if images is None else _files(images)
    wanted = []
    for name, paths in _files(truth).items():
        shown = pictures.get(name, [])
        if images is not None and len(shown) != 1:
            raise PairingError(f"{images}: has {len(shown)} pictures {name} for the truth {paths[0]}; expected one, whatever its ending")
        wanted += [Wanted((name,), path, shown[0] if shown else None) for path in paths]
    if not wanted:
        raise PairingError(f"{truth}: there is no truth to score against; expected mask files, or a manifest whose rows have masks")
    return wanted


def _rows(manifest: Path, split: str | None) -> list[Row]:
    return choose_split(read_manifest(manifest), split, manifest)


def _wanted_of_row(row: Row, manifest: Path) -> Wanted:
    """images/a/01.tif may have been predicted as images/a/01, a/01 or 01, as INPUT was its folder or one further up; or be named as its mask."""
    if row.mask is None:
        raise PairingError(f"{manifest}: {row.image.name} has no mask; leave its row out, or choose the rows that have one with --split")
    names = [*_tails(_name(row.image, manifest.parent)), *_tails(_name(row.mask, manifest.parent))]
    return Wanted(tuple(dict.fromkeys(names)), row.mask, row.image)


def _tails(name: str) -> list[str]:
    """a/b/c -> a/b/c, b/c, c."""
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


@dataclass(frozen=True)
class Match:
    """Pairs, and the names of truths without a prediction and of predictions without a truth."""

    pairs: tuple[Pair, ...]
    missing: tuple[str, ...]
    spare: tuple[str, ...]

    def notes(self, *, whole: bool) -> list[str]:
        """What has no counterpart; with `whole`, predictions too: in one split of a manifest many are not meant to have one."""
        notes = []
        if self.missing:
            notes.append(f"{len(self.missing)} of {len(self.missing) + len(self.pairs)} truths have no prediction and were not scored: {_some(self.missing)}")
        if self.spare and whole:
            notes.append(f"{len(self.spare)} of {len(self.spare) + len(self.pairs)} predictions have no truth and were not scored: {_some(self.spare)}")
        return notes


def match(predictions: Path, wanted: Sequence[Wanted], *, allow_missing: bool = False) -> Match:
    """The prediction of each truth, by its name.

    Raises
    ------
    PairingError
        A truth has no prediction, or several, or one that is another truth's too.
    """
    files = {name: paths for name, paths in _files(predictions).items() if name.split("/")[0] not in NOT_MASKS}
    taken: dict[str, Pair] = {}
    missing = []
    for one in wanted:
        name = next((name for name in one.names if name in files), None)
        if name is None:
            missing.append(one)
        elif name in taken:
            raise PairingError(f"{files[name][0]}: is by its name the prediction of two truths, {taken[name].truth} and {one.truth}; rename one")
        elif len(files[name]) > 1:
            raise PairingError(f"{one.truth}: has {len(files[name])} predictions, {_some(path.name for path in files[name])}; leave one in {predictions}")
        else:
            taken[name] = Pair(one.names[0], files[name][0], one.truth, one.image)
    if missing and not (allow_missing and taken):
        raise PairingError(_missing_text(predictions, missing, len(wanted), files))
    spare = tuple(name for name in files if name not in taken and not SHEET.fullmatch(name))
    return Match(tuple(taken.values()), tuple(one.names[0] for one in missing), spare)


def _missing_text(predictions: Path, missing: Sequence[Wanted], total: int, files: Collection[str]) -> str:
    lacking = f"{predictions}: {len(missing)} of {total} truths have no prediction: {_some(one.names[0] for one in missing)}"
    if len(missing) < total:
        return f"{lacking}; predict them, choose rows of a manifest with --split, or score the others with --allow-missing"
    return f"{lacking}; looked for {_some(missing[0].names)}, found {_some(files) or 'no mask files'}"


def _files(folder: Path) -> dict[str, list[Path]]:
    """Name -> files of that name, of all pictures in a folder and below.

    Raises
    ------
    ReadError
        The folder, or one below it, can't be listed.
    """
    named: dict[str, list[Path]] = defaultdict(list)
    for parent, folders, names in os.walk(folder, onerror=_stop):
        folders[:] = sorted(name for name in folders if not is_passed_over(name))
        for path in sorted(Path(parent, name) for name in names if not is_passed_over(name)):
            if is_named_like_a_picture(path):
                named[_name(path, folder)].append(path)
    return dict(named)


def _stop(error: OSError) -> None:
    raise as_read_error(error, Path(error.filename)) from error


def _name(path: Path, folder: Path) -> str:
    """Below `folder` (where it lies beside it, ``..`` is left out), without ending: images/01.nii.gz -> images/01."""
    parts = [part for part in PurePath(os.path.relpath(path, folder)).parts if part != ".."]
    return "/".join([*parts[:-1], stem(PurePath(parts[-1]))])


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")


# What the values in the masks mean.


def find_labels(facts: dict[str, Any], truths: Sequence[Path], read: ReadSettings) -> tuple[Labels, tuple[str, ...]]:
    """Labels as in run.json beside the predictions, else from all values in the truths, and a note where they were derived.

    Raises
    ------
    SettingsError
        The values are neither 0 and 255 nor 0, 1, 2, ...
    """
    if isinstance(facts.get("labels"), dict):
        return Labels.from_mapping(facts["labels"], ignore=facts.get("ignore"), threshold=facts.get("mask_threshold")), ()
    values = _values(truths, read)
    if values not in ([0, 255], list(range(len(values)))) or len(values) < 2:
        shown = _some(f"{value:g}" for value in values)
        raise SettingsError(f"{len(truths)} truth masks hold the values {shown}: say what they mean, as in --labels background=0,vessel=255")
    labels = Labels(("background", *(str(value) for value in values[1:])), tuple(values))
    return labels, (f"the labels are taken from the values in the truth: {', '.join(map(str, values))} (--labels names them)",)


def _values(truths: Sequence[Path], read: ReadSettings) -> list[int]:
    values: set[int] = set()
    for path in truths:
        values.update(np.unique(read_mask(path, settings=read)).tolist())
    return sorted(values)


def _facts(predictions: Path) -> dict[str, Any]:
    """run.json, as `segkit predict` leaves it beside its masks; empty where there is none."""
    path = predictions / "run.json"
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise SettingsError(f"{path}: is not the run.json of segkit predict ({error}); remove it and give --labels") from error
    if not isinstance(facts, dict):
        raise SettingsError(f"{path}: is not the run.json of segkit predict; remove it and give --labels")
    return facts


def _read_settings(facts: dict[str, Any], predictions: Path) -> ReadSettings:
    """As the predictions were made: what a file of several pages is must mean the same for its truth."""
    settings = facts.get("settings")
    try:
        return ReadSettings.model_validate(settings.get("read", {}) if isinstance(settings, dict) else {})
    except ValidationError as error:
        raise SettingsError(f"{predictions / 'run.json'}: its settings.read are not those of this segkit: {error.errors()[0]['msg']}") from error
