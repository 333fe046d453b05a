"""A model as one ONNX file that other programs run, with its card inside, and a script beside it that needs nothing of segkit.

What the card says is written in docs/export.md. No file is left that does not agree with the network that it was made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit import __version__
from segkit.checkpoint import ModelFile, fit_weights, load_model
from segkit.config import RunConfig
from segkit.engines.extras import EXTRAS, installed
from segkit.engines.graph import PICTURE, AnySize, export_graph, with_card
from segkit.engines.onnxruntime_engine import open_graph
from segkit.engines.torch_engine import looks_along_slices
from segkit.errors import MissingExtraError, SettingsError
from segkit.image import Image
from segkit.io import find_sources, read_image, read_series, write_bytes, write_text
from segkit.labels import Labels
from segkit.models.ensemble import build_members
from segkit.patches import cut, plan_windows
from segkit.postprocess import PostprocessSettings
from segkit.preprocess import PreprocessSettings, prepare
from segkit.preprocess.geometry import LongSide, Spacing
from segkit.preprocess.intensity import SAMPLE, SLACK, FixedRange, ZScore
from segkit.preprocess.intensity import Window as Level
from segkit.score import known_flips

FORMAT = 1
"""Of the card in the graph."""

SCRIPT = Path(__file__).parent / "engines" / "standalone.py"

SCRIPT_READS = {1: "PNG, JPEG, BMP and TIFF in grey of 8 or 16 bits", 3: "PNG, JPEG, BMP and TIFF in RGB of 8 bits"}
"""Channels of a picture -> what the script reads, in words."""

DRAWN_SIZES = ((33, 47), (5, 63), (96, 128), (131, 98))
"""(H, W) of the pictures that are always drawn for the check: odd, lower than any network's stride, and multiples of it."""

LARGEST_CHECK = 16
"""Pictures of a folder that are looked at, evenly spread; of a volume its middle slice."""

LARGEST_DIFFERENCE = 1e-3
"""Between logits of the graph and of torch, as a share of the largest logit: what is beyond is no rounding."""

LEAST_AGREEMENT = 0.999
"""Share of pixels with the same class. Where two classes are within a rounding of each other, either may be chosen."""


@dataclass(frozen=True)
class Agreement:
    """How well a graph and torch agree.

    windows : that were compared, a picture that is not large is one; each in a batch with its mirror image
    difference : the largest between two logits
    largest : logit, without its sign
    same : share of pixels with the same class
    """

    windows: int
    difference: float
    largest: float
    same: float

    @property
    def is_good(self) -> bool:
        return self.difference <= LARGEST_DIFFERENCE * self.largest and self.same >= LEAST_AGREEMENT


@dataclass(frozen=True)
class Exported:
    """What was written: the graph, perhaps its script and what that reads, and how well the graph agrees with torch on drawn and on given pictures."""

    path: Path
    script: Path | None
    script_reads: str | None
    drawn: Agreement
    given: Agreement | None


def export(model: str | Path, out: Path, *, check: Path | None = None, script: bool = True, postprocess: bool = True) -> Exported:
    """Write a model as ``out`` and ``out``'s stem + "_predict.py"; nothing is written unless all agrees.

    Parameters
    ----------
    model : as for `segkit.predict.load`
    check : a picture or a folder of them on which graph and torch are compared too; drawn pictures of odd sizes always are
    script : whether a script is wanted that predicts by the graph alone
    postprocess : False leaves the model's rules for the shape of objects out

    Raises
    ------
    MissingExtraError
        onnx or onnxruntime is not installed.
    SettingsError
        The name does not end in .onnx, the network can't be written as a graph, its graph does not agree with it, or the script can't do
        what the model asks for.
    VanishedError, WeightsError, ReadError, ChannelsError, RangeError
        The model, or a picture of `check`, can't be used.
    WriteError
        A file can't be written.
    """
    if not installed("onnx"):
        raise MissingExtraError(f'segkit export needs {" and ".join(EXTRAS["onnx"])}: pip install "segkit[onnx]"')
    if out.suffix != ".onnx" or out.is_dir():
        raise SettingsError(f"{out}: a graph is one file, whose name ends in .onnx")
    file = load_model(model)
    run = file.run if postprocess else _without_rules(file.run)
    network = build_members(run.model, file.card.members).eval()
    fit_weights(network, file.weights, str(model))
    if looks_along_slices(network):
        raise SettingsError(f"{model}: looks along the slices of a volume, which a graph of single pictures can't; predict with segkit itself")
    if script:
        _require_simple(run, str(model))
    graph = with_card(export_graph(AnySize(network)), card_of(file, run))
    drawn = _require_agreement(graph, network, run, _drawn(run.preprocess), "drawn pictures")
    given = None if check is None else _require_agreement(graph, network, run, _pictures(check, run), str(check))
    write_bytes(out, graph)
    beside = out.with_name(f"{out.stem}_predict.py") if script else None
    if beside is not None:
        write_text(beside, SCRIPT.read_text(encoding="utf-8"))
    return Exported(out, beside, SCRIPT_READS[run.preprocess.channels] if script else None, drawn, given)


def card_of(file: ModelFile, run: RunConfig) -> dict[str, Any]:
    """All that a program needs to know to use the graph as segkit would: docs/export.md says what each entry means."""
    labels, preprocess, resize = run.data.make_labels(), run.preprocess, run.preprocess.resize
    rules = run.predict.postprocess
    return {
        "format": FORMAT,
        "input": PICTURE,
        "classes": [{"name": name, "value": value} for name, value in zip(labels.names, _values(labels), strict=True)],
        "channels": preprocess.channels,
        "slices_on_either_side": preprocess.context,
        "intensity": _intensity(preprocess),
        "long_side": resize.pixels if isinstance(resize, LongSide) else None,
        "pixel_mm": resize.mm if isinstance(resize, Spacing) else None,
        "tiles": run.predict.tiles.model_dump(mode="json"),
        "mirror_images": [list(axes) for axes in (known_flips(run.augment) if run.predict.tta else ((),))],
        "temperature": run.predict.temperature,
        "postprocess": {name: rules.rules_of(name).model_dump(mode="json", exclude={"classes"}) for name in labels.foreground},
        "members": file.card.members,
        "trained_on": file.card.trained_on,
        "scores": file.card.scores,
        "licence": file.card.licence,
        "segkit": __version__,
    }


def _values(labels: Labels) -> list[Any]:
    """In the masks; a colour is [red, green, blue]."""
    return [[value >> 16, value >> 8 & 0xFF, value & 0xFF] for value in labels.values] if labels.colour else list(labels.values)


def _intensity(settings: PreprocessSettings) -> dict[str, Any]:
    """The rule in numbers: a range that becomes -1 to 1, or what is measured on each picture."""
    rule = settings.intensity
    if isinstance(rule, ZScore):
        return {"kind": "zscore", "percentiles": list(rule.percentiles), "limit": rule.model_range[1], "sample": SAMPLE}
    if isinstance(rule, Level):
        return {"kind": "range", "centre": rule.level, "half": rule.width / 2, "accepts": None}
    slack = SLACK * (rule.high - rule.low)
    return {"kind": "range", "centre": (rule.low + rule.high) / 2, "half": (rule.high - rule.low) / 2, "accepts": [rule.low - slack, rule.high + slack]}


def _without_rules(run: RunConfig) -> RunConfig:
    return run.model_copy(update={"predict": run.predict.model_copy(update={"postprocess": PostprocessSettings()})})


def _require_simple(run: RunConfig, name: str) -> None:
    """SettingsError where the script would give other masks than segkit."""
    preprocess, predict = run.preprocess, run.predict
    reasons = {
        f"takes pictures of {preprocess.channels} channels": preprocess.channels not in SCRIPT_READS,
        "sees the slices on either side": preprocess.context > 0,
        "works at a fixed size of pixels in mm, which the script does not know": isinstance(preprocess.resize, Spacing),
        "passes over flat windows (predict.tiles.skip_flat)": predict.tiles.skip_flat > 0,
        "has rules for the shape of objects (predict.postprocess; --no-postprocess leaves them out)": predict.postprocess != PostprocessSettings(),
    }
    found = [reason for reason, is_so in reasons.items() if is_so]
    if found:
        raise SettingsError(f"{name}: {'; '.join(found)}: the script beside the graph can't do that; with --no-script the graph is written alone")


# Whether the graph and torch say the same.


def _require_agreement(graph: bytes, network: nn.Module, run: RunConfig, pictures: Iterable[Image], what: str) -> Agreement:
    """SettingsError where they don't."""
    found = compare(graph, network, (batch for image in pictures for batch in _batches(image, run)))
    if not found.is_good:
        raise SettingsError(
            f"the graph does not agree with torch on {what}: logits of up to {found.largest:.3g} differ by up to {found.difference:.2g}, "
            f"{found.same:.3%} of the pixels have the same class; nothing was written, predict with the engine torch"
        )
    return found


@torch.inference_mode()
def compare(graph: bytes, network: nn.Module, batches: Iterable[Tensor]) -> Agreement:
    """Both on (N, C, h, w) batches, in float32; nothing agrees where there is no batch."""
    run = open_graph(graph)
    count, pixels, same, difference, largest = 0, 0, 0, 0.0, 0.0
    for batch in batches:
        right, found = network(batch), torch.from_numpy(run(batch.numpy()))
        difference = max(difference, float((found - right).abs().max()))
        largest = max(largest, float(right.abs().max()))
        same += int((found.argmax(dim=1) == right.argmax(dim=1)).sum())
        pixels += right[:, 0].numel()
        count += 1
    return Agreement(count, difference, largest, same / pixels if pixels else 0.0)


def _batches(image: Image, run: RunConfig) -> Iterator[Tensor]:
    """(2, C, h, w): each window of the prepared picture, of a volume its middle slice, and its mirror image."""
    preparation = prepare(image, run.preprocess)
    middle = len(image.slices) // 2
    picture = list(preparation.walk(image.slices))[middle]
    for window in plan_windows(preparation.target, run.predict.tiles):
        patch = cut(picture, [window])
        yield torch.cat([patch, patch.flip(-1)])


def _drawn(settings: PreprocessSettings) -> Iterator[Image]:
    """Noise of the range and the channels that the model takes."""
    rule, rng = settings.intensity, np.random.default_rng(0)
    low, high = (rule.low, rule.high) if isinstance(rule, FixedRange) else (0.0, 255.0)
    if isinstance(rule, Level):
        low, high = rule.level - rule.width / 2, rule.level + rule.width / 2
    mm = settings.resize.mm if isinstance(settings.resize, Spacing) else 1.0
    for size in DRAWN_SIZES:
        noise = rng.uniform(low, high, (settings.channels, *size))
        yield Image(noise.astype(np.float32), (mm, mm))


def _pictures(place: Path, run: RunConfig) -> Iterator[Image]:
    """The picture, or those of a folder and below."""
    found = find_sources(place, recursive=True)
    sources = found.sources
    if not sources:
        raise found.failures[0][1]
    for number in np.unique(np.linspace(0, len(sources) - 1, min(len(sources), LARGEST_CHECK)).round().astype(int)):
        files = sources[number].files
        yield read_image(files[0], run.data.read) if len(files) == 1 else read_series(files, run.data.read)
