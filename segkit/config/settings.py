"""The settings of a run. The rooms' settings stand beside the things that they set; those of the rooms above this one (which data, how long) stand here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from segkit.augment import AugmentSettings
from segkit.confidence import ExpectedDice
from segkit.errors import nearest
from segkit.io.origin import ReadSettings
from segkit.labels import Labels
from segkit.losses import LossSettings
from segkit.models import COMBINATIONS, ModelSettings, UNetSettings, plain_name, spell_out
from segkit.patches import TileSettings
from segkit.postprocess import PostprocessSettings
from segkit.preprocess import PreprocessSettings

IMAGENET = "imagenet"
"""The word for torchvision's published weights, where a path could stand."""


def at_home(given: Any) -> Any:
    """``~/weights`` lies in the user's own folder; all else stays as it is."""
    return os.path.expanduser(given) if isinstance(given, str | Path) and Path(given).parts[:1] == ("~",) else given


UserPath: TypeAlias = Annotated[Path, BeforeValidator(at_home)]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(Settings):
    """Which pictures and masks, and what the values in the masks mean.

    manifest : CSV, TSV or JSON lines with the columns image, mask and perhaps split, group; or else `images` and `masks`, two folders with equal stems.
    split : rows of the manifest to train on; null for all. Without a split column all rows count.
    validation_split : rows to validate on; null to set `validation_share` of the training groups aside.
    validation_share : share of the groups (patients), drawn with `train.seed`; pictures of one group never stand on both sides.
    labels : class name -> value in the masks, background first.
    ignore : value of pixels that count neither in training nor in scores.
    mask_threshold : for two classes whose masks are not clean: above it a pixel counts as the larger value.
    """

    manifest: UserPath | None = None
    images: UserPath | None = None
    masks: UserPath | None = None
    split: str | None = "train"
    validation_split: str | None = None
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    labels: dict[str, int | str] = Field(default={"background": 0, "foreground": 255})
    ignore: int | str | None = None
    mask_threshold: float | None = None
    read: ReadSettings = ReadSettings()

    @field_validator("labels", mode="before")
    @classmethod
    def _values_are_there(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and None in given.values():
            lonely = next(name for name, value in given.items() if value is None)
            raise ValueError(f"{lonely!r} has no value; write a space behind the colon, {{background: 0, nerve: 1}}")
        if isinstance(given, Mapping) and len(given) < 2:
            raise ValueError("names fewer than two classes; the background is one of them, {background: 0, nerve: 1}")
        return given

    @model_validator(mode="after")
    def _one_source(self) -> DataSettings:
        folders = self.images is not None or self.masks is not None
        if folders and self.manifest is not None:
            raise ValueError("both a manifest and the folders images and masks are given; leave one out (data.manifest=null)")
        if folders and self.validation_split is not None:
            raise ValueError("validation_split needs a manifest, folders have no splits; use validation_share")
        return self

    def make_labels(self) -> Labels:
        return Labels.from_mapping(self.labels, ignore=self.ignore, threshold=self.mask_threshold)


class TrainSettings(Settings):
    """How long and how fast.

    patch : (rows, columns) of a training patch on the model's grid.
    slices : of a sample, for a network that looks along the slices of a volume (model.bottleneck slice_gru): neighbouring ones; null for 8 there, else one.
    progressive : share of their sides that patches are made small to in the first half of the budget (progressive resizing); null for none.
    foreground_share : share of the patches that are centred on a foreground pixel, the classes drawn evenly.
    steps, minutes : the budget; with `minutes` the schedule follows the clock and ends exactly there.
    warmup_share : share of the budget in which the learning rate rises; then it falls to 0 by `schedule`.
    clip_norm : gradients longer than this are shortened to it.
    ema : decay of the running mean of the weights, which is what is validated and kept; 0 for none.
    validations : how often within the budget the whole validation pictures are predicted and scored.
    patience : stop after so many validations without a better score; null never stops early.
    freeze : "encoder" leaves the encoder, the running means of its norms too, as it began; null trains all.
    freeze_epochs : for so many rounds through the training slices, then it learns too; null for the whole run.
    encoder_rate : share of the learning rate that the encoder has; null for all of it.
    workers : processes that load patches; "auto" uses none where all pictures fit in `cache_mb`.
    cache_mb : memory for prepared pictures in each process that loads them; those that do not fit are read again.
    worker_timeout : seconds after which a worker that delivers nothing is given up.
    start_from : weights to begin with (.safetensors, .pth, .pt, or the folder of a run), of the same network; what its heads know of classes of the same
        names is kept, other classes start fresh, and the first convolution is adapted to another number of channels.
    pretrained : weights for the encoder alone: "imagenet" (torchvision's, downloaded once), or the path or URL of an encoder, a classifier or a whole network,
        or the folder of a run.
    downloads : folder for them; null for $SEGKIT_HOME, or else segkit in the user's cache folder (~/.cache/segkit).
    tensorboard : also write event files for TensorBoard (the extra [track]).
    """

    patch: tuple[int, int] = (256, 256)
    batch_size: int = Field(default=8, ge=1)
    slices: int | None = Field(default=None, ge=2)
    progressive: float | None = Field(default=None, gt=0, lt=1)
    foreground_share: float = Field(default=1 / 3, ge=0, le=1)
    steps: int = Field(default=2000, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    weight_decay: float = Field(default=1e-2, ge=0, lt=1)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    schedule: Literal["cosine", "poly"] = "cosine"
    warmup_share: float = Field(default=0.03, ge=0, lt=1)
    clip_norm: float = Field(default=5.0, gt=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    validations: int = Field(default=8, ge=1)
    patience: int | None = Field(default=None, ge=1)
    freeze: Literal["encoder"] | None = None
    freeze_epochs: float | None = Field(default=None, gt=0)
    encoder_rate: float | None = Field(default=None, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    workers: int | Literal["auto"] = "auto"
    worker_timeout: float = Field(default=300, gt=0)
    cache_mb: int = Field(default=2048, ge=0)
    start_from: UserPath | None = None
    pretrained: Annotated[str | Path, BeforeValidator(at_home)] | None = None
    downloads: UserPath | None = None
    tensorboard: bool = False

    @model_validator(mode="after")
    def _check(self) -> TrainSettings:
        if min(self.patch) < 16:
            raise ValueError(f"patch is {self.patch}, the smallest is 16x16")
        if isinstance(self.workers, int) and self.workers < 0:
            raise ValueError(f"workers is {self.workers}, the smallest is 0")
        if self.freeze_epochs is not None and self.freeze is None:
            raise ValueError(f"freeze_epochs is {self.freeze_epochs:g}, but nothing is frozen; set freeze: encoder, or leave it out")
        if self.start_from is not None and self.pretrained is not None:
            raise ValueError("both start_from (a whole network) and pretrained (an encoder) are given; leave one out (train.pretrained=null)")
        return self


class PredictSettings(Settings):
    """How the finished model is run; stored with it, and each can be chosen anew on the command line.

    tta : also score the mirror images that training showed the network, and average.
    temperature : what logits are divided by before they become probabilities, so that these mean what they say; it changes no mask.
    expected_dice : the Dice that a case can be expected to have, from the probabilities of what was found; null where that was not learnt.
    """

    tiles: TileSettings = TileSettings()
    tta: bool = False
    postprocess: PostprocessSettings = PostprocessSettings()
    temperature: float = Field(default=1.0, gt=0, le=1000)
    expected_dice: ExpectedDice | None = None


class RunConfig(Settings):
    """Everything about a run. `model.in_channels` and `model.num_classes` follow from `preprocess` and `data.labels`."""

    description: str = ""
    data: DataSettings = DataSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    model: ModelSettings = UNetSettings()                             # a name alone stands for a network with its usual parts
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings()
    predict: PredictSettings = PredictSettings()
    _remarks: tuple[str, ...] = PrivateAttr(())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What people should know of these settings, told when a run begins: parts that replace those of a combination."""
        return self._remarks

    @property
    def slices(self) -> int:
        """Neighbouring slices in a training sample."""
        return (self.train.slices or 8) if self.model.along_slices else 1

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(given.get("model", {}), (Mapping, str)):
            return given
        model = spell_out(given.get("model", {}))
        labels = (given.get("data") or {}).get("labels") if isinstance(given.get("data", {}), Mapping) else None
        preprocess = given.get("preprocess")
        if isinstance(labels, Mapping):
            model.setdefault("num_classes", len(labels))
        if isinstance(preprocess, Mapping):
            model.setdefault("in_channels", _in_channels(preprocess))
        return {**given, "model": model}

    @model_validator(mode="wrap")
    @classmethod
    def _remark(cls, given: Any, check: Callable[[Any], RunConfig]) -> RunConfig:
        run = check(given)
        if isinstance(given, Mapping) and isinstance(given.get("model"), Mapping):
            run._remarks = tuple(replaced_parts(given["model"]))
        return run

    @model_validator(mode="after")
    def _agree(self) -> RunConfig:
        self.data.make_labels()
        weights = self.loss.class_weights
        if weights is not None and len(weights) != len(self.data.labels):
            raise ValueError(f"loss.class_weights has {len(weights)} numbers for {len(self.data.labels)} classes")
        for name in self.predict.postprocess.classes:
            if name not in self.data.labels:
                hint = nearest(name, self.data.labels) or f"there are {', '.join(self.data.labels)}"
                raise ValueError(f"predict.postprocess.classes: {name!r} is no class of data.labels; {hint}")
        for name, have, source, want in (
            ("num_classes", self.model.num_classes, "data.labels", len(self.data.labels)),
            ("in_channels", self.model.in_channels, "preprocess", self.preprocess.in_channels),
        ):
            if have != want:
                raise ValueError(f"model.{name} is {have}, but {source} says {want}; leave model.{name} out, it follows")
        if self.train.slices is not None and not self.model.along_slices:
            raise ValueError(f"train.slices is {self.train.slices}, but only model.bottleneck slice_gru looks along slices; leave it out")
        if self.augment.right_angles > 0 and self.train.patch[0] != self.train.patch[1]:
            patch = "x".join(map(str, self.train.patch))
            raise ValueError(f"augment.right_angles is {self.augment.right_angles:g}, but train.patch is {patch}; a turn swaps the sides: make it square")
        return self


def replaced_parts(options: Mapping[str, Any]) -> list[str]:
    """What a combination by name goes without: ``{"name": "cpfnet", "skip": "se"}`` -> ``["cpfnet with skip se in place of gpg"]``."""
    name = plain_name(options.get("name", "unet"))
    parts = {part: usual for part, usual in COMBINATIONS.get(name, {}).items() if part != "name" and options.get(part, usual) != usual}
    told = ", ".join(f"{part} {options[part]} in place of {usual}" for part, usual in parts.items())
    return [f"{name} with {told}"] if parts else []


def _in_channels(preprocess: Mapping[str, Any]) -> int:
    """What the network will see; where the settings are wrong any number does, since they are refused in their own words."""
    try:
        return PreprocessSettings.model_validate(preprocess).in_channels
    except ValidationError:
        return PreprocessSettings().in_channels


def is_path(pretrained: str | Path) -> bool:
    """Whether `train.pretrained` names a file here: it is neither a word for published weights nor a URL."""
    return pretrained != IMAGENET and not is_url(str(pretrained))


def is_url(text: str) -> bool:
    """``https://...`` and the like; the drive of ``C:\\weights.pth`` is none."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
