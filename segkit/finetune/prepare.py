"""Before the training: look, divide, measure, derive, and try whether a few pictures can be learnt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from segkit import __version__
from segkit.checkpoint import load_model, locate_model
from segkit.config import RunConfig, check_overrides, load_run
from segkit.dataset import Case, cases_of_split, find_cases
from segkit.errors import SegkitError, SettingsError, TrainingError, counted
from segkit.finetune.beginning import without_new_files, without_new_folders
from segkit.finetune.machine import Machine, find_machine
from segkit.finetune.orientation import Orientation, look_at_sides
from segkit.finetune.plan import CONFIG, MANIFEST, Plan, Request, keep
from segkit.finetune.recipe import Recipe, Setting
from segkit.finetune.rules import Subject, derive
from segkit.finetune.smoke import choose_pictures, try_to_learn
from segkit.finetune.splits import TRAIN, VALIDATION, Division, Shelf, divide, fold
from segkit.finetune.survey import Survey, data_settings, survey, write_manifest
from segkit.io import read_image, write_json, write_text
from segkit.models import build_model
from segkit.preprocess import prepare as prepare_picture
from segkit.pretrained import load_network
from segkit.train import Watcher
from segkit.train.run import check_folder

SMOKE = "smoke.json"


def prepare(request: Request, watcher: Watcher) -> Plan:
    """Look, divide, measure, derive; write what was found and config.yaml, of each fold its own. Where that fails nothing of it stays.

    Raises
    ------
    SettingsError, PairingError, MaskValuesError
        A setting of the request is none, the request does not fit the data, or the folder holds a run.
    """
    check_overrides(request.overrides)
    with without_new_folders(request.folder), without_new_files(request.folder):
        return _prepare(request, watcher)


def _prepare(request: Request, watcher: Watcher) -> Plan:
    for place in dict.fromkeys((request.folder, *(path for path in request.folder.glob("fold[0-9]*") if path.is_dir()), *request.places)):
        check_folder(place, resume=False)
    (request.folder / SMOKE).unlink(missing_ok=True)                # of an earlier try, perhaps with other settings
    keep(request, None)
    start = None if request.start is None else load_model(request.start).run
    machine = find_machine(request.device, request.precision)
    looked = survey(request.dataset, request.folder, request.labels, watcher.scan)
    for note in looked.notes:
        watcher.note(note)
    divisions = _divide(request, looked, watcher)
    data = data_settings(looked, request.places[0] / MANIFEST)
    orientation = look_at_sides(cases_of_split(data, TRAIN), data, watcher.scan)
    subject = Subject(
        (request.dataset.parent if request.dataset.is_file() else request.dataset).resolve().name,
        looked.measurements,
        looked.labels,
        orientation,
        len(divisions[0].of(TRAIN)),
        len(divisions[0].of(VALIDATION)),
    )
    recipe = compose(request, subject, machine, start, len(divisions[0].sides))
    write_json(request.folder / "check.json", looked.report.to_json())
    _record(request, subject, orientation, machine, recipe)
    for config in request.configs:
        write_text(config, recipe.to_yaml())
    run = load_run(request.configs[0])
    if request.overrides:
        _try_on(run, cases_of_split(data, TRAIN)[0], request.overrides)
    if request.start is not None:
        tell_start(run, request.folder, watcher)
    chosen = choose_pictures(looked.held[divisions[0].of(TRAIN)], request.seed)
    plan = Plan(tuple(int(number) for number in chosen), orientation.belonging)
    keep(request, plan)
    return plan


def _try_on(run: RunConfig, case: Case, overrides: Sequence[str]) -> None:
    """Look at one picture as the training will: what was asked for with --set may not fit pictures for which all else was derived."""
    try:
        prepare_picture(read_image(case.image, run.data.read), run.preprocess)
    except SegkitError as error:
        raise SettingsError(f"--set {' --set '.join(overrides)} does not fit: {error}") from error


def _divide(request: Request, looked: Survey, watcher: Watcher) -> list[Division]:
    """The sides of the cases, of each fold its own, written as its manifest and splits.json."""
    shelf = looked.shelf()
    division = divide(shelf, validation_share=request.validation_share, test_share=request.test_share, seed=request.seed)
    divisions = fold(division, shelf, request.folds) if request.folds else [division]
    for part, place in zip(divisions, request.places, strict=True):
        write_manifest(looked, part, place / MANIFEST)
        write_json(place / "splits.json", part.to_json(looked.names))
    told = [*(note for part in divisions for note in part.notes), *(warning for part in divisions for warning in part.warnings)]
    for note in (*_left_out(shelf, looked.names), *dict.fromkeys(told)):                       # of folds that share one it is told once
        watcher.note(note)
    return divisions


def _left_out(shelf: Shelf, names: Sequence[str]) -> list[str]:
    """A sentence about the pairs that can't be used, where there are any."""
    if not shelf.unfit:
        return []
    first = min(shelf.unfit)
    verb = "is" if len(shelf.unfit) == 1 else "are"
    return [f"{len(shelf.unfit)} of {counted(len(names), 'pair')} {verb} left out, first {names[first]}: {shelf.unfit[first]}; splits.json says it of each"]


def compose(request: Request, subject: Subject, machine: Machine, start: RunConfig | None, cases: int) -> Recipe:
    """The derived settings between those that say what is trained on and those that were asked for; `cases` are those that are used."""
    labels = subject.labels
    data = [
        Setting("description", f"{', '.join(labels.foreground)} in {subject.name}"),
        Setting("data.manifest", MANIFEST, "beside this file; splits.json says how it was divided"),
        Setting("data.split", TRAIN),
        Setting("data.validation_split", VALIDATION),
        Setting("data.labels", labels.mapping, "as given with --labels" if request.labels is not None else "as the data set says, or its masks"),
        *([Setting("data.ignore", f"#{labels.ignore:06x}" if labels.colour else labels.ignore)] if labels.ignore is not None else []),
        *([Setting("data.mask_threshold", labels.threshold, "the masks are not clean: above it a pixel is drawn")] if labels.threshold is not None else []),
    ]
    asked = [
        *([Setting("train.start_from", str(locate_model(request.start).resolve()), "given with --from")] if request.start is not None else []),
        *([Setting("train.freeze", "encoder", "given with --freeze")] if request.freeze else []),
        *([Setting("train.freeze_epochs", request.freeze_epochs, "rounds through the training slices")] if request.freeze_epochs is not None else []),
        *([Setting("train.patience", request.patience, "given with --patience")] if request.patience is not None else []),
        *([Setting("train.device", request.device, "given with --device")] if request.device != "auto" else []),
        *([Setting("train.precision", request.precision, "given with --precision")] if request.precision != "auto" else []),
        Setting("train.seed", request.seed),
    ]
    derived = derive(subject, request.minutes, machine, start=start)
    heading = (
        f"{subject.name}: {counted(cases, 'case')}; derived by segkit {__version__} finetune, each setting with its reason.",
        f"The same again, or with changes: segkit train {CONFIG} -o OTHER_FOLDER",
    )
    return Recipe(heading, (*data, *derived, *asked)).with_overrides(request.overrides)


def _record(request: Request, subject: Subject, orientation: Orientation, machine: Machine, recipe: Recipe) -> None:
    """What a report needs to know, and a person who asks why."""
    measured = {"measurements": asdict(subject.measurements), "orientation": asdict(orientation), "machine": str(machine)}
    write_json(request.folder / "measurements.json", measured)
    write_json(request.folder / "settings.json", recipe.reasons())


def tell_start(run: RunConfig, folder: Path, watcher: Watcher) -> None:
    """What the network keeps of the model to begin with: a line for each class, and for the rest."""
    assert run.train.start_from is not None
    report = load_network(build_model(run.model), run.train.start_from, tuple(run.data.labels))
    told = [line for line in report.lines() if not line.startswith("class ")]
    for line in (*told, *(f"{name:<16} {_kept(name, known)}" for name, known in report.classes.items())):
        watcher.note(line)
    write_json(folder / "start.json", asdict(report))


def _kept(name: str, known: str | None) -> str:
    if known is None:
        return "starts fresh"
    return "keeps its rows of the head" + ("" if known == name else f", those of {known}")


def is_tried(folder: Path) -> bool:
    """Whether the smoke test was passed; one that was not is done again."""
    return (folder / SMOKE).exists() and json.loads((folder / SMOKE).read_text("utf-8"))["fault"] is None


def try_first(request: Request, plan: Plan, watcher: Watcher) -> None:
    """The smoke test; raises TrainingError in plain words where training would be in vain."""
    run = load_run(request.configs[0])
    training, _ = find_cases(run.data, run.train.seed)
    machine = find_machine(request.device, request.precision)
    smoke = try_to_learn(run, [training[number] for number in plan.pictures], machine, plan.belonging)
    write_json(request.folder / SMOKE, smoke.to_json())
    if smoke.fault is not None:
        raise TrainingError(f"{request.dataset}: {smoke.fault}")
    for line in (smoke.told, smoke.doubt):
        if line is not None:
            watcher.note(line)
