"""One command from a folder of pictures to a model: measure, derive, try, train, choose, score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from segkit import __version__
from segkit.checkpoint import join_models, load_model, locate_model, save_model
from segkit.config import RunConfig, load_run
from segkit.dataset import Case, cases_of_split, find_cases, load_pair
from segkit.errors import TrainingError
from segkit.evaluation import evaluate_pairs, save
from segkit.finetune.machine import Machine, find_machine
from segkit.finetune.orientation import Orientation, look_at_sides
from segkit.finetune.recipe import Recipe, Setting
from segkit.finetune.rules import Subject, derive
from segkit.finetune.smoke import choose_pictures, try_to_learn
from segkit.finetune.splits import TEST, TRAIN, VALIDATION, Division, divide, fold
from segkit.finetune.survey import Survey, data_settings, survey, write_manifest
from segkit.io import write_csv, write_json, write_text
from segkit.labels import Labels, Mask
from segkit.metrics import Evaluation
from segkit.models import build_model
from segkit.predict import Model, load, segment
from segkit.pretrained import load_network
from segkit.train import Outcome, Silence, Watcher, train
from segkit.train.run import check_folder
from segkit.tune import TuningCase, object_sizes, score_cases, tune

Watching: TypeAlias = Callable[[], AbstractContextManager[Watcher]]
"""Gives a new watcher for each training, and is told when it is needed no more."""

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


@dataclass(frozen=True)
class Result:
    """How it ended.

    outcomes : of each training
    evaluation : None where it was interrupted
    scored_on : the cases in words
    """

    outcomes: tuple[Outcome, ...]
    evaluation: Evaluation | None = None
    scored_on: str = ""

    @property
    def interrupted(self) -> Outcome | None:
        return next((outcome for outcome in self.outcomes if outcome.reason == "interrupted"), None)


def finetune(request: Request, watching: Watching = lambda: nullcontext(Silence())) -> Result:
    """From a data set to a model in ``request.folder``, with its score on cases that it never saw.

    Raises
    ------
    SettingsError, PairingError, MaskValuesError
        The request does not fit the data, or the folder holds a run.
    TrainingError
        The smoke test failed, or the training.
    """
    with watching() as watcher:
        plan = prepare(request, watcher)
        if request.smoke_test:
            try_first(request, plan, watcher)
    outcomes = []
    for config in plan.configs:
        with watching() as watcher:
            if len(plan.configs) > 1:
                watcher.note(f"{config.parent.name} of {len(plan.configs)} folds")
            outcomes.append(train(load_run(config), config.parent, watcher=watcher))
            if outcomes[-1].reason == "interrupted":
                return Result(tuple(outcomes))
            choose(config, watcher)
    with watching() as watcher:
        watcher.note("scoring")
        evaluation, scored_on = score(request, plan)
    return Result(tuple(outcomes), evaluation, scored_on)


# Before the training.


def prepare(request: Request, watcher: Watcher) -> Plan:
    """Look, divide, measure, derive; write what was found and config.yaml, of each fold its own."""
    check_folder(request.folder, resume=False)
    start = None if request.start is None else load_model(request.start).run
    machine = find_machine(request.device, request.precision)
    looked = survey(request.dataset, request.folder, request.labels, watcher.scan)
    for note in looked.notes:
        watcher.note(note)
    shelf = looked.shelf()
    division = divide(shelf, validation_share=request.validation_share, test_share=request.test_share, seed=request.seed)
    divisions = tuple(fold(division, shelf, request.folds)) if request.folds else (division,)
    places = [request.folder / f"fold{number}" for number in range(request.folds)] or [request.folder]
    for part, place in zip(divisions, places, strict=True):
        write_manifest(looked, part, place / MANIFEST)
        write_json(place / "splits.json", part.to_json(looked.names))
    for note in division.notes:
        watcher.note(note)
    data = data_settings(looked, places[0] / MANIFEST)
    orientation = look_at_sides(cases_of_split(data, TRAIN), data, watcher.scan)
    subject = Subject(
        (request.dataset.parent if request.dataset.is_file() else request.dataset).resolve().name,
        looked.measurements,
        looked.labels,
        orientation,
        len(divisions[0].of(TRAIN)),
        len(divisions[0].of(VALIDATION)),
    )
    recipe = compose(request, subject, machine, start)
    write_json(request.folder / "check.json", looked.report.to_json())
    _record(request, subject, orientation, machine, recipe)
    configs = []
    for place in places:
        write_text(place / CONFIG, recipe.to_yaml())
        configs.append(place / CONFIG)
    run = load_run(configs[0])
    if request.start is not None:
        tell_start(run, request.folder, watcher)
    return Plan(looked, divisions, recipe, machine, tuple(configs), orientation.belonging)


def compose(request: Request, subject: Subject, machine: Machine, start: RunConfig | None) -> Recipe:
    """The derived settings between those that say what is trained on and those that were asked for."""
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
        f"{subject.name}: {subject.measurements.cases} cases; derived by segkit {__version__} finetune, each setting with its reason.",
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


def try_first(request: Request, plan: Plan, watcher: Watcher) -> None:
    """The smoke test; raises TrainingError in plain words where training would be in vain."""
    run = load_run(plan.configs[0])
    training, _ = find_cases(run.data, run.train.seed)
    used = plan.divisions[0].of(TRAIN)
    chosen = choose_pictures(plan.survey.held[used], request.seed)
    smoke = try_to_learn(run, [training[number] for number in chosen], plan.machine, plan.belonging)
    write_json(request.folder / "smoke.json", smoke.to_json())
    if smoke.fault is not None:
        raise TrainingError(f"{request.dataset}: {smoke.fault}")
    dice = ", ".join(f"{name} {value:.2f}" for name, value in smoke.trial.dice.items())
    for line in (f"{len(chosen)} pictures learnt by heart in {smoke.trial.seconds:.0f} s: Dice {dice}", smoke.doubt):
        if line is not None:
            watcher.note(line)


# After the training.


def choose(config: Path, watcher: Watcher) -> None:
    """Mirror images and rules for the shape of what is found, where the validation cases gain by them; they are stored in the model."""
    run = load_run(config)
    training, validation = find_cases(run.data, run.train.seed)
    model = _load(config)
    scored = list(score_cases(model, (_tuning_case(case, run, model.labels) for case in validation)))
    sizes = object_sizes(load_pair(case, run.data, model.labels)[1] for case in training)
    tuning = tune(scored, model.labels, model.run.predict, sizes)
    write_csv(config.parent / "tuning.csv", *tuning.table())
    file = load_model(config.parent)
    save_model(config.parent / "model.safetensors", file.run.model_copy(update={"predict": tuning.predict}), file.weights, file.card)
    taken = [step.name for step in tuning.steps if step.taken]
    watcher.note(f"worth it on the validation cases, and stored in the model: {', '.join(taken) or 'neither mirror images nor tidying'}")


def _tuning_case(case: Case, run: RunConfig, labels: Labels) -> TuningCase:
    image, truth = load_pair(case, run.data, labels)
    return TuningCase(case.name, image, truth, case.group)


def score(request: Request, plan: Plan) -> tuple[Evaluation, str]:
    """On the cases that were only kept to be scored; without any, on those that validated."""
    if request.folds:
        _join(request.folder, plan.configs)
    run = load_run(plan.configs[0])
    if plan.divisions[0].of(TEST):
        cases = cases_of_split(run.data, TEST)
        evaluation = evaluate_pairs(_predictions(request.folder / "model.safetensors", cases, run))
        save(evaluation, request.folder / "test")
        return evaluation, f"{len(cases)} cases that were never trained on"
    parts = [(config.parent / "model.safetensors", find_cases(load_run(config).data, 0)[1], load_run(config)) for config in plan.configs]
    evaluation = evaluate_pairs(chain.from_iterable(_predictions(*part) for part in parts))
    save(evaluation, request.folder / "test")
    whose = "each by the fold that was not trained on it" if request.folds else "the only ones there were to score"
    return evaluation, f"{len(evaluation.cases)} validation cases, {whose}; they also chose the best weights, so that the score is somewhat too good"


def _join(folder: Path, configs: Sequence[Path]) -> None:
    """The folds' models as one file."""
    joined = join_models([config.parent for config in configs])
    save_model(folder / "model.safetensors", joined.run, joined.weights, joined.card)


def _predictions(path: Path, cases: Sequence[Case], run: RunConfig) -> Iterator[tuple[str, Mask, Mask]]:
    model = load(path, device=run.train.device, precision=run.train.precision)
    for case in cases:
        image, truth = load_pair(case, run.data, model.labels)
        yield case.name, segment(image, model).mask, truth


def _load(config: Path) -> Model:
    run = load_run(config)
    return load(config.parent, device=run.train.device, precision=run.train.precision)
