"""The walk: read, prepare, cut, score, stitch, undo, decide, tidy. Writing is `folder`'s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit.augment import AugmentSettings
from segkit.checkpoint import Card, fit_weights, load_model
from segkit.config import PredictSettings, RunConfig
from segkit.engines import TorchEngine
from segkit.image import Image, image_from_array
from segkit.io import read_image
from segkit.io.pixels import finite
from segkit.labels import Labels, Mask
from segkit.models import build_model
from segkit.patches import Stitcher, TileSettings, cut, plan_windows
from segkit.postprocess import tidy
from segkit.preprocess import prepare

BATCH_PIXELS = 1024 * 1024
"""Slices and tiles go through the network together up to so many pixels: enough to keep it busy, little enough to stay in memory."""

Flips: TypeAlias = Sequence[tuple[int, ...]]
"""Axes to flip, for each pass over a picture; ((),) is one pass over the picture as it is."""


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


class Model:
    """A trained network with all that it needs: what `segkit.load` returns."""

    def __init__(self, run: RunConfig, engine: TorchEngine, card: Card | None = None) -> None:
        self.run = run
        self.engine = engine
        self.card = card or Card()
        self.labels: Labels = run.data.make_labels()

    def with_settings(self, run: RunConfig) -> Model:
        """The same network under other settings of preparation and prediction."""
        return Model(run, self.engine, self.card)

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
    return Model(file.run, TorchEngine(network, device, precision), file.card)


def segment(image: Image, model: Model, settings: PredictSettings | None = None, *, keep_probabilities: bool = False) -> Segmentation:
    """Walk one picture or volume, slice by slice, from its pixels to its mask."""
    settings = settings or model.run.predict
    preparation = prepare(image, model.run.preprocess)
    indices = np.empty((len(image.slices), *image.shape[-2:]), np.uint8)
    kept: list[NDArray[np.float16]] = []
    confidence = 0.0
    flips = known_flips(model.run.augment) if settings.tta else ((),)
    for plane, logits in enumerate(score(preparation.walk(image.slices), preparation.target, model.engine, settings.tiles, flips)):
        probabilities = preparation.undo(logits).softmax(dim=0)                 # (K, H, W)
        best, chosen = probabilities.max(dim=0)
        indices[plane] = chosen.to(torch.uint8).numpy()
        confidence += float(best.mean()) / len(indices)
        if keep_probabilities:
            kept.append(probabilities.to(torch.float16).numpy())
    tidied = tidy(indices if image.is_volume else indices[0], settings.postprocess)
    stacked = (np.stack(kept, axis=1) if image.is_volume else kept[0]) if kept else None
    return Segmentation(Mask(tidied, model.labels, image.spacing_mm), confidence, stacked)


def known_flips(augment: AugmentSettings) -> Flips:
    """The mirror images that training showed the network: any other would be strange to it, and make the mean worse."""
    left_right = ((), (-1,)) if augment.horizontal_flip > 0 else ((),)
    top_bottom = ((), (-2,)) if augment.vertical_flip > 0 else ((),)
    return [(*rows, *columns) for rows in top_bottom for columns in left_right]


def score(pictures: Iterator[Tensor], shape: tuple[int, int], engine: TorchEngine, tiles: TileSettings, flips: Flips = ((),)) -> Iterator[Tensor]:
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


def _flipped(batch: Tensor, engine: TorchEngine, flips: Flips) -> Tensor:
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
