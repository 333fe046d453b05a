"""What learns: the largest network of a kind that gets enough steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segkit.config import RunConfig
from segkit.finetune.recipe import Setting
from segkit.finetune.rules.scale import SMALLEST_SIDE, Scale, is_whole
from segkit.finetune.rules.subject import Stopwatch, Subject

ENOUGH_STEPS = 12000
"""A larger network than the smallest is taken only where it gets so many."""

THIN_DECODER = [128, 64, 32, 32, 16]

RESNETS: tuple[dict[str, Any], ...] = tuple(
    {"name": "unet", "encoder": encoder, "decoder_widths": widths} for encoder, widths in (("resnet18", THIN_DECODER), ("resnet34", [256, 128, 64, 32, 16]))
)

PLAIN: tuple[dict[str, Any], ...] = tuple({"name": "unet", "feature_scale": scale, "upsampling": "deconv"} for scale in (4, 2, 1))


@dataclass(frozen=True)
class Family:
    """Networks of one kind, the smallest first, and what they are for."""

    models: tuple[dict[str, Any], ...]
    purpose: str


def choose_family(subject: Subject, scale: Scale, patch: Setting) -> Family:
    """Where whole pictures are seen, a deep encoder tells by the context what is what; thin structures, parts and tiny pictures need none."""
    context = is_whole(scale, patch) and max(scale.median) >= SMALLEST_SIDE and not any(one.is_thin for one in subject.objects)
    if context:
        return Family(RESNETS, "pictures are seen whole, and context decides what is what: a deep encoder, and a thin way up")
    return Family(PLAIN, "what is near decides: a plain U-Net")


def choose_network(family: Family, minutes: float, machine: Stopwatch, tree: Mapping[str, Any]) -> tuple[list[Setting], float]:
    """(settings, seconds a step): the largest network that gets enough steps in the time, the smallest where none does."""
    best: tuple[dict[str, Any], float] | None = None
    for model in family.models:
        seconds = machine.seconds_per_step({**tree, "model": model})
        steps = 60 * minutes / seconds
        if best is not None and steps < ENOUGH_STEPS:
            break
        best = (model, seconds)
        if steps < 2 * ENOUGH_STEPS:                                         # a larger one takes at least twice as long
            break
    assert best is not None
    model, seconds = best
    size = f"{1000 * seconds:.0f} ms a step on this machine: about {60 * minutes / seconds:,.0f} steps"
    first, *others = (Setting(f"model.{key}", value) for key, value in model.items())
    return [Setting(first.key, first.value, f"{family.purpose}; {size}"), *others], seconds


def keep_network(start: RunConfig, machine: Stopwatch, tree: Mapping[str, Any]) -> tuple[list[Setting], float]:
    """That of the model to begin with; what follows from the data, channels and classes, is left out."""
    fields = type(start.model).model_fields
    told = start.model.model_dump(mode="json", exclude={"in_channels", "num_classes"})
    model = {key: value for key, value in told.items() if key == "name" or value != fields[key].default}
    first, *others = (Setting(f"model.{key}", value) for key, value in model.items())
    seconds = machine.seconds_per_step({**tree, "model": model})
    return [Setting(first.key, first.value, "that of the model to begin with"), *others], seconds
