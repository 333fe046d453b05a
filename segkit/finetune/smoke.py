"""A trial before the hours: a few pictures must be learnt by heart in seconds, and the masks must be those of the pictures.

A network learns anything by heart, masks of other pictures too: a ResNet took four ultrasound pictures with exchanged masks as fast as with
their own. So what it learnt is asked first (noise, empty masks, broken settings fail there), and then whether the masks belong
to their pictures at all, which `segkit.finetune.belonging` measures over many.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
from segkit.errors import SegkitError, TrainingError, counted
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

STEPS, SECONDS = 30, 15.0
"""At most. After 30 steps a plain U-Net had vessels at a Dice of 0.69, membranes at 0.86, noise at 0.07; after 60 noise too was learnt by heart (0.63)."""

FEWEST_STEPS = 30
"""On a machine that does fewer in the time nothing is said."""

LEARNT = 0.9
"""Dice of every class at which a trial ends: it is learnt."""

STRANGERS, CERTAIN = 2.0, 4.0
"""Standard errors below which masks are taken for those of other pictures, and above which they are not. On four sets of ultrasound, fundus, electron
microscopy and MR it was 7 to 70 with their own masks, and -6 to 4 with shuffled, mirrored or turned ones."""

ADVICE = "most likely the masks are {}: look at them with segkit check DATASET --sheet sheet.png, or go on all the same with --no-smoke-test"

LITTLE = 0.1
"""Dice by which what was learnt must be better than calling every pixel the class."""

CLASSES_TOLD = 6

NO_ANCHORS = np.zeros((0, 4), np.int32)

STILL = AugmentSettings(horizontal_flip=0, affine=0, contrast=0, blur=0, noise=0)


@dataclass(frozen=True)
class Trial:
    """How far a few patches were learnt by heart.

    dice : of each foreground class, at the end
    guess : of the same classes, for calling every pixel the class
    loss : mean of the last five steps
    untried : foreground classes that no patch held
    """

    dice: Mapping[str, float]
    guess: Mapping[str, float]
    loss: float
    steps: int
    seconds: float
    untried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Smoke:
    """The trial, and by how many standard errors the masks belong to their pictures, None where that is not known."""

    trial: Trial
    pictures: tuple[str, ...]
    belonging: float | None = None

    @property
    def fault(self) -> str | None:
        """Why training would be in vain, in plain words; None where nothing speaks against it."""
        if self.belonging is not None and self.belonging < STRANGERS:
            return (
                f"the masks do not follow what is on the pictures ({self.belonging:.1f} standard errors more than masks of other pictures would): "
                f"{ADVICE.format('masks of other pictures, noise, or shifted, turned or mirrored')}"
            )
        guess, dice = self.trial.guess, self.trial.dice
        lost = [name for name in dice if dice[name] < guess[name] + LITTLE * (1 - guess[name])]
        if lost and self.trial.steps >= FEWEST_STEPS:
            told = ", ".join(f"{name} with a Dice of {dice[name]:.2f}" for name in lost)
            return f"{self._how()} not learnt by heart: {told}; {ADVICE.format('noise, or shifted, turned or mirrored')}"
        return None

    @property
    def doubt(self) -> str | None:
        """What should be looked at, but is not certain enough to stop."""
        if self.fault is not None or self.belonging is None or self.belonging >= CERTAIN:
            return None
        return f"warning: it is not certain that the masks follow what is on the pictures ({self.belonging:.1f} standard errors); look at some of them"

    @property
    def told(self) -> str:
        """How the trial went, in words."""
        trial, count = self.trial, counted(len(self.pictures), "picture")
        more = f": Dice {_shown(trial.dice)}" + (f"; not tried, as no patch held it: {', '.join(trial.untried)}" if trial.untried else "")
        if min(trial.dice.values(), default=0) > LEARNT:
            return f"{count} learnt by heart in {trial.seconds:.0f} s{more}"
        if trial.steps < FEWEST_STEPS:
            return f"too slow to tell in {trial.seconds:.0f} s ({trial.steps} steps) whether {count} can be learnt by heart{more}"
        return f"{count} tried for {trial.seconds:.0f} s ({trial.steps} steps), and learnt in part{more}"

    def _how(self) -> str:
        verb = "was" if len(self.pictures) == 1 else "were"
        return f"{counted(len(self.pictures), 'picture')} ({', '.join(self.pictures[:PICTURES])}), {self.trial.steps} steps long, {verb}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "told": self.told, "fault": self.fault, "doubt": self.doubt}


def _shown(dice: Mapping[str, float]) -> str:
    """Of many classes the ends alone."""
    if len(dice) > CLASSES_TOLD:
        return f"{min(dice.values()):.2f} to {max(dice.values()):.2f} of {len(dice)} classes"
    return ", ".join(f"{name} {value:.2f}" for name, value in dice.items())


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


def try_to_learn(run: RunConfig, cases: Sequence[Case], machine: Machine, belonging: float | None = None) -> Smoke:
    """Learn patches of these cases by heart.

    Raises
    ------
    ReadError, ShapeError, MaskValuesError
        A case can't be used.
    """
    pictures, truth = draw_patches(run, cases)
    trial = _learn(run, pictures, truth, tuple(run.data.labels)[1:], machine)
    return Smoke(trial, tuple(case.name for case in cases), belonging)


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


def _learn(run: RunConfig, pictures: Tensor, truth: Tensor, names: Sequence[str], machine: Machine) -> Trial:
    """The same few patches again and again, from the weights that training begins with."""
    torch.manual_seed(run.train.seed)
    network = build_model(run.model)
    first_weights(network, run, lambda name, done, total: None)
    network = network.to(machine.device).train()
    settings = run.train.model_copy(update={"encoder_rate": None})
    optimizer, loss_function = make_optimizer(network, settings), build_loss(run.loss).to(machine.device)
    pictures, truth = pictures.to(machine.device), truth.flatten(0, 1).to(machine.device)
    began, losses, dice = time.monotonic(), list[float](), dict[str, float]()
    while len(losses) < STEPS and time.monotonic() - began < SECONDS:
        with torch.autocast(machine.device.type, DTYPES[machine.precision], enabled=machine.precision != "fp32"):
            logits = network(pictures)
        loss = loss_function(logits, truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), run.train.clip_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
        dice = _dice(logits if isinstance(logits, Tensor) else logits[0], truth, names)
        if min(dice.values()) > LEARNT:
            break
    known = truth != IGNORE_INDEX
    shares = {name: float((truth[known] == index).float().mean()) for index, name in enumerate(names, start=1)}
    guess = {name: 2 * shares[name] / (1 + shares[name]) for name in dice}
    untried = tuple(name for name in names if name not in dice)
    return Trial(dice, guess, float(np.mean(losses[-5:])), len(losses), time.monotonic() - began, untried)


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
