"""A trial before the hours: a few pictures must be learnt by heart in seconds, and with masks of other pictures less well.

A network can learn anything by heart, given the time, masks that belong to other pictures too. But what is to be seen it learns
first, so after the same few steps the masks that belong to the pictures must have been learnt better than the same masks exchanged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segkit.augment import AugmentSettings
from segkit.config import RunConfig
from segkit.dataset import Case, CaseStore, Inventory, PatchDataset, collate, find_anchors
from segkit.engines.hardware import DTYPES
from segkit.errors import SegkitError, TrainingError
from segkit.finetune.machine import Machine
from segkit.labels import IGNORE_INDEX
from segkit.losses import build_loss
from segkit.models import build_model
from segkit.train.state import first_weights, make_optimizer

PICTURES = 4
"""Learnt by heart; more where they are needed to show all classes."""

PATCHES = 4
"""Cut from them, each once."""

SIDE = 96
"""Of a patch at most, in pixels of the model's grid: a trial takes seconds, and a part of an object is learnt as well as all of it."""

STEPS, SECONDS = 60, 10.0
"""At most, of each of the two trials."""

FEWEST_STEPS = 20
"""On a machine that does fewer in the time nothing is said."""

LEARNT = 0.9
"""Dice of every class at which a trial ends: it is learnt."""

LITTLE = 0.1
"""Dice by which what was learnt must be better than calling every pixel the class."""

NO_ANCHORS = np.zeros((0, 4), np.int32)

STILL = AugmentSettings(horizontal_flip=0, affine=0, contrast=0, blur=0, noise=0)


@dataclass(frozen=True)
class Trial:
    """How far a few patches were learnt by heart.

    dice : of each foreground class, at the end
    guess : of the same classes, for calling every pixel the class
    loss : mean of the last five steps
    """

    dice: Mapping[str, float]
    guess: Mapping[str, float]
    loss: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class Smoke:
    """Both trials; `exchanged` is None where there was no other picture to exchange masks with, or the first trial already failed."""

    own: Trial
    exchanged: Trial | None
    pictures: tuple[str, ...]

    @property
    def fault(self) -> str | None:
        """Why training would be in vain, in plain words; None where nothing speaks against it."""
        if self.own.steps < FEWEST_STEPS:
            return None
        lost = [name for name, dice in self.own.dice.items() if dice < self.own.guess[name] + LITTLE * (1 - self.own.guess[name])]
        if lost:
            told = ", ".join(f"{name} with a Dice of {self.own.dice[name]:.2f}" for name in lost)
            return f"{self._how()} were not learnt by heart: {told}; {self._advice('noise, masks of other pictures, or shifted or turned ones')}"
        if self.exchanged is not None and self.own.loss > self.exchanged.loss:
            return (
                f"{self._how()} were learnt no better with their own masks (loss {self.own.loss:.2f}) than with each other's ({self.exchanged.loss:.2f}); "
                f"{self._advice('masks of other pictures, or shifted or turned ones')}"
            )
        return None

    def _how(self) -> str:
        return f"{len(self.pictures)} pictures ({', '.join(self.pictures[:PICTURES])}), {self.own.steps} steps long,"

    @staticmethod
    def _advice(what: str) -> str:
        return f"most likely the masks are {what}: look at them with segkit check DATASET --sheet sheet.png, or go on all the same with --no-smoke-test"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "fault": self.fault}


def choose_pictures(held: NDArray[np.bool_], seed: int) -> list[int]:
    """Numbers of a few cases that together show every class: (cases, K - 1) whether a case holds a class -> numbers.

    Raises
    ------
    TrainingError
        No case holds any class.
    """
    order = np.random.default_rng(seed).permutation(len(held))
    chosen: list[int] = []
    missing = held.any(axis=0)
    while missing.any():
        best = max((int(number) for number in order if int(number) not in chosen), key=lambda number: int((held[number] & missing).sum()))
        chosen.append(best)
        missing = missing & ~held[best]
    others = [int(number) for number in order if int(number) not in chosen and held[number].any()]
    if not chosen:
        raise TrainingError("no mask to train on holds any class; segkit check says what the masks hold")
    return sorted([*chosen, *others[: max(0, PICTURES - len(chosen))]])


def try_to_learn(run: RunConfig, cases: Sequence[Case], machine: Machine, told: Callable[[str], None] = lambda text: None) -> Smoke:
    """Learn patches of these cases by heart, with their own masks and with each other's.

    Raises
    ------
    ReadError, ShapeError, MaskValuesError, SettingsError
        A case can't be used, or a class stands in none of them.
    """
    pictures, truth = draw_patches(run, cases)
    names = tuple(run.data.labels)[1:]
    own = _learn(run, pictures, truth, names, machine)
    told(f"{len(cases)} pictures by heart: Dice {', '.join(f'{name} {dice:.2f}' for name, dice in own.dice.items())} after {own.steps} steps")
    seen = tuple(case.name for case in cases)
    smoke = Smoke(own, None, seen)
    if smoke.fault is not None or len(cases) < 2:
        return smoke
    return Smoke(own, _learn(run, pictures, truth.roll(_each(cases), dims=0), names, machine, steps=own.steps), seen)


def draw_patches(run: RunConfig, cases: Sequence[Case]) -> tuple[Tensor, Tensor]:
    """(B, R, C, h, w) and (B, R, h, w): patches around what is drawn, as training cuts them, not augmented; `_each` of a case."""
    tree = run.model_dump()
    tree["augment"], tree["train"]["foreground_share"] = STILL.model_dump(), 1.0
    tree["train"]["patch"] = [min(side, SIDE) for side in run.train.patch]
    still = RunConfig.model_validate(tree)
    samples: list[tuple[Tensor, Tensor] | SegkitError] = []
    for case in cases:
        store = CaseStore([case], still)
        patches = PatchDataset(store, _inventory(store), still)
        samples += [patches[number] for number in range(_each(cases))]
    batch = collate(samples)
    if isinstance(batch, SegkitError):
        raise batch
    return batch


def _each(cases: Sequence[Case]) -> int:
    """Patches of each case."""
    return -(-PATCHES // len(cases))


def _inventory(store: CaseStore) -> Inventory:
    """Of one case, which need not hold every class."""
    truth = store[0].truth.numpy()
    anchors = tuple(find_anchors(truth == kind, 0) if (truth == kind).any() and kind else NO_ANCHORS for kind in range(store.labels.num_classes))
    counts = np.bincount(truth[truth != IGNORE_INDEX].ravel(), minlength=store.labels.num_classes)
    return Inventory(counts, (len(truth),), anchors, store[0].nbytes, "", int(not counts[1:].any()))


def _learn(run: RunConfig, pictures: Tensor, truth: Tensor, names: Sequence[str], machine: Machine, *, steps: int = STEPS) -> Trial:
    """The same few patches again and again, from the weights that training begins with."""
    torch.manual_seed(run.train.seed)
    network = build_model(run.model)
    first_weights(network, run, lambda name, done, total: None)
    network = network.to(machine.device).train()
    settings = run.train.model_copy(update={"encoder_rate": None})
    optimizer, loss_function = make_optimizer(network, settings), build_loss(run.loss).to(machine.device)
    pictures, truth = pictures.to(machine.device), truth.flatten(0, 1).to(machine.device)
    began, losses, dice = time.monotonic(), list[float](), dict[str, float]()
    while len(losses) < steps and (steps < STEPS or time.monotonic() - began < SECONDS):
        with torch.autocast(machine.device.type, DTYPES[machine.precision], enabled=machine.precision != "fp32"):
            logits = network(pictures)
        loss = loss_function(logits, truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), run.train.clip_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
        dice = _dice(logits if isinstance(logits, Tensor) else logits[0], truth, names)
        if steps == STEPS and len(losses) >= FEWEST_STEPS and min(dice.values()) > LEARNT:
            break
    known = truth != IGNORE_INDEX
    shares = {name: float((truth[known] == index).float().mean()) for index, name in enumerate(names, start=1)}
    guess = {name: 2 * shares[name] / (1 + shares[name]) for name in dice}
    return Trial(dice, guess, float(np.mean(losses[-5:])), len(losses), time.monotonic() - began)


def _dice(logits: Tensor, truth: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Of the classes that are there, over all patches together."""
    known = truth != IGNORE_INDEX
    chosen = logits.detach().argmax(dim=1)
    found = {}
    for index, name in enumerate(names, start=1):
        mine, yours = (chosen == index) & known, truth == index
        if yours.any():
            found[name] = float(2 * (mine & yours).sum() / (mine.sum() + yours.sum()))
    return found
