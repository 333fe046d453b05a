"""How fast, how long: the learning rate, validations, mirror images at prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from segkit.config import RunConfig
from segkit.finetune.recipe import Setting
from segkit.finetune.rules.scale import Scale, is_whole
from segkit.finetune.rules.subject import Subject

VALIDATION_TIME = 0.08
"""Share of the minutes for validation."""

RATE = 2e-3
"""Learning rate of a fresh network."""

FORWARD = 0.35
"""Share of a training step's time that looking without learning takes."""


def choose_rate(network: Sequence[Setting], start: RunConfig | None) -> list[Setting]:
    """Fresh networks take large steps, a ResNet with its many weights held back; weights that know something already smaller ones."""
    values = {setting.key: setting.value for setting in network}
    is_plain = values.get("model.encoder", "plain") == "plain"
    if start is None:
        rate = Setting("train.learning_rate", RATE, "it rises for a moment, then falls to 0 by the cosine exactly when the time ends")
        return [rate] if is_plain else [rate, Setting("train.weight_decay", 0.1, "a ResNet has more weights than a few hundred pictures can fill")]
    return [
        Setting("train.learning_rate", RATE / (2 if is_plain else 4), "less than what a fresh network gets: the weights know something already"),
        Setting("train.encoder_rate", 0.3, "the encoder, which knows most of it, moves least"),
    ]


def choose_time(minutes: float, validation_seconds: float) -> list[Setting]:
    """As many validations as take little of the time."""
    count = max(2, min(8, round(VALIDATION_TIME * 60 * minutes / max(validation_seconds, 1e-3))))
    return [
        Setting("train.minutes", minutes, "the time that was given"),
        Setting("train.validations", count, f"each takes about {max(1, math.ceil(validation_seconds))} s; the best weights are kept"),
    ]


def validation_seconds(subject: Subject, scale: Scale, patch: Setting, batch: Setting, seconds: float, tta: Setting) -> float:
    measurements = subject.measurements
    slices = subject.validation * measurements.slices / measurements.cases
    share = scale.median[0] * scale.median[1] / (batch.value * patch.value[0] * patch.value[1])
    return float(slices * share * seconds * FORWARD * (2 if tta.value else 1))


def choose_tta(scale: Scale, patch: Setting, flips: Sequence[Setting]) -> Setting:
    """Mirror images at prediction too, where they cost little."""
    if not any(flip.value for flip in flips):
        return Setting("predict.tta", False, "no mirror image is one of this set")
    if scale.is_shrunk and is_whole(scale, patch):
        return Setting("predict.tta", True, "mirror images are predicted too and averaged: at this size that costs little")
    return Setting("predict.tta", False, "each mirror image would cost as much again as the picture itself")
