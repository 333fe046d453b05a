"""What a network pays attention to: the same walk, with its weights in place of its scores."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segkit.config import PredictSettings
from segkit.engines import Engine
from segkit.errors import SettingsError, ShapeError
from segkit.image import Image
from segkit.models import ModelSettings
from segkit.patches import Band, join
from segkit.predict import Model
from segkit.preprocess import prepare
from segkit.score import score, score_volume


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
    walk = partial(preparation.views, image.slices)
    if eye.along_slices:  # what it looks at in one slice depends on all
        stacked = next(score_volume(walk, preparation.target, eye, tiles, only=plane))
    else:
        scored = score(((plane, picture) for picture in islice(walk(), plane, plane + 1)), eye, tiles)
        stacked = join([_at_hand(band) for _, band in scored])
    weights = preparation.undo(stacked).clamp(0, 1).numpy()                                  # (M, H, W)
    found = [AttentionMap(name, caption, one) for (name, caption), one in zip(_titles(eye.strides, model.run.model), weights, strict=True)]
    return sorted(found, key=lambda one: one.name)


def _at_hand(band: Band | MemoryError | None) -> Band:
    if not isinstance(band, Band):
        raise band or MemoryError
    return band


class Eye:
    """Stands in for the engine: the weights of M places come where logits of M classes would, and are cut, stitched and undone like them.

    strides : path of each place -> pixels from one of its weights to the next; known when something was scored
    """

    in_flight = 1

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.along_slices, self.batch_pixels = engine.along_slices, engine.batch_pixels
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
    """SettingsError where there is no spatial attention to draw, or more than one network's."""
    if model.card.members > 1:
        raise SettingsError(f"{model.name} is an ensemble of {model.card.members}, each with an attention of its own; draw that of one member's file")
    if not model.engine.attention_paths:
        raise SettingsError(f"{model.name} has no spatial attention: train with model.skip=cbam, scse or attention, or with a cbam_ encoder")


def fullest_slice(indices: NDArray[np.uint8]) -> int:
    """Of (S, H, W) class indices the slice with the most foreground, the middle one where there is none; 0 of (H, W)."""
    if indices.ndim == 2:
        return 0
    foreground = (indices > 0).sum(axis=(1, 2))
    return int(foreground.argmax()) if foreground.any() else len(indices) // 2


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
