"""One command from a folder of pictures to a model: measure, derive, try, train, choose, score.

Each step leaves a file when it is done, by which a run that was stopped, or killed, is gone on with::

    finetune.json               what was asked for, and, once the settings are written, the plan
    smoke.json                  the trial was passed
    run.json, state.pt          of each training: how it ended, or how far it is
    tuning.csv                  what a model is run with has been chosen, and stored in it
    model.safetensors           with folds, above them: they are joined
    test/evaluation.json        the score
    report.html                 all of it, to be read
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from segkit.checkpoint import load_model
from segkit.config import load_run
from segkit.errors import SegkitError
from segkit.finetune.beginning import without_new_folders
from segkit.finetune.choosing import choose, is_chosen, join
from segkit.finetune.plan import Plan, Request, take_up
from segkit.finetune.prepare import is_tried, prepare, try_first
from segkit.finetune.scoring import is_scored, read_score, score
from segkit.io.claim import claimed
from segkit.metrics import Evaluation
from segkit.report import write_report
from segkit.train import Outcome, Silence, Watcher, train
from segkit.train.run import check_folder

Watching: TypeAlias = Callable[[], AbstractContextManager[Watcher]]
"""Gives a new watcher for each training, and is told when it is needed no more."""

LOCK = ".segkit-finetune-lock"
"""A training takes its folder's own."""


@dataclass(frozen=True)
class Result:
    """How it ended.

    outcomes : of each training
    evaluation : None where it was interrupted
    scored_on : the cases in words
    report : the page that tells all of it; None where it was not asked for
    """

    outcomes: tuple[Outcome, ...]
    evaluation: Evaluation | None = None
    scored_on: str = ""
    report: Path | None = None

    @property
    def interrupted(self) -> Outcome | None:
        """The training during which somebody asked to stop."""
        return next((outcome for outcome in self.outcomes if outcome.signal is not None), None)


def finetune(request: Request, watching: Watching = lambda: nullcontext(Silence()), *, resume: bool = False, report: bool = True) -> Result:
    """From a data set to a model in ``request.folder``, with its score on cases that it never saw.

    resume : go on with the run in that folder, wherever it stopped; `request` is that of `segkit.finetune.plan.take_up`
    report : write report.html at the end; without it the score can be told before `write_report` does

    Raises
    ------
    SettingsError, PairingError, MaskValuesError
        The request does not fit the data, the folder holds a run, or, to `resume`, none.
    TrainingError
        The smoke test failed, or the training.
    WriteError
        A file can't be written; where it is the report, the model is finished and says so.
    """
    plan = take_up(request.folder)[1] if resume else None
    with without_new_folders(request.folder):
        if not resume:
            check_folder(request.folder, resume=False)
        with claimed(request.folder, LOCK):
            result = _carry_out(request, plan, watching)
    return replace(result, report=report_on(request.folder)) if report and result.evaluation is not None else result


def report_on(folder: Path) -> Path:
    """The page about a finished run; an error of `segkit.report.write_report` says that nothing else is lost, and how to write it later."""
    try:
        return write_report(folder)
    except SegkitError as error:
        later = f"segkit report {shlex.quote(str(folder))}"
        raise type(error)(f"{error}; the model is finished and scored, only its report is missing: when that is mended, write it with {later}") from error


def _carry_out(request: Request, plan: Plan | None, watching: Watching) -> Result:
    with watching() as watcher:
        if plan is None:
            plan = prepare(request, watcher)
        if request.smoke_test and not is_tried(request.folder):
            try_first(request, plan, watcher)
    outcomes = []
    for config in request.configs:
        with watching() as watcher:
            if request.folds:
                watcher.note(f"{config.parent.name} of {request.folds} folds")
            outcomes.append(_train(config, watcher))
            if outcomes[-1].signal is not None:
                return Result(tuple(outcomes))
            if not is_chosen(config):
                first = None if config == request.configs[0] else load_model(request.places[0]).run.predict
                choose(config, watcher, first)
    with watching() as watcher:
        if request.folds and not (request.folder / "model.safetensors").exists():
            join(request.folder, request.configs, watcher)
        return Result(tuple(outcomes), *_score(request, watcher))


def _score(request: Request, watcher: Watcher) -> tuple[Evaluation, str]:
    """What it comes to, measured once."""
    if is_scored(request.folder, request.configs):
        return read_score(request.folder, request.configs)
    watcher.note("scoring")
    return score(request.folder, request.configs)


def _train(config: Path, watcher: Watcher) -> Outcome:
    """To its end: from the start, from where it was left, or not at all where it has ended."""
    folder = config.parent
    ended = _ending(folder / "run.json")
    if ended is not None:
        return ended
    has_state = (folder / "state.pt").exists()
    if not has_state:
        (folder / "model.safetensors").unlink(missing_ok=True)      # of a run that was killed before its first state was written
    return train(load_run(config), folder, resume=has_state, watcher=watcher)


def _ending(path: Path) -> Outcome | None:
    """How a training ended; None of one that did not."""
    if not path.exists():
        return None
    told = json.loads(path.read_text("utf-8")).get("outcome")
    if told is None or told["reason"] == "interrupted":
        return None
    best = -math.inf if told["best"] is None else told["best"]      # no validation mask held any foreground
    return Outcome(told["reason"], best, told["steps"], told["minutes"])
