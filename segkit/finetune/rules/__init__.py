"""Settings from measurements, by stated rules: each is a pure function, and each setting says why it is so.

The rules are those of docs/finetune.md; what was measured for them stands in docs/decisions/0005-recipes.md. They were found on thin vessels, thin
membranes, nerves that fill a fifth of a picture and small volumes, and read nothing but the size, thickness, number and place of what is drawn.
"""

from __future__ import annotations

from segkit.config import RunConfig
from segkit.finetune.recipe import Setting
from segkit.finetune.rules.augmentation import choose_deformations, choose_flips, count_rounds
from segkit.finetune.rules.input import choose_channels, choose_context, choose_intensity
from segkit.finetune.rules.loss import choose_foreground_share, choose_loss
from segkit.finetune.rules.network import choose_family, choose_network, keep_network
from segkit.finetune.rules.scale import choose_batch, choose_growth, choose_patch, choose_progressive, choose_scale, fit_memory, keep_scale
from segkit.finetune.rules.schedule import choose_rate, choose_time, choose_tta, validation_seconds
from segkit.finetune.rules.subject import Stopwatch, Subject, as_tree

__all__ = ["Stopwatch", "Subject", "derive"]


def derive(subject: Subject, minutes: float, machine: Stopwatch, *, start: RunConfig | None = None) -> list[Setting]:
    """The settings of the rooms preprocess, model, augment, loss, train and predict; `start` are those of a model to begin with.

    Networks are timed on the machine as they are needed.
    """
    channels = choose_channels(subject)
    intensity = choose_intensity(subject, start)
    context = choose_context(subject, start)
    data = as_tree([*channels, intensity, *context], subject)
    growth = choose_growth(minutes, machine, data)
    scale = keep_scale(subject, start) if start is not None else choose_scale(subject, growth)
    patch = choose_patch(scale, growth)
    batch = choose_batch(patch, growth)
    drawn = as_tree([*channels, intensity, *context, scale.resize, patch, batch], subject)
    family = choose_family(subject, scale, patch)
    network, seconds = keep_network(start, machine, drawn) if start is not None else choose_network(family, minutes, machine, drawn)
    batch = fit_memory(batch, machine, as_tree([*network], subject, drawn))
    flips = choose_flips(subject)
    tta = choose_tta(scale, patch, flips)
    return [
        *channels,
        intensity,
        *context,
        scale.resize,
        *network,
        *flips,
        *choose_deformations(subject, scale, patch, flips, count_rounds(subject, batch, minutes, seconds)),
        *choose_loss(subject, scale, patch),
        patch,
        *(choose_progressive(scale, patch) if start is None else []),
        batch,
        choose_foreground_share(subject, scale, patch),
        *choose_rate(network, start),
        *choose_time(minutes, validation_seconds(subject, scale, patch, batch, seconds, tta)),
        tta,
    ]
