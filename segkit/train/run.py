"""A training run from its settings to its folder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segkit.checkpoint import Card, save_model
from segkit.config import RunConfig, TrainSettings
from segkit.dataset import (
    BatchLoader,
    Case,
    CaseStore,
    Inventory,
    PatchDataset,
    check_pairs,
    load_pair,
    take_inventory,
)
from segkit.engines import TorchEngine, choose_device, choose_precision, describe
from segkit.engines.hardware import DTYPES
from segkit.errors import SegkitError, SettingsError, TrainingError, counted
from segkit.evaluation import evaluate_pairs
from segkit.interrupt import Stop, listening
from segkit.io import write_json, write_png
from segkit.io.atomic import reason
from segkit.io.claim import claimed
from segkit.labels import Mask
from segkit.losses import build_loss
from segkit.memory import keep_freed_memory
from segkit.metrics.summary import MANY_EMPTY
from segkit.models import build_model
from segkit.plot import overlay
from segkit.predict import Model, segment
from segkit.train.progressive import sized
from segkit.train.record import Outcome, Report, Row, Silence, Track, Watcher, ending, facts, write_log
from segkit.train.schedule import progress, schedule
from segkit.train.state import State, fresh_state, restore, save_state
from segkit.train.trial import look_ahead, require_step, require_volumes

OVERLAYS = 4
"""Validation pictures that are drawn."""


def train(run: RunConfig, folder: Path, *, resume: bool = False, watcher: Watcher | None = None) -> Outcome:
    """Train one network, from files to ``folder/model.safetensors``. On a processor the process keeps the memory that it frees from now on.

    Raises
    ------
    SettingsError
        The settings don't fit the data; `folder` holds a run already and `resume` is off, or the other way round.
    ReadError, PairingError, MaskValuesError, ShapeError, ChannelsError, RangeError
        A pair can't be used; the message names it.
    TrainingError
        The loss is no longer finite, or loading fails.
    """
    watcher = watcher or Silence()
    check_folder(folder, resume)
    with claimed(folder), closing(Track(folder, run.train.tensorboard)) as track:
        return carry_out(run, folder, resume, watcher, track)


def carry_out(run: RunConfig, folder: Path, resume: bool, watcher: Watcher, track: Track) -> Outcome:
    """The run in its folder: look at the data, begin or take up, loop, and say how it ended."""
    device = choose_device(run.train.device)
    if device.type == "cpu":
        keep_freed_memory()
    precision = choose_precision(run.train.precision, device)
    training, validation = look_ahead(run)
    require_step(run)
    watcher.note(f"{counted(len(training), 'pair')} to train on, {len(validation)} to validate on; {describe(device)}, {precision}")
    state = fresh_state(run, device, precision, resume=resume, told=watcher.downloading)  # before the long look at all pairs: weights may be missing
    for line in (*run.remarks, *state.loaded):
        watcher.note(line)
    store = CaseStore(training, run)
    inventory = take_inventory(store, watcher.scan)
    check_pairs(validation, run, watcher.scan)
    require_volumes(run, inventory.slices)
    if inventory.empty > MANY_EMPTY * len(training):
        watcher.note(f"warning: {inventory.empty} of {len(training)} masks are empty; a network learns little from them")
    if resume:
        restore(state, folder / "state.pt", run, inventory.fingerprint)
    about = {**facts(run, inventory, training, validation, device, precision), "weights": state.loaded}
    write_json(folder / "run.json", about)
    loader = BatchLoader(PatchDataset(store, inventory, run), run.train, count_workers(run.train, inventory))
    with closing(loader), listening() as stop:
        course = Course(run, folder, inventory, validation, device, precision, watcher, track)
        reason = loop(state, course, loader.batches(state.step), stop)
    outcome = Outcome(reason, state.best, state.step, state.seconds / 60, stop.signal)
    write_json(folder / "run.json", {**about, **ending(outcome, state.history)})
    return outcome


@dataclass(frozen=True)
class Course:
    """What stays the same during a run."""

    run: RunConfig
    folder: Path
    inventory: Inventory
    validation: Sequence[Case]
    device: torch.device
    precision: str
    watcher: Watcher
    track: Track

    def is_frozen(self, step: int) -> bool:
        """Whether what `train.freeze` names still is, at a step; an epoch is as many patches as there are training slices."""
        epochs = self.run.train.freeze_epochs
        return epochs is None or step * self.run.train.batch_size < epochs * sum(self.inventory.slices)


def loop(state: State, course: Course, batches: Iterator[tuple[Tensor, Tensor]], stop: Stop) -> str:
    """Step until the budget is used up, patience ends, or somebody asks to stop; says which."""
    settings = course.run.train
    loss_function = build_loss(course.run.loss).to(course.device)
    began = time.monotonic() - state.seconds
    at = how_far(state, settings)
    state.validations = min(state.validations, math.floor(at * settings.validations))  # resumed with more minutes: they are validated too
    while True:
        if stop.signal is not None and at < 1:
            keep_state(state, course)
            return "interrupted"
        if at * settings.validations >= state.validations + 1:
            with saving(state, course):
                validate(state, course, at)
            state.seconds = time.monotonic() - began
            keep_state(state, course)
            if settings.patience is not None and state.since_best >= settings.patience and at < 1:
                return "stopped early"
            at = max(at, how_far(state, settings))  # with minutes a validation uses up budget, but never gives any back
        if at >= 1:
            return "finished"
        started = time.monotonic()
        with saving(state, course):
            batch = next(batches)
        rate = settings.learning_rate * schedule(at, settings)
        loss = take_step(state, sized(batch, at, settings), loss_function, rate, course)
        state.loss = loss if math.isnan(state.loss) else 0.95 * state.loss + 0.05 * loss
        state.step += 1
        state.seconds = time.monotonic() - began
        at = max(at, how_far(state, settings))
        course.watcher.stepped(_report(state, settings, at, time.monotonic() - started))


@contextmanager
def saving(state: State, course: Course) -> Iterator[None]:
    """Where reading or writing fails inside the block, the steps so far are not lost."""
    try:
        yield
    except SegkitError as error:
        try:
            keep_state(state, course)
        except SegkitError:  # a full disk: the state of the last validation is still there
            raise error from None
        raise type(error)(f"{error}; the {state.step} steps so far are saved: when that is mended, go on with --resume") from error


def keep_state(state: State, course: Course) -> None:
    """`save_state` in the folder of the run; where that fails and none was saved before, the model goes too: beside it no run could be begun or resumed."""
    path = course.folder / "state.pt"
    try:
        save_state(state, path, course.run, course.inventory.fingerprint)
    except SegkitError:
        if not path.exists():
            (course.folder / "model.safetensors").unlink(missing_ok=True)
        raise


def how_far(state: State, settings: TrainSettings) -> float:
    return progress(state.step, state.seconds, 1.1 * state.validation_seconds, settings)


def take_step(state: State, batch: tuple[Tensor, Tensor], loss_function: nn.Module, rate: float, course: Course) -> float:
    """One step on (B, R, C, h, w) patches, R neighbouring slices each, and (B, R, h, w) classes; the loss before it.

    Raises
    ------
    TrainingError
        The loss is not finite.
    """
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)  # an older state.pt has none
    patches, truth = (part.to(course.device, non_blocking=True) for part in batch)
    state.network.train()
    if course.run.train.freeze is not None:
        freeze(state.network.get_submodule(course.run.train.freeze), course.is_frozen(state.step))
    with torch.autocast(course.device.type, DTYPES[course.precision], enabled=course.precision != "fp32"):
        logits = state.network(patches)
    loss = loss_function(logits, truth.flatten(0, 1))
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss became {value} at step {state.step}: lower train.learning_rate (now {course.run.train.learning_rate:g}) or train.clip_norm, "
            "and start again in another folder"
        )
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()
    state.scaler.unscale_(state.optimizer)
    nn.utils.clip_grad_norm_(state.network.parameters(), course.run.train.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    average(state, course.run.train.ema)
    return value


def freeze(part: nn.Module, frozen: bool) -> None:
    """A frozen part has no gradients, and its norms use the means that they have, and leave them."""
    part.requires_grad_(not frozen)
    part.train(not frozen)


@torch.no_grad()
def average(state: State, decay: float) -> None:
    """Move the running mean of the weights; a young mean forgets faster, so that it does not drag the start along."""
    weight = 1 - min(decay, (1 + state.step) / (10 + state.step))
    for key, value in state.network.state_dict().items():
        if value.is_floating_point():
            state.averaged[key].lerp_(value, weight)
        else:
            state.averaged[key].copy_(value)


def validate(state: State, course: Course, at: float) -> None:
    """Predict the validation pictures with the averaged weights, score them, and keep the weights if they are the best."""
    started = time.monotonic()
    network = build_model(course.run.model)
    network.load_state_dict(state.averaged)
    model = Model(course.run, TorchEngine(network, str(course.device), course.precision))
    drawn: dict[str, NDArray[np.uint8]] = {}
    scores = evaluate_pairs(predictions(model, course, drawn), metrics=("dice",))
    dice = {name: scores.classes[name].means["dice"] for name in model.labels.foreground}
    row = Row(state.step, state.seconds / 60, state.optimizer.param_groups[0]["lr"], state.loss, dice)
    state.history.append(row)
    state.validations = max(state.validations + 1, math.floor(at * course.run.train.validations))
    state.since_best = 0 if row.mean_dice > state.best else state.since_best + 1
    if row.mean_dice >= state.best or not (course.folder / "model.safetensors").exists():  # of equally good ones the latest has learnt most
        state.best = row.mean_dice if math.isfinite(row.mean_dice) else state.best
        keep(state, course, dice, drawn)
    write_log(course.folder, state.history)
    course.track.row(row)
    course.watcher.validated(row)
    state.validation_seconds = time.monotonic() - started


def predictions(model: Model, course: Course, drawn: dict[str, NDArray[np.uint8]]) -> Iterator[tuple[str, Mask, Mask]]:
    """(name, prediction, truth) of each validation case; the first few are drawn on the way."""
    for number, case in enumerate(course.validation):
        image, truth = load_pair(case, course.run.data, model.labels)
        prediction = segment(image, model).mask
        if number < OVERLAYS:
            drawn[f"{number:02d}_{case.name.split('.')[0]}"] = overlay(image, prediction.indices, truth.indices)
        yield case.name, prediction, truth


def keep(state: State, course: Course, dice: Mapping[str, float], drawn: Mapping[str, NDArray[np.uint8]]) -> None:
    """Write the averaged weights with their card, and the overlays of what they predicted."""
    scores = {"validation": {name: value if math.isfinite(value) else None for name, value in dice.items()}}
    about = course.run.description or "no description"
    card = Card(f"{about}; {len(course.inventory.slices)} pictures or volumes", course.inventory.fingerprint, scores, state.step)
    save_model(course.folder / "model.safetensors", course.run, state.averaged, card)
    for name, picture in drawn.items():
        write_png(course.folder / "validation" / f"{name}.png", picture)


def count_workers(settings: TrainSettings, inventory: Inventory) -> int:
    """None where all pictures stay in memory: cutting and augmenting a patch takes 2 ms then."""
    if settings.workers != "auto":
        return settings.workers
    return 0 if inventory.nbytes <= settings.cache_mb * 2**20 else min(4, torch.get_num_threads())


def check_folder(folder: Path, resume: bool) -> None:
    """SettingsError where a new run would overwrite another, or there is nothing to resume."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise SettingsError(f"{folder}: is a file; -o takes a folder for the run") from error
    except OSError as error:
        raise SettingsError(f"{folder}: can't be made: {reason(error)}") from error
    has_state = (folder / "state.pt").exists()
    if (has_state or (folder / "model.safetensors").exists()) and not resume:
        raise SettingsError(f"{folder}: holds a run already; continue it with --resume, or choose another folder")
    if resume and not has_state:
        raise SettingsError(f"{folder}: holds nothing to resume (no state.pt); start without --resume")


def _report(state: State, settings: TrainSettings, at: float, seconds: float) -> Report:
    if settings.minutes is not None:
        left = max(0.0, 60 * settings.minutes - state.seconds)
    else:
        left = (1 - at) * state.seconds / max(at, 1e-9)
    return Report(state.step, at, state.loss, settings.batch_size / max(seconds, 1e-9), left)
