"""After the training: what the model is run with, chosen on the cases that validated it."""

from __future__ import annotations

from pathlib import Path

from segkit.checkpoint import load_model, save_model
from segkit.config import RunConfig, load_run
from segkit.dataset import Case, find_cases, load_pair
from segkit.io import write_csv
from segkit.labels import Labels
from segkit.predict import Model, load
from segkit.train import Watcher
from segkit.tune import TuningCase, object_sizes, score_cases, tune


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


def _load(config: Path) -> Model:
    run = load_run(config)
    return load(config.parent, device=run.train.device, precision=run.train.precision)
