"""How large: how much work the time allows, the resolution, the patches, how many of them in a step, and whether they fit into memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segkit.check.measurements import ClassMeasurements
from segkit.config import RunConfig
from segkit.finetune.recipe import Setting
from segkit.finetune.rules.subject import Stopwatch, Subject, with_batch

OBJECT_PX = 20
"""Pixels that the typical object of the smallest class spans in pictures that are made small, in the usual ten minutes."""

THIN_PX = 5
"""Pixels that thin structures keep of their thickness."""

WORTH_SHRINKING = 0.5
"""Pictures are made small only where less than this is left of their sides: else the pixels that are lost are worth more than the steps that are won."""

SMALLEST_SIDE = 96
"""Of a picture that is made small. Networks with a deep encoder, which leaves a 32nd of the sides, are for pictures of this size on."""

SPACINGS = 1.5
"""Pictures are brought to one spacing where the widest is more than so many times the finest; scaling in the augmentation covers less."""

PATCH = 128
"""Side of a patch, in the usual ten minutes."""

STEP_PX = 4 * PATCH**2
"""Pixels of all patches of a step, likewise. Twice as many, in half as many steps, learn less in the same time."""

SMALLEST_BATCH, LARGEST_BATCH = 4, 32

USUAL_RATE = 5e5
"""Pixels a second that the reference network, `reference`, learns from on two cores without AMX."""

USUAL_MINUTES = 10

REFERENCE_BATCH = 8

PROGRESSIVE = 0.75
"""Share of the sides that pictures which are seen whole are made small to in the first half of the time."""

MEMORY_SHARE = 0.5
"""Of the free memory, for a training step; the pictures lie there too."""


@dataclass(frozen=True)
class Scale:
    """How much of a picture's sides is left, and how large pictures then are (the median and the largest); `is_shrunk` also where pixels become one size."""

    factor: float
    median: tuple[float, float]
    largest: tuple[float, float]
    resize: Setting

    @property
    def is_shrunk(self) -> bool:
        return self.factor < 1


def choose_growth(minutes: float, machine: Stopwatch, data: Mapping[str, Any]) -> float:
    """1 for the usual ten minutes on two cores; 2, 4 with eight and sixty-four times as much work in the time, and one half with an eighth.

    Of eight times the work four go into pixels and two into steps.
    """
    rate = REFERENCE_BATCH * PATCH**2 / machine.seconds_per_step({**data, **reference()})
    work = minutes * rate / (USUAL_MINUTES * USUAL_RATE)
    power = math.log(work, 8)
    return float(2 ** max(-1, min(2, int(math.copysign(math.floor(abs(power) + 0.2), power)))))


def reference() -> dict[str, Any]:
    """What `USUAL_RATE` was measured with."""
    return {"model": {"name": "unet", "feature_scale": 4, "upsampling": "deconv"}, "train": {"patch": [PATCH, PATCH], "batch_size": REFERENCE_BATCH}}


def choose_scale(subject: Subject, growth: float) -> Scale:
    """Thin structures keep the pictures' own pixels, large objects are seen whole in small pictures."""
    wanted = [(_needed(one, growth), one) for one in subject.objects]
    factor, finest = max(wanted, key=lambda pair: pair[0], default=(1.0, None))
    if finest is None or factor >= WORTH_SHRINKING:
        return _native(subject, finest)
    return _shrunk(subject, factor, finest)


def _needed(one: ClassMeasurements, growth: float) -> float:
    """What must be left of a picture's sides for a class."""
    thickness = THIN_PX / (4 * one.inner_median_px if one.is_thin else 2 * one.inner_max_px)      # of a strip, half its pixels are nearer to its edge
    return thickness if one.is_thin else max(thickness, growth * OBJECT_PX / one.diameter_px_median)


def _native(subject: Subject, finest: ClassMeasurements | None) -> Scale:
    spacing = _to_one_spacing(subject, 1.0)
    if spacing is not None:
        return spacing
    what = "nothing was measured of the classes" if finest is None else _told_of(finest)
    height, width = subject.measurements.height, subject.measurements.width
    resize = Setting("preprocess.resize", {"kind": "native"}, f"{what}: the pictures keep their own pixels")
    return Scale(1.0, (height.median, width.median), (height.highest, width.highest), resize)


def _shrunk(subject: Subject, factor: float, finest: ClassMeasurements) -> Scale:
    if subject.is_volumes and (spacing := _to_one_spacing(subject, factor)) is not None:
        return spacing
    height, width = subject.measurements.height, subject.measurements.width
    long_side = max(height.median, width.median)
    pixels = max(SMALLEST_SIDE, 32 * round(factor * long_side / 32))
    left = pixels / long_side
    if left >= WORTH_SHRINKING:
        return _native(subject, finest)
    reason = f"{_told_of(finest)}, of which {left:.0%} are enough: a patch then sees more of what is around, and more of them go into the time"
    bounds = (min(1.0, height.highest / width.lowest) * pixels, min(1.0, width.highest / height.lowest) * pixels)
    return Scale(left, (height.median * left, width.median * left), bounds, Setting("preprocess.resize", {"kind": "long_side", "pixels": pixels}, reason))


def _told_of(one: ClassMeasurements) -> str:
    return f"{one.name} is thin, about {4 * one.inner_median_px:.0f} px" if one.is_thin else f"{one.name} spans about {one.diameter_px_median:.0f} px"


def _to_one_spacing(subject: Subject, factor: float) -> Scale | None:
    """Where every file says its spacing, and pictures are to be made small, or the spacings differ much."""
    measurements = subject.measurements
    if measurements.spacing_mm is None or measurements.without_spacing:
        return None
    rows, columns = measurements.spacing_mm[-2:]
    finest, widest = min(rows.lowest, columns.lowest), max(rows.highest, columns.highest)
    if factor == 1.0 and widest <= SPACINGS * finest:
        return None
    mm = float(f"{math.sqrt(rows.median * columns.median) / factor:.3g}")
    height, width = measurements.height, measurements.width
    sizes = [(high * rows.median / mm, wide * columns.median / mm) for high, wide in ((height.median, width.median), (height.highest, width.highest))]
    spread = f"{finest:.3g}" if widest == finest else f"{finest:.3g} to {widest:.3g}"
    resize = Setting("preprocess.resize", {"kind": "spacing", "mm": mm}, f"pixels of {spread} mm become one size, in which objects look alike")
    return Scale(factor, sizes[0], sizes[1], resize)


def keep_scale(subject: Subject, start: RunConfig) -> Scale:
    """As the model to begin with has it: its weights know objects at that size."""
    kept = start.preprocess.resize
    reason = "as the model to begin with has it, whose weights know objects at that size"
    resize = Setting("preprocess.resize", kept.model_dump(mode="json"), reason)
    height, width, spacing = subject.measurements.height, subject.measurements.width, subject.measurements.spacing_mm
    factor = 1.0
    if kept.kind == "long_side":
        factor = kept.pixels / max(height.median, width.median)
    elif kept.kind == "spacing" and spacing is not None:
        factor = spacing[-1].median / kept.mm
    bound = float(kept.pixels) if kept.kind == "long_side" else math.inf
    largest = (min(bound, height.highest * factor), min(bound, width.highest * factor))
    return Scale(factor, (height.median * factor, width.median * factor), largest, resize)


def choose_patch(scale: Scale, growth: float) -> Setting:
    """The whole picture where it is about as large as a patch would be, else a part of it."""
    usual = round(PATCH * growth)
    sides = [16 * math.ceil(side / 16) for side in scale.largest]
    if max(sides) <= 1.5 * usual:
        return Setting("train.patch", [max(16, side) for side in sides], "as large as the pictures are then, to the next multiple of 16")
    reason = f"pictures of about {scale.median[0]:.0f}x{scale.median[1]:.0f} are learnt from in parts: many different places in each step"
    return Setting("train.patch", [min(side, usual) for side in sides], reason)


def is_whole(scale: Scale, patch: Setting) -> bool:
    """Whether a patch holds a whole picture."""
    return all(side <= held for side, held in zip(scale.largest, patch.value, strict=True))


def choose_progressive(scale: Scale, patch: Setting) -> list[Setting]:
    """Pictures that are seen whole at a smaller size first, where that is not tiny."""
    if not is_whole(scale, patch) or round(PROGRESSIVE * max(scale.median)) < SMALLEST_SIDE:
        return []
    return [Setting("train.progressive", PROGRESSIVE, "half of the time on smaller pictures: more of them are seen, and what is coarse is learnt first")]


def choose_batch(patch: Setting, growth: float) -> Setting:
    """As many patches as make the usual pixels of a step."""
    rows, columns = patch.value
    fitting = 2 ** round(math.log2(STEP_PX * growth**2 / (rows * columns)))
    size = max(SMALLEST_BATCH, min(LARGEST_BATCH, fitting))
    return Setting("train.batch_size", size, f"{size * rows * columns:,} pixels a step")


def fit_memory(batch: Setting, machine: Stopwatch, tree: Mapping[str, Any]) -> Setting:
    """Halved until a step takes no more than half of the memory that is free."""
    size = batch.value
    room = MEMORY_SHARE * machine.memory_bytes
    while size > 2 and machine.bytes_per_step(with_batch(tree, size)) > room:
        size //= 2
    if size == batch.value:
        return batch
    return Setting(batch.key, size, f"{batch.value} would take more than half of the {machine.memory_bytes / 2**30:.1f} GiB that are free")
