"""One run's settings, gathered from the rooms; the only reader of YAML.

The rooms' settings stand beside the things that they set. Those of the rooms above this one (which data, how long) stand here.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from segkit.augment import AugmentSettings
from segkit.confidence import ExpectedDice
from segkit.errors import SettingsError, VanishedError, nearest, shown
from segkit.io.origin import ReadSettings
from segkit.labels import Labels
from segkit.losses import LossSettings
from segkit.models import COMBINATIONS, ModelSettings, UNetSettings, is_name, plain_name, spell_out
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


PATH_KEYS = (("data", "manifest"), ("data", "images"), ("data", "masks"), ("train", "start_from"), ("train", "pretrained"), ("train", "downloads"))


def load_run(path: Path | str, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a YAML file; `overrides` are ``"a.b=c"`` texts that replace single settings, and so are `values`, ``{"a.b": c}``, last.

    A whole group comes before its settings, wherever it stands: ``model.skip=se`` and ``model=cpfnet`` are CPFNet with SE on its skips.
    Paths in the file are relative to the file, those in overrides to the current folder; ~ is the user's own.

    Raises
    ------
    VanishedError, SettingsError
        No such file; not YAML, a key twice, an unknown setting, a value out of range.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise VanishedError(f"{path}: no such file; expected the settings of a run as YAML, there are some in configs/") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: can't be read as text: {error}") from error
    tree = parse_yaml(text, str(path))
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise SettingsError(f"{path}: holds a {type(tree).__name__}; expected settings like 'train: {{minutes: 10}}'")
    for room, key in PATH_KEYS:
        if isinstance(tree.get(room), dict) and isinstance(tree[room].get(key), str) and not _stands_alone(key, tree[room][key]):
            tree[room][key] = str(path.parent / tree[room][key])
    before, kept = _group(tree, "model").get("name"), [name for name in _group(tree, "model") if name != "name"]
    changes = [*check_overrides(overrides), *(values or {}).items()]
    for key, value in sorted(changes, key=lambda change: change[0].count(".")):
        _replace(tree, key, value)
    try:
        return validate_run(tree, str(path))
    except SettingsError as error:
        renamed = _group(tree, "model").get("name")
        if not kept or renamed == before or not is_name(str(renamed)):
            raise
        raise SettingsError(f"{error}; model.name leaves what the file says besides of the model ({', '.join(kept)}), model={renamed} replaces it") from error


def _group(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A group of settings; an empty one where there is none, or something else in its place."""
    group = tree.get(name)
    return group if isinstance(group, Mapping) else {}


def _stands_alone(key: str, value: str) -> bool:
    """Whether it is relative to no folder."""
    return at_home(value) != value or (key == "pretrained" and not is_path(value))


def is_path(pretrained: str | Path) -> bool:
    """Whether `train.pretrained` names a file here: it is neither a word for published weights nor a URL."""
    return pretrained != IMAGENET and not is_url(str(pretrained))


def is_url(text: str) -> bool:
    """``https://...`` and the like; the drive of ``C:\\weights.pth`` is none."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def validate_run(tree: Mapping[str, Any], name: str) -> RunConfig:
    """A checked `RunConfig`; the first mistake becomes a one-line SettingsError that begins with `name`."""
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(f"{name}: {explain(error, RunConfig)}") from error
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """The first mistake in words: ``run.model.encoder_chanels is not a setting of UNetSettings; did you mean encoder_channels?``"""
    first = error.errors()[0]
    names, owner = _follow(root, first["loc"])
    where = ".".join(["run", *names])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "union_tag_invalid":
        tag, choices = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        return f"{where}.{first['ctx']['discriminator'].strip(chr(39))}: {tag!r} is not one of {choices}{more}"
    if first["type"] != "extra_forbidden":
        message = first["msg"].removeprefix("Value error, ")
        found = "" if isinstance(first["input"], Mapping) else f", found {shown(first['input'])}"  # a whole group of settings would bury the message
        return f"{where}: {message}{found}{more}" if first["loc"] else message
    hint = nearest(names[-1], owner.model_fields) or _asked(".".join(names)) or f"it has: {', '.join(owner.model_fields)}"
    return f"{where} is not a setting of {owner.__name__}; {hint}{more}"


def _follow(model: type[BaseModel], path: Sequence[int | str]) -> tuple[list[str], type[BaseModel]]:
    """The names that a person would write for a path, and the settings class that its last name belongs to; tags of unions are left out."""
    names: list[str] = []
    choices = [model]
    for part in path:
        tagged = [choice for choice in choices if _kind(choice) == part]
        if len(choices) > 1 and tagged:
            choices = tagged
            continue
        model = choices[0] if choices else model
        names.append(str(part))
        choices = list(_models(model.model_fields[str(part)].annotation)) if str(part) in model.model_fields else []
    return names, model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)


def _kind(model: type[BaseModel]) -> Any:
    return next((model.model_fields[name].default for name in ("kind", "name") if name in model.model_fields), None)


def parse_override(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not all(part.strip() for part in key.split(".")):
        raise SettingsError(f"--set {text!r}: expected a.b=value, for example train.learning_rate=3e-4")
    return key.strip(), parse_yaml(value, f"--set {key}")


def check_overrides(texts: Sequence[str]) -> list[tuple[str, Any]]:
    """``["a.b=c"]`` -> ``[("a.b", c)]``, checked as far as that does not hang on other settings, and so before anything else is known.

    Raises
    ------
    SettingsError
        A text that is no ``a.b=value``, names no setting, or gives one a value that it can't have.
    """
    changes = [parse_override(text) for text in texts]
    for text, (key, value) in zip(texts, changes, strict=True):
        try:
            _require_setting(key, value)
        except SettingsError as error:
            raise SettingsError(f"--set {text}: {error}") from error
    return changes


def _require_setting(key: str, value: Any) -> None:
    """SettingsError where there is no such setting, or it never has this value; of a group each setting in it is asked for."""
    owners, is_free = _owners(key)
    name = key.rpartition(".")[2]
    if not owners:
        raise SettingsError(_not_there(key))
    if is_free:
        return
    if key in ("model", "model.name") and isinstance(value, str):
        _require_network(value)
    elif isinstance(value, Mapping) and any(True for owner in owners for _ in _models(owner.model_fields[name].annotation)):
        for inner, its_value in value.items():
            _require_setting(f"{key}.{inner}", its_value)
    elif all(refusals := [_refusal(owner, name, value) for owner in owners]):
        first, *others = dict.fromkeys(refusals)
        told = " or ".join([first, *(other.removeprefix("Input should be ") for other in others)])
        raise SettingsError(f"{key} can't be {shown(value)}: {told}")


def _require_network(name: str) -> None:
    try:
        plain_name(name)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _owners(key: str) -> tuple[list[type[BaseModel]], bool]:
    """The settings classes that have the last name of a dotted key, none where it is no setting; and whether names of the user's own end it (data.labels)."""
    owners: list[type[BaseModel]] = []
    choices: list[type[BaseModel]] = [RunConfig]
    names = key.split(".")
    for place, name in enumerate(names, start=1):
        owners = [choice for choice in choices if name in choice.model_fields]
        annotations = [owner.model_fields[name].annotation for owner in owners]
        if any(get_origin(annotation) is dict for annotation in annotations):
            return owners, place < len(names)
        choices = [model for annotation in annotations for model in _models(annotation)]
    return owners, False


def _refusal(owner: type[BaseModel], name: str, value: Any) -> str:
    """Why a setting can't have a value, whatever the others are; nothing where it can."""
    try:
        owner.model_validate({name: value})
    except ValidationError as error:
        return next((one["msg"].removeprefix("Value error, ") for one in error.errors() if one["loc"][:1] == (name,)), "")
    return ""


def _not_there(key: str) -> str:
    """A key that is no setting, in words: ``train.lr is not a setting: did you mean train.learning_rate?``"""
    places, room = _places(RunConfig), key.rpartition(".")[0]
    beside = [place for place in places if place.rpartition(".")[0] == room]
    if room in places and not beside:
        return f"{room} is a value, not a group of settings"
    there = ", ".join(place.rpartition(".")[2] for place in beside) or ", ".join(RunConfig.model_fields)
    whose = room if beside and room else "a run"
    return f"{key} is not a setting: {_asked(key) or f'{whose} has {there}'}"


def _asked(key: str) -> str:
    """"did you mean train.learning_rate?" of train.lr, learning_rate, train.learn or train.lerning_rate; nothing where no setting is like it.

    What is called so elsewhere, begins so or has these initials goes before what is spelled alike, and the group that was named before the others.
    """
    room, _, name = key.casefold().rpartition(".")
    leaves = {place: place.rpartition(".")[2] for place in _places(RunConfig)}
    same = [place for place, leaf in leaves.items() if len(name) > 1 and (leaf.startswith(name) or name == "".join(word[:1] for word in leaf.split("_")))]
    inside = {leaf: place for place, leaf in leaves.items() if place.rpartition(".")[0] == room}
    anywhere = {leaf: place for place, leaf in reversed(leaves.items())}
    close = [names[leaf] for names in (inside, anywhere) for leaf in difflib.get_close_matches(name, names, n=1)]
    meant = [place for place in same if place.rpartition(".")[0] == room] or same or close[:1]
    return f"did you mean {' or '.join(meant[:3])}?" if meant else ""


def _places(model: type[BaseModel], room: str = "") -> list[str]:
    """Dotted names of all groups and settings, each once."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        inner = [] if get_origin(field.annotation) is dict else _models(field.annotation)
        found += [f"{room}{name}", *(place for group in inner for place in _places(group, f"{room}{name}."))]
    return list(dict.fromkeys(found))


def _replace(tree: dict[str, Any], path: str, value: Any) -> None:
    keys = path.split(".")
    for key in keys[:-1]:
        inner = tree.setdefault(key, {})
        if key == "model" and isinstance(inner, str):                      # a network by its name alone
            inner = tree[key] = {"name": inner}
        if not isinstance(inner, dict):
            raise SettingsError(f"--set {path!r}: {key} is a value, not a group of settings")
        tree = inner
    tree[keys[-1]] = value


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2's floats (1e-3), no key twice, no aliases (which can grow without bound)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int)):
                raise yaml.MarkedYAMLError(problem=f"{key!r} can't be a key", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))


def parse_yaml(text: str, name: str) -> Any:
    """Plain data from YAML text; a mistake becomes a SettingsError with its line."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise SettingsError(f"{name}:{line} {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SettingsError(f"{name}: is not YAML: {error}") from error
