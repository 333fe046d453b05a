"""What goes in: channels, intensities, neighbouring slices."""

from __future__ import annotations

from segkit.config import RunConfig
from segkit.errors import counted
from segkit.finetune.recipe import Setting
from segkit.finetune.rules.subject import Subject

DARK = 64
"""8-bit pictures that nowhere reach it are not on the scale of 0 to 255."""

AIR = -500.0
"""Hounsfield units: what is below in most volumes of a set is CT."""

WIDENED = 0.25
"""Share of the foreground's range by which a window reaches beyond it on either side."""


def choose_channels(subject: Subject) -> list[Setting]:
    """Grey, colour, or as many as there are."""
    counts = subject.measurements.channels
    if subject.is_grey:
        stored = f", {counts[3]} of them saved in colour" if counts.get(3) else ""
        converted = [Setting("preprocess.convert_channels", True, "what is grey but saved in colour becomes grey")] if counts.get(3) else []
        return [Setting("preprocess.channels", 1, f"grey: {counted(sum(counts.values()), 'picture')}{stored}"), *converted]
    channels = max(counts)
    reason = f"{counted(channels, 'channel')} in {counts[channels]} of {counted(sum(counts.values()), 'picture')}"
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
