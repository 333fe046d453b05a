"""The walk: read, prepare, cut, score, stitch, undo, decide, tidy. Writing is `folder`'s.

`attend` walks the same way with what a network pays attention to in place of what it scores.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segkit.augment import AugmentSettings
from segkit.checkpoint import Card, fit_weights, load_model
from segkit.config import PredictSettings, RunConfig
from segkit.engines import TorchEngine
from segkit.errors import SettingsError, ShapeError
from segkit.image import Image, image_from_array
from segkit.io import read_image
from segkit.io.pixels import finite
from segkit.labels import Labels, Mask
from segkit.models import ModelSettings, build_model
from segkit.patches import Stitcher, TileSettings, Window, cut, plan_windows
from segkit.postprocess import tidy
from segkit.preprocess import prepare

BATCH_PIXELS = 1024 * 1024
"""Slices and tiles go through the network together up to so many pixels: enough to keep it busy, little enough to stay in memory."""

Flips: TypeAlias = Sequence[tuple[int, ...]]
"""Axes to flip, for each pass over a picture; ((),) is one pass over the picture as it is."""


class Scorer(Protocol):
    """A `TorchEngine`, or what stands in for it."""

    @property
    def along_slices(self) -> bool: ...

    def __call__(self, batch: Tensor) -> Tensor: ...

    def score_volume(self, batches: Callable[[], Iterable[Tensor]]) -> Iterator[Tensor]: ...


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What the walk gives for one picture or volume.

    Attributes
    ----------
    mask : classes on the picture's own grid
    confidence : mean over pixels of the chosen class's probability, 1 / K .. 1
    probabilities : (K, H, W) or (K, S, H, W) float16, only where asked for
    """

    mask: Mask
    confidence: float
    probabilities: NDArray[np.float16] | None = None


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """How much of what it saw a part of the network let through, at each place of a picture.

    Attributes
    ----------
    name : for files, in the order of the network: "encoder_layer2.3", "skip1_stride02"
    caption : for people: "skip 1 of 4, stride 2, attention"
    weights : (H, W) float32 on the picture's own grid, 0 nothing .. 1 all
    """

    name: str
    caption: str
    weights: NDArray[np.float32]


class Model:
    """A trained network with all that it needs: what `segkit.load` returns."""

    def __init__(self, run: RunConfig, engine: TorchEngine, card: Card | None = None, name: str = "this model") -> None:
        self.run = run
        self.engine = engine
        self.card = card or Card()
        self.name = name
        self.labels: Labels = run.data.make_labels()

    def with_settings(self, run: RunConfig) -> Model:
        """The same network under other settings of preparation and prediction."""
        return Model(run, self.engine, self.card, self.name)

    def predict(self, picture: NDArray[Any] | Image | str | Path, spacing_mm: tuple[float, ...] | None = None) -> Mask:
        """The mask of one picture or volume, on its own grid.

        Parameters
        ----------
        picture : a file or DICOM folder; (H, W), (H, W, 3) or (C, H, W) pixels in the file's range; or an `Image`
        spacing_mm : of an array, (row, column)

        Raises
        ------
        ReadError, ShapeError, ChannelsError, RangeError
            The picture can't be read, or is not one that the model takes.
        """
        if isinstance(picture, (str, Path)):
            image = read_image(picture, self.run.data.read)
        else:
            image = picture if isinstance(picture, Image) else image_from_array(picture, spacing_mm)
            image = replace(image, pixels=finite(image.pixels, image.name)[0])  # a file's reader has seen to that
        return segment(image, self).mask


def load(model: str | Path, *, device: str = "auto", precision: str = "auto") -> Model:
    """A model from a file, a folder of `segkit train`, or the name of a built-in one.

    Raises
    ------
    VanishedError, WeightsError
        No such model; not a model file, or a damaged one.
    DeviceError
        The machine lacks the device.
    """
    file = load_model(model)
    network = build_model(file.run.model)
    fit_weights(network, file.weights, str(model))
    return Model(file.run, TorchEngine(network, device, precision), file.card, str(model))


def segment(image: Image, model: Model, settings: PredictSettings | None = None, *, keep_probabilities: bool = False) -> Segmentation:
    """Walk one picture or volume, slice by slice, from its pixels to its mask."""
    settings = settings or model.run.predict
    preparation = prepare(image, model.run.preprocess)
    indices = np.empty((len(image.slices), *image.shape[-2:]), np.uint8)
    kept: list[NDArray[np.float16]] = []
    confidence = 0.0
    flips = known_flips(model.run.augment) if settings.tta else ((),)
    if model.engine.along_slices:
        scored = score_volume(lambda: preparation.walk(image.slices), preparation.target, model.engine, settings.tiles, flips)
    else:
        scored = score(preparation.walk(image.slices), preparation.target, model.engine, settings.tiles, flips)
    for plane, logits in enumerate(scored):
        probabilities = preparation.undo(logits).softmax(dim=0)                 # (K, H, W)
        best, chosen = probabilities.max(dim=0)
        indices[plane] = chosen.to(torch.uint8).numpy()
        confidence += float(best.mean()) / len(indices)
        if keep_probabilities:
            kept.append(probabilities.to(torch.float16).numpy())
    tidied = tidy(indices if image.is_volume else indices[0], settings.postprocess)
    stacked = (np.stack(kept, axis=1) if image.is_volume else kept[0]) if kept else None
    return Segmentation(Mask(tidied, model.labels, image.spacing_mm), confidence, stacked)


def attend(image: Image, model: Model, settings: PredictSettings | None = None, *, plane: int = 0) -> list[AttentionMap]:
    """The spatial attention of a picture, or of one slice of a volume: the encoder's blocks first, then the skips; of each the finest first.

    It is that of the picture as it is, also where `settings.tta` has its mirror images scored too.

    Raises
    ------
    SettingsError
        The network has none.
    ShapeError
        A volume has no such slice.
    """
    require_attention(model)
    if not 0 <= plane < len(image.slices):
        raise ShapeError(f"{image.name}: has {len(image.slices)} slices, the attention of slice {plane} (from 0) was asked for")
    preparation, eye = prepare(image, model.run.preprocess), Eye(model.engine)
    tiles = (settings or model.run.predict).tiles
    walk = partial(preparation.walk, image.slices)
    if eye.along_slices:  # what it looks at in one slice depends on all
        stacked = next(islice(score_volume(walk, preparation.target, eye, tiles), plane, None))
    else:
        stacked = next(score(islice(walk(), plane, plane + 1), preparation.target, eye, tiles))
    weights = preparation.undo(stacked).clamp(0, 1).numpy()                                  # (M, H, W)
    found = [AttentionMap(name, caption, one) for (name, caption), one in zip(_titles(eye.strides, model.run.model), weights, strict=True)]
    return sorted(found, key=lambda one: one.name)


class Eye:
    """Stands in for the engine: the weights of M places come where logits of M classes would, and are cut, stitched and undone like them.

    strides : path of each place -> pixels from one of its weights to the next; known when something was scored
    """

    def __init__(self, engine: TorchEngine) -> None:
        self.engine = engine
        self.along_slices = engine.along_slices
        self.strides: dict[str, int] = {}

    def __call__(self, batch: Tensor) -> Tensor:
        with self.engine.watch_attention() as seen:
            self.engine(batch)
        return self._over(seen, (batch.shape[-2], batch.shape[-1]))

    def score_volume(self, batches: Callable[[], Iterable[Tensor]]) -> Iterator[Tensor]:
        with self.engine.watch_attention() as seen:
            for logits in self.engine.score_volume(batches):
                yield self._over(seen, (logits.shape[-2], logits.shape[-1]))

    def _over(self, seen: Mapping[str, Tensor], shape: tuple[int, int]) -> Tensor:
        """path -> (N, 1, h', w') becomes (N, M, h, w) over a batch of that shape."""
        grown = self.engine.grown(shape)
        found = {path: seen[path] for path in self.engine.attention_paths if path in seen}
        self.strides = {path: grown[0] // weights.shape[-2] for path, weights in found.items()}
        whole = [F.interpolate(weights, grown, mode="bilinear", align_corners=False) for weights in found.values()]
        return torch.cat(whole, dim=1)[..., : shape[0], : shape[1]]


def require_attention(model: Model) -> None:
    """SettingsError where there is no spatial attention to draw."""
    if not model.engine.attention_paths:
        raise SettingsError(f"{model.name} has no spatial attention: train with model.skip=cbam, scse or attention, or with a cbam_ encoder")


def fullest_slice(indices: NDArray[np.uint8]) -> int:
    """Of (S, H, W) class indices the slice with the most foreground, the middle one where there is none; 0 of (H, W)."""
    if indices.ndim == 2:
        return 0
    foreground = (indices > 0).sum(axis=(1, 2))
    return int(foreground.argmax()) if foreground.any() else len(indices) // 2


def known_flips(augment: AugmentSettings) -> Flips:
    """The mirror images that training showed the network: any other would be strange to it, and make the mean worse."""
    left_right = ((), (-1,)) if augment.horizontal_flip > 0 else ((),)
    top_bottom = ((), (-2,)) if augment.vertical_flip > 0 else ((),)
    return [(*rows, *columns) for rows in top_bottom for columns in left_right]


def score(pictures: Iterator[Tensor], shape: tuple[int, int], engine: Scorer, tiles: TileSettings, flips: Flips = ((),)) -> Iterator[Tensor]:
    """(C, H, W) pictures of one shape -> their (K, H, W) logits, in order.

    Small pictures go through whole and several at a time, large ones window by window.
    """
    windows = plan_windows(shape, tiles)
    if len(windows) == 1:
        for batch in _batched(pictures, max(1, BATCH_PIXELS // (shape[0] * shape[1]))):
            yield from _flipped(torch.stack(batch), engine, flips)
        return
    together = max(1, BATCH_PIXELS // (windows[0].height * windows[0].width))
    for picture in pictures:
        stitcher = Stitcher(shape)
        for group in _batched(iter(windows), together):
            for window, logits in zip(group, _flipped(cut(picture, group), engine, flips), strict=True):
                stitcher.add(logits, window)
        yield stitcher.result()


def score_volume(
    walk: Callable[[], Iterator[Tensor]], shape: tuple[int, int], engine: Scorer, tiles: TileSettings, flips: Flips = ((),)
) -> Iterator[Tensor]:
    """All (C, H, W) slices of a volume -> their (K, H, W) logits, in order, by a network that looks along them.

    Each window is followed through the whole volume before the next.
    """
    windows = plan_windows(shape, tiles)
    scored = [_along(walk, window, engine, flips) for window in windows]
    if len(windows) == 1:
        yield from scored[0]
        return
    stitchers = [Stitcher(shape) for _ in walk()]
    for window, slices in zip(windows, scored, strict=True):
        for stitcher, logits in zip(stitchers, slices, strict=True):
            stitcher.add(logits, window)
    for stitcher in stitchers:
        yield stitcher.result()


def _along(walk: Callable[[], Iterator[Tensor]], window: Window, engine: Scorer, flips: Flips) -> Iterator[Tensor]:
    """One window of every slice, (K, h, w) each: the mean over the flips."""
    together = max(1, BATCH_PIXELS // (window.height * window.width))

    def batches(axes: tuple[int, ...]) -> Iterator[Tensor]:
        for batch in _batched(walk(), together):
            yield torch.cat([cut(picture, [window]) for picture in batch]).flip(axes)

    passes = [map(partial(torch.flip, dims=axes), engine.score_volume(partial(batches, axes))) for axes in flips]
    for group in zip(*passes, strict=True):
        yield from torch.stack(group).mean(dim=0)


def _flipped(batch: Tensor, engine: Scorer, flips: Flips) -> Tensor:
    """(N, C, h, w) -> (N, K, h, w), each flip undone, and their mean."""
    if len(flips) == 1:
        return engine(batch)
    return torch.stack([engine(batch.flip(axes)).flip(axes) for axes in flips]).mean(dim=0)


def _batched(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _titles(strides: Mapping[str, int], settings: ModelSettings) -> list[tuple[str, str]]:
    """Path of a module -> stride of its weights; each becomes a name for files, no two alike, and a caption for people."""
    blocks = Counter(_block(path) for path in strides)
    skips = [block for block in blocks if block.startswith("decoder.")][::-1]              # the decoder begins with the coarsest
    digits = max(len(number) for block in blocks for number in re.findall("[0-9]+", block) or [""])
    titles = []
    for path, stride in strides.items():
        block = _block(path)
        if block in skips:
            level = skips.index(block) + 1
            name, place, kind = f"skip{level}_stride{stride:02d}", f"skip {level} of {len(skips)}", getattr(settings, "skip", "attention")
        else:
            name, place, kind = _padded(block, digits).replace(".", "_", 1), block.replace(".", " ", 1), settings.encoder.partition("_")[0]
        rest = path.removeprefix(block).replace(".", "_") if blocks[block] > 1 else ""      # a block may have several
        titles.append((name + rest, f"{place}{rest.replace('_', ' ')}, stride {stride}, {kind}"))
    return titles


def _block(path: str) -> str:
    """"encoder.layer2.3.attention.spatial" -> "encoder.layer2.3": as far as the last number, the whole path where there is none."""
    return re.sub("(.*[.][0-9]+)[.].*", r"\1", path)


def _padded(block: str, digits: int) -> str:
    """"encoder.layer3.4" -> "encoder.layer3.04", so that names are sorted as the blocks are."""
    return re.sub("(?<=[.])[0-9]+", lambda number: number[0].zfill(digits), block)
