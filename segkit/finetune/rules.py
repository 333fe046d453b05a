"""Settings from measurements, by stated rules: each is a pure function, and each setting says why it is so.

The rules are those of docs/finetune.md; what was measured for them stands in docs/decisions/0005-recipes.md. They were found on thin vessels, thin
membranes, nerves that fill a fifth of a picture and small volumes, and read nothing but the size, thickness, number and place of what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from segkit.check import Measurements
from segkit.check.measurements import ClassMeasurements
from segkit.config import RunConfig
from segkit.finetune.orientation import FEWEST, Orientation
from segkit.finetune.recipe import Setting
from segkit.labels import Labels

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

STEP_PX = 8 * PATCH**2
"""Pixels of all patches of a step, likewise."""

SMALLEST_BATCH, LARGEST_BATCH = 4, 32

USUAL_RATE = 5e5
"""Pixels a second that the reference network, `reference`, learns from on two cores without AMX."""

USUAL_MINUTES = 10

ENOUGH_STEPS = 6000
"""A larger network than the smallest is taken only where it gets so many."""

MEMORY_SHARE = 0.5
"""Of the free memory, for a training step; the pictures lie there too."""

ONE_SIDED = 0.8
"""Standard deviations that something lies to one side, from where on a mirror image is not one of the set."""

RARE, VERY_RARE = 0.01, 0.001
"""Share of the pixels below which a class is drawn more often."""

DARK = 64
"""8-bit pictures that nowhere reach it are not on the scale of 0 to 255."""

HARDLY_COLOURED = 0.2
"""Deviations of the picture by which the channels of a pixel may differ on average in one that is taken for grey: ultrasound saved as colour JPEG had up to
0.12, fundus photographs 1.1 and more."""

AIR = -500.0
"""Hounsfield units: what is below in most volumes of a set is CT."""

WIDENED = 0.25
"""Share of the foreground's range by which a window reaches beyond it on either side."""

VALIDATION_TIME = 0.08
"""Share of the minutes for validation."""

FORWARD = 0.35
"""Share of a training step's time that looking without learning takes."""


@dataclass(frozen=True)
class Subject:
    """All that the rules read of the data.

    training, validation : cases on either side
    """

    name: str
    measurements: Measurements
    labels: Labels
    orientation: Orientation
    training: int
    validation: int

    @property
    def objects(self) -> list[ClassMeasurements]:
        """The foreground classes of which something was measured."""
        return [one for one in self.measurements.classes[1:] if one.objects > 0]

    @property
    def is_grey(self) -> bool:
        """Pictures of one channel, or of three that hardly differ: grey ones that were saved in colour, with a coloured mark here and there."""
        return self.measurements.channels.keys() <= {1, 3} and self.orientation.colour < HARDLY_COLOURED

    @property
    def is_volumes(self) -> bool:
        return 2 * self.measurements.volumes > self.measurements.cases


class Stopwatch(Protocol):
    """The machine; a test has one of its own."""

    @property
    def memory_bytes(self) -> int: ...
    def seconds_per_step(self, tree: Mapping[str, Any]) -> float: ...
    def bytes_per_step(self, tree: Mapping[str, Any]) -> int: ...


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


def derive(subject: Subject, minutes: float, machine: Stopwatch, *, start: RunConfig | None = None) -> list[Setting]:
    """The settings of the rooms preprocess, model, augment, loss, train and predict; `start` are those of a model to begin with.

    Networks are timed on the machine as they are needed.
    """
    channels = choose_channels(subject)
    intensity = choose_intensity(subject, start)
    context = choose_context(subject, start)
    data = _tree([*channels, intensity, *context], subject)
    growth = choose_growth(minutes, machine, data)
    scale = keep_scale(subject, start) if start is not None else choose_scale(subject, growth)
    patch = choose_patch(scale, growth)
    batch = choose_batch(patch, growth)
    drawn = _tree([*channels, intensity, *context, scale.resize, patch, batch], subject)
    family = choose_family(subject, scale, patch)
    network, seconds = keep_network(start, machine, drawn) if start is not None else choose_network(family, minutes, machine, drawn)
    batch = fit_memory(batch, machine, _tree([*network], subject, drawn))
    flips = choose_flips(subject)
    tta = choose_tta(scale, patch, flips)
    return [
        *channels,
        intensity,
        *context,
        scale.resize,
        *network,
        *flips,
        *choose_deformations(subject, scale, flips),
        *choose_loss(subject, scale, patch),
        patch,
        batch,
        choose_foreground_share(subject, scale, patch),
        *choose_rate(network, start),
        *choose_time(minutes, _validation_seconds(subject, scale, patch, batch, seconds, tta)),
        tta,
    ]


# What goes in.


def choose_channels(subject: Subject) -> list[Setting]:
    """Grey, colour, or as many as there are."""
    counts = subject.measurements.channels
    if subject.is_grey:
        stored = f", {counts[3]} of them saved in colour" if counts.get(3) else ""
        converted = [Setting("preprocess.convert_channels", True, "what is grey but saved in colour becomes grey")] if counts.get(3) else []
        return [Setting("preprocess.channels", 1, f"all {sum(counts.values())} pictures are grey{stored}"), *converted]
    channels = max(counts)
    reason = f"{counts[channels]} of {sum(counts.values())} pictures have {channels} channels"
    if counts.keys() == {1, 3}:
        return [Setting("preprocess.channels", 3, reason), Setting("preprocess.convert_channels", True, "the grey ones among them are repeated")]
    return [Setting("preprocess.channels", channels, reason)]


def choose_intensity(subject: Subject, start: RunConfig | None = None) -> Setting:
    """8-bit pictures by their range, CT by a window around what was drawn, all else by each picture's own mean and deviation."""
    measurements, intensity = subject.measurements, subject.measurements.intensity
    highest = max((one.p99_5.highest for one in intensity), default=255.0)
    lowest = max((one.p0_5.median for one in intensity), default=0.0)
    is_bytes = measurements.dtypes.keys() == {"uint8"} and highest >= DARK
    if start is not None and (start.preprocess.intensity.kind == "zscore" or (start.preprocess.intensity.kind == "fixed" and is_bytes)):
        kept = start.preprocess.intensity.model_dump(mode="json")
        return Setting("preprocess.intensity", kept, "as the model to begin with has it")
    if lowest <= AIR:
        low, high = subject.orientation.foreground or (-160.0, 240.0)
        reach = WIDENED * (high - low)
        window = {"kind": "window", "level": round((low + high) / 2), "width": max(1, round(high - low + 2 * reach))}
        return Setting("preprocess.intensity", window, f"CT (air below {AIR:g}): the drawn classes run from {low:.0f} to {high:.0f}, and a quarter beyond")
    if is_bytes and not subject.is_volumes:
        return Setting("preprocess.intensity", {"kind": "fixed", "low": 0, "high": 255}, "8-bit pictures: a number means the same in each")
    kinds = " and ".join(measurements.dtypes)
    what = "volumes without a common unit" if subject.is_volumes else f"{kinds} pictures, up to {highest:g}: no common scale is known"
    return Setting("preprocess.intensity", {"kind": "zscore", "percentiles": [0.5, 99.5]}, f"{what}; each by its own mean and deviation")


def choose_context(subject: Subject, start: RunConfig | None = None) -> list[Setting]:
    """Slices of volumes see their neighbours."""
    depth = subject.measurements.depth
    if not subject.is_volumes or depth is None or depth.median < 3:
        return []
    if start is not None:
        return [Setting("preprocess.context", start.preprocess.context, "as the model to begin with has it")]
    return [Setting("preprocess.context", 1, f"volumes of about {depth.median:g} slices: the slices before and after go in as further channels")]


# How large.


def choose_growth(minutes: float, machine: Stopwatch, data: Mapping[str, Any]) -> float:
    """1 for the usual ten minutes on two cores; 2, 4 with eight and sixty-four times as much work in the time, and one half with an eighth.

    Of eight times the work four go into pixels and two into steps.
    """
    rate = STEP_PX / machine.seconds_per_step({**data, **reference()})
    work = minutes * rate / (USUAL_MINUTES * USUAL_RATE)
    power = math.log(work, 8)
    return float(2 ** max(-1, min(2, int(math.copysign(math.floor(abs(power) + 0.2), power)))))


def reference() -> dict[str, Any]:
    """What `USUAL_RATE` was measured with."""
    return {"model": {"name": "unet", "feature_scale": 4, "upsampling": "deconv"}, "train": {"patch": [PATCH, PATCH], "batch_size": 8}}


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
    reason = f"{_told_of(finest)}, of which {left:.0%} are enough: small pictures are seen whole, and more of them in the time"
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
    while size > 2 and machine.bytes_per_step(_with_batch(tree, size)) > room:
        size //= 2
    if size == batch.value:
        return batch
    return Setting(batch.key, size, f"{batch.value} would take more than half of the {machine.memory_bytes / 2**30:.1f} GiB that are free")


# What learns.


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


# What may happen to a patch.


def choose_flips(subject: Subject) -> list[Setting]:
    """Mirror images where no side means anything."""
    settings = []
    for key, words, side in (
        ("horizontal_flip", "left and right", subject.orientation.left_right),
        ("vertical_flip", "top and bottom", subject.orientation.top_bottom),
    ):
        if subject.orientation.cases < FEWEST and key == "vertical_flip":
            settings.append(Setting(f"augment.{key}", 0.0, f"{subject.orientation.cases} cases are too few to say whether it means something"))
        elif side.effect > ONE_SIDED:
            settings.append(Setting(f"augment.{key}", 0.0, f"{words} mean something here: {side.what} lies to one side, by {side.effect:.1f} deviations"))
        else:
            settings.append(Setting(f"augment.{key}", 0.5, f"{words} are alike in these pictures"))
    return settings


def choose_deformations(subject: Subject, scale: Scale, flips: Sequence[Setting]) -> list[Setting]:
    """Turns, scaling and bending as far as the mirror images let expect."""
    either, both = any(flip.value for flip in flips), all(flip.value for flip in flips)
    turned = [Setting("augment.affine", 0.8), Setting("augment.rotation", 30 if either else 20, "up to so many degrees")]
    grown = [Setting("augment.scale", [0.75, 1.3], "objects are not always of one size"), Setting("augment.shift", 0.08)]
    soft = subject.is_volumes or (both and not scale.is_shrunk)
    bent = [Setting("augment.elastic", 0.3, "tissue bends"), Setting("augment.elastic_alpha", 30)] if soft else []
    return [*turned, *grown, *bent, Setting("augment.contrast_limit", 0.25)]


# What counts.


def choose_loss(subject: Subject, scale: Scale, patch: Setting) -> list[Setting]:
    """Dice of each picture where a patch is one, else of the whole step; the classes weigh alike unless one is hardly there."""
    settings = []
    if is_whole(scale, patch) and not subject.is_volumes:
        settings.append(Setting("loss.batch_dice", False, "each picture counts alike in the score, one with a small object too: so let it in the loss"))
    shares = {one.name: one.pixel_share for one in subject.objects}
    rarest = min(shares, key=shares.__getitem__, default=None)
    if rarest is not None and shares[rarest] < VERY_RARE:
        weights = [1.0, *(round(min(10.0, math.sqrt(RARE / max(shares.get(name, RARE), 1e-9))), 1) for name in subject.labels.foreground)]
        told = f"{rarest} has {shares[rarest]:.2g} of the pixels: by the root of its rarity, ten at most"
        settings.append(Setting("loss.class_weights", [max(1.0, weight) for weight in weights], told))
    return settings


def choose_foreground_share(subject: Subject, scale: Scale, patch: Setting) -> Setting:
    """Patches that are centred on what is drawn."""
    key = "train.foreground_share"
    rarest = min(subject.objects, key=lambda one: one.pixel_share, default=None)
    if is_whole(scale, patch) or rarest is None or rarest.pixel_share >= RARE:
        return Setting(key, 0.33, "a third of the patches is centred on a class, the classes in turn")
    share = 0.67 if rarest.pixel_share < VERY_RARE else 0.5
    return Setting(key, share, f"{rarest.name} has {rarest.pixel_share:.2%} of the pixels: most patches drawn anywhere would lack it")


# How fast, how long.


def choose_rate(network: Sequence[Setting], start: RunConfig | None) -> list[Setting]:
    """Small plain networks take larger steps; weights that know something already smaller ones."""
    values = {setting.key: setting.value for setting in network}
    rate, what = (1e-3, "usual with a ResNet") if values.get("model.encoder", "plain") != "plain" else (2e-3, "usual with a small plain network")
    if start is None:
        return [Setting("train.learning_rate", rate, f"{what}; it rises for a moment, then falls to 0 by the cosine exactly when the time ends")]
    return [
        Setting("train.learning_rate", rate / 2, "half of what a fresh network gets: the weights know something already"),
        Setting("train.encoder_rate", 0.3, "the encoder, which knows most of it, moves least"),
    ]


def choose_time(minutes: float, validation_seconds: float) -> list[Setting]:
    """As many validations as take little of the time."""
    count = max(2, min(8, round(VALIDATION_TIME * 60 * minutes / max(validation_seconds, 1e-3))))
    return [
        Setting("train.minutes", minutes, "the time that was given"),
        Setting("train.validations", count, f"each takes about {max(1, math.ceil(validation_seconds))} s; the best weights are kept"),
    ]


def _validation_seconds(subject: Subject, scale: Scale, patch: Setting, batch: Setting, seconds: float, tta: Setting) -> float:
    measurements = subject.measurements
    slices = subject.validation * measurements.slices / measurements.cases
    share = scale.median[0] * scale.median[1] / (batch.value * patch.value[0] * patch.value[1])
    return float(slices * share * seconds * FORWARD * (2 if tta.value else 1))


def choose_tta(scale: Scale, patch: Setting, flips: Sequence[Setting]) -> Setting:
    """Mirror images at prediction too, where they cost little."""
    if scale.is_shrunk and is_whole(scale, patch) and any(flip.value for flip in flips):
        return Setting("predict.tta", True, "mirror images are predicted too and averaged: at this size that costs little")
    return Setting("predict.tta", False, "each mirror image would cost as much again as the picture itself")


# Trees of settings, for the machine to time.


def _tree(settings: Sequence[Setting], subject: Subject, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    tree: dict[str, Any] = {"data": {"labels": subject.labels.mapping}, **{room: dict(values) for room, values in (base or {}).items()}}
    for setting in settings:
        room, _, key = setting.key.partition(".")
        tree.setdefault(room, {})[key] = setting.value
    return tree


def _with_batch(tree: Mapping[str, Any], size: int) -> dict[str, Any]:
    return {**tree, "train": {**tree.get("train", {}), "batch_size": size}}
