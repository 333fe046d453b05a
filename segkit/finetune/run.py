"""One command from a folder of pictures to a model: measure, derive, try, train, choose, score."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from segkit.config import load_run
from segkit.finetune.choosing import choose
from segkit.finetune.plan import Request
from segkit.finetune.prepare import prepare, try_first
from segkit.finetune.scoring import score
from segkit.metrics import Evaluation
from segkit.train import Outcome, Silence, Watcher, train

Watching: TypeAlias = Callable[[], AbstractContextManager[Watcher]]
"""Gives a new watcher for each training, and is told when it is needed no more."""


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
