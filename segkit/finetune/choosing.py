"""After the training: what the model is run with and how sure it is, learnt from the cases that validated it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segkit.calibrate import Calibration, calibrate, evidence, load_evidence, save_evidence
from segkit.checkpoint import join_models, load_model, save_model
from segkit.confidence import FEWEST_TO_TRUST
from segkit.config import PredictSettings, RunConfig, load_run
from segkit.dataset import Case, find_cases, load_pair
from segkit.errors import counted
from segkit.io import write_csv
from segkit.labels import Labels
from segkit.predict import load
from segkit.train import Watcher
from segkit.tune import TuningCase, object_sizes, samples_each, score_cases, tune

EVIDENCE, CHOSEN = "evidence.npz", "tuning.csv"
"""What the cases of a fold say of how sure to be; and what is written last, so that it says that a model has been chosen for."""


def choose(config: Path, watcher: Watcher, joined_as: PredictSettings | None = None) -> PredictSettings:
    """Mirror images and rules for the shape of what is found, where the validation cases gain by them, and how sure to be; stored in the model.

    `joined_as` are the settings of the first fold, which an ensemble has; evidence under these (else under one's own) is left in `EVIDENCE`.
    """
    run, folder = load_run(config), config.parent
    model = load(folder, device=run.train.device, precision=run.train.precision)
    training, validation = find_cases(run.data, run.train.seed)
    cases = (_tuning_case(case, run, model.labels) for case in validation)
    scored = list(score_cases(model, cases, samples_each(len(validation))))
    sizes = object_sizes(load_pair(case, run.data, model.labels)[1] for case in training)
    tuning = tune(scored, model.labels, model.run.predict, sizes)
    calibration = calibrate([evidence(case, tuning.predict) for case in scored], tuning.predict)
    save_evidence(folder / EVIDENCE, [evidence(case, joined_as or tuning.predict) for case in scored])
    _store(folder, calibration.predict)
    taken, kept = ([step.name for step in tuning.steps if step.decision == decision] for decision in ("taken", "kept"))
    usual = f"; kept, as no harm was seen: {', '.join(kept)}" if kept else ""
    watcher.note(f"worth it on the validation cases, and stored in the model: {', '.join(taken) or 'no step'}{usual}")
    watcher.note(_told(calibration))
    write_csv(folder / CHOSEN, *tuning.table())
    return calibration.predict


def is_chosen(config: Path) -> bool:
    return (config.parent / CHOSEN).exists()


def join(folder: Path, configs: Sequence[Path], watcher: Watcher) -> None:
    """The folds' models as one file, as sure as the cases of all folds say, each scored by the model that was not trained on it."""
    joined = join_models([config.parent for config in configs])
    cases = [case for config in configs for case in load_evidence(config.parent / EVIDENCE)]
    calibration = calibrate(cases, joined.run.predict)
    watcher.note(f"{len(configs)} folds together: {_told(calibration)}")
    save_model(folder / "model.safetensors", joined.run.model_copy(update={"predict": calibration.predict}), joined.weights, joined.card)


def _store(folder: Path, predict: PredictSettings) -> None:
    file = load_model(folder)
    save_model(folder / "model.safetensors", file.run.model_copy(update={"predict": predict}), file.weights, file.card)


def _told(calibration: Calibration) -> str:
    """In words: "how sure it is: calibration error 0.031, 0.012 with a temperature of 1.4; expected Dice learnt from 12 cases"."""
    line, temperature = calibration.predict.expected_dice, calibration.predict.temperature
    after = f", {calibration.after:.3f} with a temperature of {temperature:.2f}" if temperature != 1 else "; no temperature was found that mends it, it stays 1"
    expected = "no expected Dice, too little was found" if line is None else f"expected Dice learnt from {line.learnt_from}"
    few = f"; learnt from {counted(calibration.cases, 'case')} alone: don't rely on it" if calibration.cases < FEWEST_TO_TRUST else ""
    return f"how sure it is: calibration error {calibration.before:.3f}{after}; {expected}{few}"


def _tuning_case(case: Case, run: RunConfig, labels: Labels) -> TuningCase:
    image, truth = load_pair(case, run.data, labels)
    return TuningCase(case.name, image, truth, case.group)
