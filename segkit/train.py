"""Training: draw patches, step, validate by walking `predict` over whole pictures, keep the best.

The run's folder afterwards::

    RUN/
    ├── model.safetensors    the best weights so far, with their card: what predict takes
    ├── state.pt             all that --resume needs
    ├── run.json             settings, versions, machine, data, scores
    ├── log.csv              a row a validation
    ├── curves.png           the same, drawn
    └── validation/          overlays of a few validation pictures, the truth outlined in white
"""

from __future__ import annotations

import math
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from segkit import __version__
from segkit.checkpoint import Card, fit_weights, read_weights, save_model
from segkit.config import RunConfig, TrainSettings
from segkit.dataset import BatchLoader, Case, CaseStore, Inventory, PatchDataset, find_cases, load_pair, take_inventory
from segkit.engines import choose_device, choose_precision, describe
from segkit.engines.hardware import DTYPES
from segkit.errors import MissingExtraError, SettingsError, TrainingError, WeightsError
from segkit.evaluate import evaluate_pairs
from segkit.io import atomic_path, write_csv, write_json
from segkit.losses import build_loss
from segkit.models import build_model
from segkit.plot import curves, overlay
from segkit.predict import Model, segment

OVERLAYS = 4
"""Validation pictures that are drawn."""


class Watcher(Protocol):
    """Told how the run goes; the command line draws it."""

    def scan(self, cases: Iterable[int]) -> Iterable[int]: ...
    def note(self, text: str) -> None: ...
    def stepped(self, report: Report) -> None: ...
    def validated(self, row: Row) -> None: ...


class Silence:
    """A watcher that says nothing."""

    def scan(self, cases: Iterable[int]) -> Iterable[int]:
        return cases

    def note(self, text: str) -> None: ...
    def stepped(self, report: Report) -> None: ...
    def validated(self, row: Row) -> None: ...


@dataclass(frozen=True)
class Report:
    """The run between two steps."""

    step: int
    progress: float
    loss: float
    patches_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Row:
    """A validation: a line of log.csv."""

    step: int
    minutes: float
    learning_rate: float
    loss: float
    dice: Mapping[str, float]

    @property
    def mean_dice(self) -> float:
        """Over the classes that were there; NaN where none was."""
        known = [value for value in self.dice.values() if math.isfinite(value)]
        return sum(known) / len(known) if known else math.nan


@dataclass
class State:
    """All that changes during a run, and so all that --resume needs."""

    network: nn.Module
    averaged: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    seconds: float = 0.0
    validation_seconds: float = 0.0
    validations: int = 0
    best: float = -math.inf
    since_best: int = 0
    loss: float = math.nan
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    reason : "finished", "stopped early" or "interrupted" (then `signal` has the number)
    best : mean validation Dice of the weights that were kept
    """

    folder: Path
    reason: str
    best: float
    steps: int
    minutes: float
    signal: int | None = None


def train(run: RunConfig, folder: Path, *, resume: bool = False, watcher: Watcher | None = None) -> Outcome:
    """Train one network, from files to `folder`/model.safetensors.

    Raises
    ------
    SettingsError
        The settings don't fit the data, or `folder` holds a run already and `resume` is off (or the other way round).
    ReadError, PairingError, MaskValuesError, ShapeError
        A pair can't be used; the message names it.
    TrainingError
        The loss is no longer finite, or loading fails.
    """
    watcher = watcher or Silence()
    _check_folder(folder, resume)
    device = choose_device(run.train.device)
    precision = choose_precision(run.train.precision, device)
    training, validation = find_cases(run.data, run.train.seed)
    store = CaseStore(training, run)
    watcher.note(f"{len(training)} pairs to train on, {len(validation)} to validate on; {describe(device)}, {precision}")
    inventory = take_inventory(store, watcher.scan)
    if inventory.empty > 0.9 * len(training):
        watcher.note(f"{inventory.empty} of {len(training)} masks are empty; a network can learn little from them")
    torch.manual_seed(run.train.seed)
    state = fresh_state(run, device, precision, watcher)
    if resume:
        restore(state, folder, run, inventory.fingerprint)
    facts = _facts(run, inventory, training, validation, device, precision)
    write_json(folder / "run.json", facts)
    workers = _workers(run.train, inventory)
    loader = BatchLoader(PatchDataset(store, inventory, run), run.train, workers)
    with closing(loader), _listening() as stop:
        reason = _loop(state, run, folder, loader.batches(state.step), _Course(run, inventory, validation, device, precision), stop, watcher)
    outcome = Outcome(folder, reason, state.best, state.step, state.seconds / 60, stop.signal)
    write_json(folder / "run.json", {**facts, "outcome": {**asdict(outcome), "folder": None}, "validation": [_row_facts(row) for row in state.history]})
    return outcome


@dataclass(frozen=True)
class _Course:
    """What stays the same during a run."""

    run: RunConfig
    inventory: Inventory
    validation: Sequence[Case]
    device: torch.device
    precision: str


def _loop(
    state: State, run: RunConfig, folder: Path, batches: Iterator[tuple[Tensor, Tensor]], course: _Course, stop: _Stop, watcher: Watcher
) -> str:
    """Step until the budget is used up, patience ends, or somebody asks to stop; says which."""
    settings = run.train
    loss_function = build_loss(run.loss).to(course.device)
    began = time.monotonic() - state.seconds
    while (progress := _progress(state, settings)) < 1:
        started = time.monotonic()
        _set_rate(state.optimizer, settings.learning_rate * schedule(progress, settings))
        loss = take_step(state, next(batches), loss_function, course.device, course.precision, settings)
        state.loss = loss if math.isnan(state.loss) else 0.95 * state.loss + 0.05 * loss
        state.step += 1
        state.seconds = time.monotonic() - began
        after = _progress(state, settings)
        watcher.stepped(_report(state, settings, after, time.monotonic() - started, began))
        if after * settings.validations >= state.validations + 1:
            _validate(state, folder, course, watcher, settings.learning_rate * schedule(progress, settings))
            state.seconds = time.monotonic() - began
            save_state(state, folder, run, course.inventory.fingerprint)
            if settings.patience is not None and state.since_best >= settings.patience and after < 1:
                return "stopped early"
        if stop.signal is not None:
            save_state(state, folder, run, course.inventory.fingerprint)
            return "interrupted"
    return "finished"


def _progress(state: State, settings: TrainSettings) -> float:
    """0 .. 1 through the budget; by the clock, the last validation's time is kept in reserve."""
    if settings.minutes is None:
        return min(1.0, state.step / settings.steps)
    budget = 60 * settings.minutes
    return min(1.0, state.seconds / max(0.5 * budget, budget - 1.1 * state.validation_seconds))


def schedule(progress: float, settings: TrainSettings) -> float:
    """Share of the full learning rate: a straight rise, then a cosine or polynomial (power 0.9) fall that ends at 0 with the budget."""
    if progress < settings.warmup_share:
        return max(0.01, progress / settings.warmup_share)
    falling = (progress - settings.warmup_share) / (1 - settings.warmup_share)
    return float(0.5 * (1 + math.cos(math.pi * falling)) if settings.schedule == "cosine" else (1 - falling) ** 0.9)


def take_step(
    state: State, batch: tuple[Tensor, Tensor], loss_function: nn.Module, device: torch.device, precision: str, settings: TrainSettings
) -> float:
    """One step on (B, C, h, w) patches and (B, h, w) classes; the loss before it.

    Raises
    ------
    TrainingError
        The loss is not finite.
    """
    patches, truth = (part.to(device, non_blocking=True) for part in batch)
    state.network.train()
    with torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32"):
        logits = state.network(patches.contiguous(memory_format=torch.channels_last))
    loss = loss_function(logits, truth)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(f"the loss became {value} at step {state.step}; lower train.learning_rate (now {settings.learning_rate:g}) or train.clip_norm, then start again")
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()
    state.scaler.unscale_(state.optimizer)
    nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    _average(state, settings.ema)
    return value


@torch.no_grad()
def _average(state: State, decay: float) -> None:
    """Move the running mean of the weights; a young mean forgets faster, so that it does not drag the start along."""
    weight = 1 - min(decay, (1 + state.step) / (10 + state.step))
    for key, value in state.network.state_dict().items():
        if value.is_floating_point():
            state.averaged[key].lerp_(value, weight)
        else:
            state.averaged[key].copy_(value)


def _validate(state: State, folder: Path, course: _Course, watcher: Watcher, learning_rate: float) -> None:
    """Predict the validation pictures with the averaged weights, score them, keep them if they are the best."""
    started = time.monotonic()
    network = build_model(course.run.model)
    network.load_state_dict(state.averaged)
    model = Model(course.run, network, device=str(course.device), precision=course.precision)
    drawn: list[tuple[str, Any]] = []
    scores = evaluate_pairs(_predictions(model, course, drawn), metrics=("dice",))
    dice = {name: scores.classes[name].means["dice"] for name in model.labels.foreground}
    state.history.append(Row(state.step, state.seconds / 60, learning_rate, state.loss, dice))
    state.validations = max(state.validations + 1, math.floor(_progress(state, course.run.train) * course.run.train.validations))
    reached = state.history[-1].mean_dice
    if not reached <= state.best:  # also where the first score is NaN: some weights must be kept
        state.best, state.since_best = (reached if math.isfinite(reached) else state.best), 0
        _keep(state, folder, course, dice, drawn)
    else:
        state.since_best += 1
    write_log(folder, state.history)
    watcher.validated(state.history[-1])
    state.validation_seconds = time.monotonic() - started


def _predictions(model: Model, course: _Course, drawn: list[tuple[str, Any]]) -> Iterator[tuple[str, Any, Any]]:
    """(name, prediction, truth) of each validation case; the first few are drawn on the way."""
    for case in course.validation:
        image, truth = load_pair(case, course.run.data, model.labels)
        prediction = segment(image, model).mask
        if len(drawn) < OVERLAYS:
            drawn.append((case.image.name.split(".")[0], overlay(image, prediction.indices, truth.indices)))
        yield case.name, prediction, truth


def _keep(state: State, folder: Path, course: _Course, dice: Mapping[str, float], drawn: Sequence[tuple[str, Any]]) -> None:
    about = f"{len(course.inventory.slices)} pictures or volumes"
    scores = {"validation": {name: value if math.isfinite(value) else None for name, value in dice.items()}}
    card = Card(course.run.description or about, course.inventory.fingerprint, scores, state.step)
    save_model(folder / "model.safetensors", course.run, state.averaged, card)
    for name, picture in drawn:
        _save_png(folder / "validation" / f"{name}.png", picture)


def fresh_state(run: RunConfig, device: torch.device, precision: str, watcher: Watcher) -> State:
    """Initialised weights (or those of `start_from`), their mean, an optimizer."""
    network = build_model(run.model)
    if run.train.start_from is not None:
        weights, report = read_weights(run.train.start_from)
        fit_weights(network, weights, str(run.train.start_from))
        watcher.note(f"{run.train.start_from}: {len(weights)} tensors loaded{''.join(f'; {line}' for line in report)}")
    network.to(device, memory_format=torch.channels_last)
    averaged = {key: value.detach().clone() for key, value in network.state_dict().items()}
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    return State(network, averaged, make_optimizer(network, run.train), scaler)


def make_optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum; biases and batch norms are not decayed."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate)
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.momentum > 0)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def save_state(state: State, folder: Path, run: RunConfig, fingerprint: str) -> None:
    """Write state.pt: tensors and plain values only, so that reading it executes nothing."""
    content = {
        "network": state.network.state_dict(),
        "averaged": state.averaged,
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "random": torch.get_rng_state(),
        "numbers": {name: getattr(state, name) for name in _NUMBERS},
        "history": [asdict(row) for row in state.history],
        "settings": _identity(run),
        "fingerprint": fingerprint,
    }
    with atomic_path(folder / "state.pt") as temporary:
        torch.save(content, temporary)


_NUMBERS = ("step", "seconds", "validation_seconds", "validations", "best", "since_best", "loss")


def restore(state: State, folder: Path, run: RunConfig, fingerprint: str) -> None:
    """Put a saved state back.

    Raises
    ------
    WeightsError
        state.pt is damaged.
    SettingsError
        It was saved by a run with other settings or other data.
    """
    path = folder / "state.pt"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        saved = content["settings"]
    except Exception as error:  # torch raises whatever a damaged zip or pickle leads to
        raise WeightsError(f"{path}: is damaged ({error}); start again without --resume in another folder") from error
    changed = sorted(key for key, value in _identity(run).items() if saved.get(key) != value)
    if changed:
        raise SettingsError(f"{folder}: its run had other settings for {', '.join(changed)}; resume with the same ones, or start in another folder")
    if content["fingerprint"] != fingerprint:
        raise SettingsError(f"{folder}: its run saw other training data than {run.data.manifest or run.data.images} holds now; start in another folder")
    state.network.load_state_dict(content["network"])
    for key, value in content["averaged"].items():
        state.averaged[key].copy_(value)
    state.optimizer.load_state_dict(content["optimizer"])
    state.scaler.load_state_dict(content["scaler"])
    torch.set_rng_state(content["random"])
    for name, value in content["numbers"].items():
        setattr(state, name, value)
    state.history = [Row(**row) for row in content["history"]]


def _identity(run: RunConfig) -> dict[str, Any]:
    """The settings that make a run what it is; where the data lies and what loads it may change, and so may a longer budget by the clock."""
    settings = run.model_dump(mode="json", exclude={"data": {"manifest", "images", "masks"}, "predict": True, "description": True})
    for free in ("minutes", "device", "precision", "workers", "worker_timeout", "cache_mb", "start_from"):
        del settings["train"][free]
    return {f"{room}.{key}": value for room, group in settings.items() for key, value in group.items()}


def write_log(folder: Path, history: Sequence[Row]) -> None:
    """log.csv and curves.png."""
    classes = list(history[-1].dice)
    header = ["step", "minutes", "learning_rate", "loss", "mean_dice", *(f"dice_{name}" for name in classes)]
    rows = [[row.step, f"{row.minutes:.3f}", f"{row.learning_rate:.3e}", f"{row.loss:.5f}", f"{row.mean_dice:.5f}", *(f"{row.dice[name]:.5f}" for name in classes)] for row in history]
    write_csv(folder / "log.csv", header, rows)
    steps = [float(row.step) for row in history]
    dice = curves(steps, {name: [row.dice[name] for row in history] for name in classes}, title="Dice on the validation pictures", x_label="step")
    loss = curves(steps, {"training loss": [row.loss for row in history]}, title="Loss on the training patches", x_label="step")
    _save_png(folder / "curves.png", np.concatenate([dice, loss]))


def _save_png(path: Path, picture: Any) -> None:
    with atomic_path(path) as temporary:
        Pillow.fromarray(picture).save(temporary)


def _report(state: State, settings: TrainSettings, progress: float, seconds: float, began: float) -> Report:
    if settings.minutes is not None:
        left = max(0.0, 60 * settings.minutes - state.seconds)
    else:
        left = (1 - progress) * state.seconds / max(progress, 1e-9)
    return Report(state.step, progress, state.loss, settings.batch_size / max(seconds, 1e-9), left)


def _row_facts(row: Row) -> dict[str, Any]:
    return {**asdict(row), "mean_dice": row.mean_dice}


def _facts(run: RunConfig, inventory: Inventory, training: Sequence[Case], validation: Sequence[Case], device: torch.device, precision: str) -> dict[str, Any]:
    pixels = dict(zip(run.data.labels, inventory.pixels.tolist(), strict=True))
    return {
        "segkit": __version__,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "machine": {"system": platform.platform(), "device": describe(device)},
        "precision": precision,
        "seed": run.train.seed,
        "settings": run.model_dump(mode="json"),
        "data": {
            "fingerprint": inventory.fingerprint,
            "pixels": pixels,
            "slices": sum(inventory.slices),
            "training": [case.name for case in training],
            "validation": [case.name for case in validation],
        },
    }


def _workers(settings: TrainSettings, inventory: Inventory) -> int:
    """None where all pictures stay in memory: cutting and augmenting a patch takes 2 ms then."""
    if settings.workers != "auto":
        return settings.workers
    return 0 if inventory.nbytes <= settings.cache_mb * 2**20 else min(4, torch.get_num_threads())


def _check_folder(folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder}: is a file; -o takes a folder for the run")
    has_run = (folder / "state.pt").exists() or (folder / "model.safetensors").exists()
    if has_run and not resume:
        raise SettingsError(f"{folder}: holds a run already; continue it with --resume, or choose another folder")
    if resume and not (folder / "state.pt").exists():
        raise SettingsError(f"{folder}: holds nothing to resume (no state.pt); start without --resume")


class _Stop:
    """Set by a signal; the loop looks at it after each step."""

    signal: int | None = None


@contextmanager
def _listening() -> Iterator[_Stop]:
    """Ctrl-C and SIGTERM finish the step instead of ending the process; a second one ends it."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python hands signals to the main thread alone
        return

    def ask(number: int, frame: Any) -> None:
        if stop.signal is not None:
            raise KeyboardInterrupt
        stop.signal = number

    before: dict[int, Callable[..., Any] | int | None] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
