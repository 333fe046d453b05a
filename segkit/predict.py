"""The walk: read, prepare, cut, score, stitch, undo, decide, tidy. Writing is `folder`'s."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit.checkpoint import Card, fingerprint_of, fit_weights, load_model
from segkit.config import PredictSettings, RunConfig
from segkit.engines import Engine, Shelf, Work, build_engine
from segkit.image import Image, image_from_array
from segkit.io import read_image, write_bytes
from segkit.io.pixels import finite
from segkit.labels import Labels, Mask
from segkit.memory import give_back_freed_memory
from segkit.models.ensemble import build_members
from segkit.patches import Band, TileSettings
from segkit.postprocess import tidy
from segkit.preprocess import LARGE, View, prepare
from segkit.pretrained import default_folder
from segkit.score import Flips, known_flips, score, score_volume

DECIDED_AT_ONCE = 2**20
"""Pixels."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What the walk gives for one picture or volume.

    Attributes
    ----------
    mask : classes on the picture's own grid
    confidence : mean over pixels of the chosen class's probability, 1 / K .. 1
    probabilities : (K, H, W) or (K, S, H, W) float16, only where asked for
    foreground_confidence : the same mean over the pixels of foreground classes, before they are tidied; NaN where there are none
    expected_dice : what that is worth, None where the model has not learnt it
    """

    mask: Mask
    confidence: float
    probabilities: NDArray[np.float16] | None = None
    foreground_confidence: float = math.nan
    expected_dice: float | None = None


class Model:
    """A trained network with all that it needs: what `segkit.load` returns."""

    def __init__(self, run: RunConfig, engine: Engine, card: Card | None = None, name: str = "this model", fingerprint: str = "") -> None:
        self.run = run
        self.engine = engine
        self.card = card or Card()
        self.name = name
        self.fingerprint = fingerprint          # of its weights; empty for a network that is not from a file
        self.labels: Labels = run.data.make_labels()

    def with_settings(self, run: RunConfig) -> Model:
        """The same network under other settings of preparation and prediction."""
        return Model(run, self.engine, self.card, self.name, self.fingerprint)

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


def load(model: str | Path, *, device: str = "auto", precision: str = "auto", engine: str = "auto", work: Work | None = None) -> Model:
    """A model from a file, a folder of `segkit train`, or the name of a built-in one.

    Parameters
    ----------
    device : "auto", "cpu", "cuda", "cuda:N" or "mps"
    precision : "auto", "fp32", "bf16" or "fp16"
    engine : "torch", "openvino", "onnxruntime", or "auto": the one that is done first with the `work` that is to come

    Raises
    ------
    VanishedError, WeightsError
        No such model; not a model file, or a damaged one.
    DeviceError, SettingsError, MissingExtraError
        The machine lacks the device, or the engine.
    """
    file = load_model(model)
    network = build_members(file.run.model, file.card.members)
    fit_weights(network, file.weights, str(model))
    built = build_engine(engine, network, device, precision, work=work, shelf=Shelf(default_folder() / "engines", write_bytes))
    return Model(file.run, built, file.card, str(model), fingerprint_of(file.weights))


class Walk:
    """One picture or volume on its way: its slices go out prepared, their scores come in band by band, and at the end there is a mask.

    Several can be on their way at once; see `segkit.score`.

    Raises
    ------
    ChannelsError, RangeError, SettingsError
        The picture is not one that the model takes.
    """

    def __init__(self, image: Image, model: Model, settings: PredictSettings | None = None, *, keep_probabilities: bool = False) -> None:
        self.image = image
        self._model, self._settings = model, settings or model.run.predict
        self._preparation = prepare(image, model.run.preprocess)
        self._give_back()                       # what its decoder had
        self._indices = np.empty((len(image.slices), *image.shape[-2:]), np.uint8)
        shape = (model.labels.num_classes, *self._indices.shape)
        self._probabilities = np.empty(shape, np.float16) if keep_probabilities else None
        self._waiting: list[Band] = []          # of the slice that is on its way, where the model's grid is another
        self._confidence = self._foreground_confidence = 0.0    # sums
        self._foreground = 0                    # pixels
        self._undecided = self._indices.size    # pixels

    def slices(self) -> Iterator[Tensor | View]:
        """(C, H', W') each, on the model's grid."""
        return self._preparation.views(self.image.slices)

    @property
    def grid(self) -> tuple[int, int]:
        """(H', W') of the model's grid."""
        return self._preparation.target

    @property
    def flips(self) -> Flips:
        return known_flips(self._model.run.augment) if self._settings.tta else ((),)

    @property
    def is_complete(self) -> bool:
        return self._undecided == 0

    def take(self, plane: int, band: Band) -> None:
        """The next (K, r', W') of a slice; each slice's come from its first row to its last."""
        if self.grid == self.image.shape[-2:]:
            self._decide(plane, *band)
            return
        self._waiting.append(band)
        if band.row + band.logits.shape[-2] == self.grid[0]:
            waiting, self._waiting = self._waiting, []
            for row, logits in self._preparation.undo_in_bands(waiting):
                self._decide(plane, row, logits)

    def _decide(self, plane: int, row: int, logits: Tensor) -> None:
        """(K, r, W) on the picture's own grid -> classes, some rows at a time: a band of a slide is 13 million pixels."""
        step = max(1, DECIDED_AT_ONCE // logits.shape[-1])
        for first in range(0, logits.shape[-2], step):
            self._decide_rows(plane, row + first, logits[:, first : first + step])

    def _decide_rows(self, plane: int, row: int, logits: Tensor) -> None:
        rows = slice(row, row + logits.shape[-2])
        probabilities = (logits / self._settings.temperature).softmax(dim=0)
        best, chosen = probabilities.max(dim=0)
        self._indices[plane, rows] = chosen.to(torch.uint8).numpy()
        if self._probabilities is not None:
            self._probabilities[:, plane, rows] = probabilities.to(torch.float16).numpy()
        found = best[chosen > 0]
        self._confidence += float(best.sum(dtype=torch.float64))
        self._foreground_confidence += float(found.sum(dtype=torch.float64))
        self._foreground += found.numel()
        self._undecided -= best.numel()

    def _give_back(self) -> None:
        """Of a slide these are hundreds of megabytes."""
        if self.image.pixels.size > LARGE:
            give_back_freed_memory()

    def result(self) -> Segmentation:
        """Once it `is_complete`."""
        self._give_back()                       # what the network had
        stack = self.image.is_volume
        tidied = tidy(self._indices if stack else self._indices[0], self._settings.postprocess, self._model.labels.names)
        probabilities = self._probabilities if stack or self._probabilities is None else self._probabilities[:, 0]
        mask = Mask(tidied, self._model.labels, self.image.spacing_mm)
        sure = self._foreground_confidence / self._foreground if self._foreground else math.nan
        learnt = self._settings.expected_dice
        return Segmentation(mask, self._confidence / self._indices.size, probabilities, sure, None if learnt is None else learnt.of(sure))


def segment(image: Image, model: Model, settings: PredictSettings | None = None, *, keep_probabilities: bool = False) -> Segmentation:
    """Walk one picture or volume from its pixels to its mask.

    Raises
    ------
    ChannelsError, RangeError, SettingsError
        The picture is not one that the model takes.
    MemoryError
        Not even small windows of it fit.
    """
    walk = Walk(image, model, settings, keep_probabilities=keep_probabilities)
    for plane, band in scored_bands(walk, model, (settings or model.run.predict).tiles, walk.flips):
        walk.take(plane, band)
    return walk.result()


def scored_bands(walk: Walk, model: Model, tiles: TileSettings, flips: Flips) -> Iterator[tuple[int, Band]]:
    """(slice, its next band) as `Walk.take` wants them; `MemoryError` where not even small windows fit."""
    if model.engine.along_slices:
        yield from ((plane, Band(0, logits)) for plane, logits in enumerate(score_volume(walk.slices, walk.grid, model.engine, tiles, flips)))
        return
    for plane, band in score(enumerate(walk.slices()), model.engine, tiles, flips, model.labels.num_classes):
        if isinstance(band, MemoryError):
            raise band
        if band is not None:
            yield plane, band
