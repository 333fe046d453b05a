"""All parts that a network can be made of, what each costs, and what their classes say of themselves: which weakness each answers, and its source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from segkit.models import COMBINATIONS, ENCODERS, MODELS, build_encoder, build_model
from segkit.models.attention import ATTENTIONS
from segkit.models.bottlenecks import BOTTLENECKS
from segkit.models.counting import count_multiply_adds, count_parameters
from segkit.models.gates import GATES
from segkit.models.guided import GlobalPyramidGuidance
from segkit.models.unet import GUIDED
from segkit.models.upsampling import UPSAMPLINGS

SHAPE = (1, 3, 256, 256)
"""Of the picture that the multiply-adds are of."""

WEAKNESSES = (
    "context from the deep stages is diluted on its way up to the shallow ones",
    "a plain skip fuses everything it carries, relevant or not",
    "no stage gathers context at several scales",
)
"""Of the U-Net; `answers` names them by their numbers, 1, 2 and 3."""


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder; `widths` and `strides` of its five maps, finest first."""

    name: str
    parameters: int
    multiply_adds: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    answers: str
    source: str


@dataclass(frozen=True)
class PartEntry:
    """A gate, a bottleneck or an upsampling, and how much more (or less) the default U-Net costs with it."""

    name: str
    extra_parameters: int
    extra_multiply_adds: int
    answers: str
    source: str


@dataclass(frozen=True)
class ModelEntry:
    """An architecture with its default parts, or a combination: `parts` are those that it names."""

    name: str
    parts: Mapping[str, str]
    parameters: int
    multiply_adds: int
    answers: str
    source: str


@dataclass(frozen=True)
class SettingEntry:
    """A value of a setting that is no part with a class of its own, as it is written in YAML."""

    name: str
    value: str
    answers: str
    source: str


SETTINGS = (
    SettingEntry("deep_supervision", "true", "1: coarser maps of the decoder are scored too, in training", "Lee 2015, https://arxiv.org/abs/1409.5185"),
    SettingEntry("stem", "deep", "three 3x3 convolutions in place of the 7x7, for ResNets", "He 2019, https://arxiv.org/abs/1812.01187"),
    SettingEntry("stem", "full", "thin structures: a first map of the picture's size, for ResNets", "He 2016, https://arxiv.org/abs/1512.03385"),
    SettingEntry("output_stride", "16", "3: the last stage looks twice as far and keeps its size, for ResNets", "Chen 2017, https://arxiv.org/abs/1706.05587"),
    SettingEntry("output_stride", "8", "3: the last two stages look twice and four times as far, for ResNets", "Chen 2017, https://arxiv.org/abs/1706.05587"),
    SettingEntry("norm", "group", "small batches: a picture is normalised by itself, for ResNets", "Wu 2018, https://arxiv.org/abs/1803.08494"),
    SettingEntry("norm", "instance", "small batches: each channel of a picture by itself, for ResNets", "Ulyanov 2016, https://arxiv.org/abs/1607.08022"),
)
"""Beside the parts; the default of each is "false", "default", "32" and "batch"."""


@dataclass(frozen=True)
class Catalogue:
    encoders: tuple[EncoderEntry, ...]
    skips: tuple[PartEntry, ...]
    bottlenecks: tuple[PartEntry, ...]
    upsamplings: tuple[PartEntry, ...]
    models: tuple[ModelEntry, ...]
    settings: tuple[SettingEntry, ...]


def take_stock(progress: Callable[[Sequence[str]], Iterable[str]] = iter) -> Catalogue:
    """Everything that is registered, also what was added to the dicts after segkit was imported.

    `progress` is wrapped around the names of the encoders, whose counting takes seconds, to draw a bar.
    """
    with torch.device("meta"):                                         # shapes without values: building and counting cost little
        return Catalogue(
            encoders=tuple(describe_encoder(name) for name in progress(tuple(ENCODERS))),
            skips=describe_parts("skip"),
            bottlenecks=describe_parts("bottleneck"),
            upsamplings=describe_parts("upsampling"),
            models=tuple(describe_model(name) for name in (*MODELS, *COMBINATIONS)),
            settings=SETTINGS,
        )


def describe_encoder(name: str) -> EncoderEntry:
    encoder = build_encoder(name)
    parts = [encoder, *(attention for prefix, attention in ATTENTIONS.items() if name.startswith(f"{prefix}_"))]
    return EncoderEntry(name, *_cost(encoder), encoder.widths, encoder.strides, *_words(parts))


def describe_parts(setting: str) -> tuple[PartEntry, ...]:
    """All that can be chosen for a setting of the U-Net."""
    parameters, work = _cost(build_model("unet"))
    entries = []
    for name, part in _choices(setting).items():
        parameters_with, work_with = _cost(build_model("unet", **{setting: name}))
        entries.append(PartEntry(name, parameters_with - parameters, work_with - work, *_words([part])))
    return tuple(entries)


def describe_model(name: str) -> ModelEntry:
    network = build_model(name)
    chosen = {setting: part for setting, part in COMBINATIONS.get(name, {}).items() if setting != "name"}
    parts = [network.encoder if setting == "encoder" else _choices(setting)[part] for setting, part in chosen.items()]
    return ModelEntry(name, chosen, *_cost(network), *_words(parts or [network]))


def _choices(setting: str) -> Mapping[str, type[nn.Module]]:
    return {"skip": {**GATES, GUIDED: GlobalPyramidGuidance}, "bottleneck": BOTTLENECKS, "upsampling": UPSAMPLINGS}[setting]


def _cost(network: nn.Module) -> tuple[int, int]:
    return count_parameters(network), count_multiply_adds(network, SHAPE)


def _words(parts: Sequence[object]) -> tuple[str, str]:
    """What these parts, or their classes, answer, and their sources; nothing where they don't say."""
    answers, sources = (dict.fromkeys(getattr(part, word, "") for part in parts) for word in ("answers", "source"))
    return "; ".join(sorted(filter(None, answers))), "; ".join(filter(None, sources))
