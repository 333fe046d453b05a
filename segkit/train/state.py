"""All that changes during a run, and how it outlives the process."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.config import RunConfig, TrainSettings, is_path
from segkit.errors import SettingsError, WeightsError, WriteError
from segkit.io import atomic_path
from segkit.models import build_model
from segkit.pretrained import Told, load_network, load_pretrained, silent
from segkit.train.record import Row

NUMBERS = ("step", "seconds", "validation_seconds", "validations", "best", "since_best", "loss")

WHERE = ("device", "workers", "worker_timeout", "cache_mb", "downloads", "tensorboard")
"""Settings of `train` that say where it is done: what comes out does not hang on them."""

FREE = (*WHERE, "minutes", "precision", "start_from", "pretrained", "patience")
"""Settings of `train` that may differ when a run is resumed: they say where and how long, not what."""


@dataclass
class State:
    """Weights, their running mean, the optimizer, and how far the run is.

    seconds : of training so far, validations included
    validation_seconds : of the last validation
    loss : running mean over the last twenty steps or so
    best : highest mean validation Dice so far, and `since_best` validations ago
    loaded : what was done to load the weights that it began with, for people to read
    """

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
    loaded: list[str] = field(default_factory=list)


def fresh_state(run: RunConfig, device: torch.device, precision: str, *, resume: bool = False, told: Told = silent) -> State:
    """Initialised weights, or those that the settings begin with.

    resume : a saved state will be put over them, so none are loaded
    told : hears of a download

    Raises
    ------
    SettingsError, VanishedError, WeightsError
        `start_from` or `pretrained` is not there, or does not fit.
    """
    torch.manual_seed(run.train.seed)
    network = build_model(run.model)
    loaded = [] if resume else first_weights(network, run, told)
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = {key: value.detach().clone() for key, value in network.state_dict().items()}
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    return State(network, averaged, make_optimizer(network, run.train), scaler, loaded=loaded)


def first_weights(network: nn.Module, run: RunConfig, told: Told) -> list[str]:
    """Load those of `train.start_from` into the network, or those of `train.pretrained` into its encoder; what was done, for people to read."""
    settings = run.train
    if settings.start_from is not None:
        return load_network(network, settings.start_from, tuple(run.data.labels)).lines()
    if settings.pretrained is not None:
        encoder = network.get_submodule("encoder")
        return load_pretrained(encoder, settings.pretrained, name=run.model.encoder, folder=settings.downloads, told=told).lines()
    return []


def make_optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum; biases and batch norms are not decayed. `share` is what a group has of the learning rate."""
    groups = [
        {"params": [parameter for parameter in parameters if (parameter.ndim > 1) == decays], "weight_decay": settings.weight_decay * decays, "share": share}
        for share, parameters in _shares(network, settings)
        for decays in (True, False)
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)  # one pass over memory instead of five
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.momentum > 0)


def _shares(network: nn.Module, settings: TrainSettings) -> list[tuple[float, list[nn.Parameter]]]:
    """(share of the learning rate, parameters), those of the encoder last where they have their own."""
    if settings.encoder_rate is None:
        return [(1.0, list(network.parameters()))]
    encoder = list(network.get_submodule("encoder").parameters())
    known = set(map(id, encoder))
    return [(1.0, [parameter for parameter in network.parameters() if id(parameter) not in known]), (settings.encoder_rate, encoder)]


def save_state(state: State, path: Path, run: RunConfig, fingerprint: str) -> None:
    """Tensors and plain values only, so that reading them executes nothing.

    Raises
    ------
    WriteError
        The disk is full, or the folder can't be written to; a state that was saved before stays.
    """
    content = {
        "network": state.network.state_dict(),
        "averaged": state.averaged,
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "random": torch.get_rng_state(),
        "numbers": {name: getattr(state, name) for name in NUMBERS},
        "history": [asdict(row) for row in state.history],
        "loaded": state.loaded,
        "settings": identity(run),
        "fingerprint": fingerprint,
    }
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # what PyTorch makes of a full disk
            then = "go on with --resume from the state that was saved before" if path.exists() else "start again"
            raise WriteError(f"{path}: not written, most likely because the disk is full; make room and {then}") from error


def restore(state: State, path: Path, run: RunConfig, fingerprint: str) -> None:
    """Put a saved state back.

    Raises
    ------
    WeightsError
        The file is damaged.
    SettingsError
        It was saved by a run with other settings or other data.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        settings, seen = content["settings"], content["fingerprint"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        why = "reading it would execute code" if isinstance(error, pickle.UnpicklingError) else str(error)
        raise WeightsError(f"{path}: is not the state of a run, or is damaged ({why}); start again without --resume, in another folder") from error
    changed = sorted(key for key, value in identity(run).items() if settings.get(key) != value)
    if changed:
        raise SettingsError(f"{path.parent}: its run had other settings for {', '.join(changed)}; resume with the same ones, or start in another folder")
    if seen != fingerprint:
        raise SettingsError(f"{path.parent}: its run saw other training data than there is now; resume with the same, or start in another folder")
    _put_back(state, content)


def _put_back(state: State, content: dict[str, Any]) -> None:
    state.network.load_state_dict(content["network"])
    for key, value in content["averaged"].items():
        state.averaged[key].copy_(value)
    state.optimizer.load_state_dict(content["optimizer"])
    state.scaler.load_state_dict(content["scaler"])
    torch.set_rng_state(content["random"])
    for name, value in content["numbers"].items():
        setattr(state, name, value)
    state.history = [Row(**row) for row in content["history"]]
    state.loaded = content.get("loaded", [])  # an older segkit did not note it


def identity(run: RunConfig) -> dict[str, Any]:
    """The settings that make a run what it is, flat: ``{"train.batch_size": 8, ...}``."""
    return {key: value for key, value in _flat(run, FREE).items() if not key.startswith("predict.")}


def recipe(run: RunConfig, folder: Path) -> dict[str, Any]:
    """The settings that decide what a whole run comes to, flat as those of `identity`; paths of weights, which were relative to `folder`, are whole."""
    settings = _flat(run, WHERE)
    for name, weights in (("start_from", run.train.start_from), ("pretrained", run.train.pretrained)):
        if weights is not None and is_path(weights):
            settings[f"train.{name}"] = os.path.normpath(folder / weights)
    return settings


def _flat(run: RunConfig, without: Collection[str]) -> dict[str, Any]:
    """But for the words about it, where its data lie, and some settings of `train`."""
    rooms = run.model_dump(mode="json", exclude={"description": True, "data": {"manifest", "images", "masks"}, "train": set(without)})
    return {f"{room}.{key}": value for room, settings in rooms.items() for key, value in settings.items()}
