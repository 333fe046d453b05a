"""At the end: the score, on cases that the model never saw wherever there are any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from segkit.checkpoint import join_models, save_model
from segkit.config import RunConfig, load_run
from segkit.dataset import Case, cases_of_split, find_cases, load_pair
from segkit.evaluation import evaluate_pairs, save
from segkit.finetune.plan import Plan, Request
from segkit.finetune.splits import TEST
from segkit.labels import Mask
from segkit.metrics import Evaluation
from segkit.predict import load, segment


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
