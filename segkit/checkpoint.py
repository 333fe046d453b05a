"""One file that holds all that prediction needs: weights as safetensors, and a card in JSON that travels in the same file.

Nothing that is read here can execute code: safetensors holds numbers and text, and foreign PyTorch files go through
``torch.load(weights_only=True)``, which refuses everything but tensors, plain containers and `PLAIN_DATA`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from segkit import __version__
from segkit.config import IMAGENET, RunConfig, is_path, validate_run
from segkit.errors import SettingsError, VanishedError, WeightsError
from segkit.io import write_bytes
from segkit.io.sniff import open_file

FORMAT = 1

MEMBER = "members"
"""What the weights of an ensemble begin with: members.0.encoder..., members.1.encoder..., as in `segkit.models.ensemble`."""

MOST_MEMBERS = 100

SHARED = ("model", "preprocess", "augment.horizontal_flip", "augment.vertical_flip", "data.labels", "data.ignore", "data.read")
"""Settings that the members of an ensemble have in common: what they are, what they are shown, and what their classes mean."""

BUILT_IN = {"fundus-vessels": Path(__file__).parent / "weights" / "fundus-vessels.safetensors"}
"""Models that lie in the package, by name."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which foreign checkpoints keep their weights."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""Left in front of every key by DataParallel, torch.compile and trainers."""

TORCH_STARTS = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")
"""A zip, and what PyTorch wrote before 1.6. Four bytes, because a safetensors file begins with the length of its header, which may look like two of them."""

UNREADABLE = "Unsupported operand"
"""In what torch raises for a byte that is no step of a pickle of protocol 2."""

PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
"""The second byte of a pickle."""

NUMBERS = {"float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"}
"""Types of tensors that are weights, or count steps."""

PLAIN_DATA: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")),
    *((np.float64().__reduce__()[0], f"{numpy}.multiarray.scalar") for numpy in ("numpy.core", "numpy._core")),  # its name before and since NumPy 2
]
"""What else may stand beside the weights: a best score that is a NumPy number, the arguments of a training script. To read them executes nothing."""


@dataclass(frozen=True)
class Card:
    """What a model file says of itself.

    trained_on : the data in words
    fingerprint : sha256 of the prepared training data
    scores : {"validation": {class: Dice}, ...} as measured, higher is better
    steps : training steps behind these weights
    licence : what the weights may be used for
    segkit : version that wrote the file
    members : networks whose probabilities are averaged; 1 is a plain model
    """

    trained_on: str = ""
    fingerprint: str = ""
    scores: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    steps: int = 0
    licence: str = ""
    segkit: str = __version__
    members: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.members, int) or not 1 <= self.members <= MOST_MEMBERS:
            raise TypeError(f"members is {self.members!r}, expected 1 to {MOST_MEMBERS}")


@dataclass(frozen=True)
class ModelFile:
    """A model file, read: settings, weights, card. Of an ensemble the weights of each member stand under ``members.N.``."""

    run: RunConfig
    weights: dict[str, Tensor]
    card: Card

    def members(self) -> Iterator[dict[str, Tensor]]:
        """The weights of each network by itself: one for a plain model."""
        if self.card.members == 1:
            yield self.weights
            return
        yield from (_member(self.weights, number) for number in range(self.card.members))


def save_model(path: Path, run: RunConfig, weights: Mapping[str, Tensor], card: Card) -> None:
    """Write a model file. Paths of training data and weights stay behind: they name people's folders."""
    settings = run.model_dump(mode="json")
    settings["data"].update(manifest=None, images=None, masks=None)
    settings["train"].update(start_from=None, pretrained=_for_others(run.train.pretrained), downloads=None)
    metadata = {"segkit": json.dumps({"format": FORMAT, "run": settings, "card": asdict(card)})}
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    write_bytes(path, safetensors.torch.save(tensors, metadata))


def _for_others(pretrained: str | Path | None) -> str | None:
    """Where others find these weights too: "imagenet", or a URL without passwords and tokens; None where only this machine has them."""
    if pretrained == IMAGENET:
        return IMAGENET
    if pretrained is None or is_path(pretrained):
        return None
    scheme, host, path, *_ = urlsplit(str(pretrained))
    return None if scheme == "file" else urlunsplit((scheme, host.rpartition("@")[2], path, "", ""))


def locate_model(model: str | Path) -> Path:
    """The file behind a path or a built-in name.

    Raises
    ------
    VanishedError
        Neither.
    SettingsError
        Nothing that names a file.
    """
    if not isinstance(model, str | Path):
        raise SettingsError(f"{model!r} is no model; give a .safetensors file of segkit train, its folder, or a built-in name: {', '.join(BUILT_IN)}")
    path = BUILT_IN.get(str(model), Path(model))
    if path.is_dir() and (path / "model.safetensors").is_file():
        return path / "model.safetensors"
    if path.is_dir():
        raise VanishedError(f"{model}: is a folder without model.safetensors; a run of segkit train writes it at its first validation")
    if not path.is_file():
        raise VanishedError(f"{model}: no such model file; give a .safetensors file of segkit train, or a built-in name: {', '.join(BUILT_IN)}")
    return path


def load_model(model: str | Path) -> ModelFile:
    """Read a model file, or a built-in model by name.

    Raises
    ------
    VanishedError
        There is none.
    WeightsError
        It is not a model file of segkit, is cut short, or holds weights that are not finite.
    """
    path = locate_model(model)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: {_what_it_is(path, error)}; expected a model.safetensors of segkit train") from error
    if "segkit" not in metadata:
        raise WeightsError(f"{path}: is a safetensors file without segkit's card; to begin training with its weights use train.start_from")
    run, card = _read_card(path, metadata["segkit"])
    _require_finite(path, weights)
    return ModelFile(run, weights, card)


def join_models(models: Sequence[str | Path]) -> ModelFile:
    """Several models as one ensemble, whose members decide together; `save_model` makes a file of it that is used like any other.

    The settings of prediction (tiles, mirror images, post-processing) are the first one's. An ensemble among them gives all its members.

    Raises
    ------
    SettingsError
        Fewer than two models, or more than `MOST_MEMBERS` members.
    VanishedError, WeightsError
        One can't be read, differs from the first in its labels, preparation or architecture (the message names what differs), or is the same again.
    """
    if len(models) < 2:
        raise SettingsError(f"an ensemble has at least two members, {len(models)} {'was' if len(models) == 1 else 'were'} given")
    files = [load_model(model) for model in models]
    members: dict[str, dict[str, Tensor]] = {}
    for model, file in zip(models, files, strict=True):
        _require_like(files[0].run, file.run, f"{model}", f"{models[0]}")
        for weights in file.members():
            if (fingerprint := fingerprint_of(weights)) in members:
                raise WeightsError(f"{model}: holds the same weights as another member; an ensemble is of networks that were trained apart")
            members[fingerprint] = weights
    if len(members) > MOST_MEMBERS:
        raise SettingsError(f"an ensemble of {len(members)} members was asked for; at most {MOST_MEMBERS}")
    weights = {f"{MEMBER}.{number}.{key}": tensor for number, own in enumerate(members.values()) for key, tensor in own.items()}
    return ModelFile(files[0].run, weights, _joined([file.card for file in files], len(members)))


def _require_like(first: RunConfig, other: RunConfig, name: str, first_name: str) -> None:
    """WeightsError that begins with `name` and says which setting differs."""
    for place in SHARED:
        room, _, key = place.partition(".")
        one, two = (_flat(getattr(run, room).model_dump(mode="json"), room) for run in (first, other))
        own = [path for path in dict.fromkeys([*one, *two]) if not key or path == place or path.startswith(f"{place}.")]
        for path in own:
            if one.get(path) != two.get(path):
                raise WeightsError(
                    f"{name}: {path} is {two.get(path, 'missing')}, that of {first_name} is {one.get(path, 'missing')}; "
                    "the members of an ensemble share labels, preparation and architecture"
                )
    if list(first.data.labels) != list(other.data.labels):
        raise WeightsError(f"{name}: its classes come as {', '.join(other.data.labels)}, those of {first_name} as {', '.join(first.data.labels)}")


def _flat(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
    """{"a": {"b": 1}} below "x" -> {"x.a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{path}.{key}") if isinstance(value, Mapping) else {f"{path}.{key}": value})
    return flat


def _joined(cards: Sequence[Card], members: int) -> Card:
    """Scores stay apart: no case has been scored by the whole ensemble yet."""

    def told(texts: Iterator[str]) -> str:
        return "; ".join(dict.fromkeys(text for text in texts if text))

    return Card(
        trained_on=told(card.trained_on for card in cards),
        fingerprint=told(card.fingerprint for card in cards),
        scores={f"{name} of {number}": scores for number, card in enumerate(cards, start=1) for name, scores in card.scores.items()},
        steps=sum(card.steps for card in cards),
        licence=told(card.licence for card in cards),
        members=members,
    )


def _member(weights: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    prefix = f"{MEMBER}.{number}."
    return {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}


def read_classes(path: Path) -> tuple[str, ...]:
    """Names of the classes that a model file of segkit knows, background first; none for weights without a card.

    Raises
    ------
    WeightsError
        Its card is damaged.
    """
    path = locate_model(path) if path.is_dir() else path
    if _is_torch(path):
        return ()
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    return tuple(_read_card(path, metadata["segkit"])[0].data.labels) if "segkit" in metadata else ()


def fingerprint_of(weights: Mapping[str, Tensor]) -> str:
    """Tells networks apart: a digest of all names, shapes and numbers."""
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(weights):
        tensor = weights[key].contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_card(path: Path, text: str) -> tuple[RunConfig, Card]:
    try:
        card = json.loads(text)
        version, settings, about = card["format"], card["run"], card["card"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: its card can't be read ({error!r}); the file is damaged or was not written by segkit") from error
    if version != FORMAT:
        raise WeightsError(f"{path}: was written in format {version}, this segkit {__version__} reads format {FORMAT}; update segkit")
    try:
        return validate_run(settings, str(path)), Card(**about)
    except (SettingsError, TypeError) as error:
        raise WeightsError(f"{path}: its card does not fit this segkit {__version__}: {error}") from error


def read_weights(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Weights of any file that can be read without executing it: (state dict, what was unwrapped, for people to read).

    A bare state dict, or one under one of `WRAPPERS`; a prefix is taken off only where every key has it. The folder of a run stands for its model,
    an ensemble for its first member.

    Raises
    ------
    VanishedError, WeightsError
        No such file; it needs code to be executed, is cut short, or holds no weights.
    """
    if path.is_dir():
        path = locate_model(path)
    if not path.is_file():
        raise VanishedError(f"{path}: no such weights file")
    content = _read_tensors(path)
    report = []
    for key in WRAPPERS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            report.append(f"took the weights under {key!r}")
            break
    strangers = [str(key) for key, value in content.items() if not isinstance(value, Tensor) or not isinstance(key, str)]
    if strangers or not content:
        names, verb = ", ".join(strangers[:4]) or "nothing", "is" if len(strangers) == 1 else "are"
        raise WeightsError(f"{path}: holds no state dict: {names} {verb} not weights; save model.state_dict()")
    weights = dict(content)
    while prefix := next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in weights)), None):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
        report.append(f"took {prefix!r} off every key")
    if all(key.startswith(f"{MEMBER}.") for key in weights) and (first := _member(weights, 0)):
        report.append(f"took the first of {len({key.split('.')[1] for key in weights})} members of the ensemble")
        weights = first
    _require_plain(path, weights)
    _require_finite(path, weights)
    return weights, report


def _read_tensors(path: Path) -> Mapping[str, Any]:
    try:
        content = _read_torch(path) if _is_torch(path) else safetensors.torch.load_file(path)
    except pickle.UnpicklingError as error:
        if UNREADABLE in str(error):
            raise WeightsError(
                f"{path}: is damaged, or its pickle protocol is not 2, the one that is read without executing it; save it again: torch.save(weights, path)"
            ) from error
        raise WeightsError(
            f"{path}: needs code to be executed to be read, so it was not; on a machine where you trust it, save only model.state_dict() and bring that file"
        ) from error
    except WeightsError:
        raise
    except (safetensors.SafetensorError, zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError) as error:
        wanted = "expected a state dict (.pth, .safetensors): copy the file anew, or save model.state_dict()"
        raise WeightsError(f"{path}: {_what_it_is(path, error)}; {wanted}") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__}; expected a state dict")
    return content


def _read_torch(path: Path) -> Any:
    _require_sound(path)
    with torch.serialization.safe_globals(PLAIN_DATA), warnings.catch_warnings():
        warnings.simplefilter("ignore")                                      # of pickle protocols, old storages, programs: what matters is raised
        return torch.load(path, map_location="cpu", weights_only=True)


def _require_sound(path: Path) -> None:
    """WeightsError where a part of the archive has another checksum than it says, which torch does not look at."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise WeightsError(f"{path}: {damaged} in it has another checksum than it says: it is damaged, or was saved without checksums; copy or save it anew")


def fit_weights(network: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Load weights that must fit exactly.

    Raises
    ------
    WeightsError
        They don't; the message counts and shows what is missing, left over, or of another shape.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in weights]
    extra = [key for key in weights if key not in own]
    wrong = [
        f"{key} has {tuple(weights[key].shape)}, wants {tuple(value.shape)}"
        for key, value in own.items()
        if key in weights and weights[key].shape != value.shape
    ]
    parts = [
        f"{len(found)} {what}: {', '.join(found[:3])}{', …' if len(found) > 3 else ''}"
        for what, found in (("of another shape", wrong), ("missing", missing), ("left over", extra))
        if found
    ]
    if parts:
        raise WeightsError(f"{name}: the weights do not fit the network of the settings; {'; '.join(parts)}")
    network.load_state_dict(dict(weights))


def _require_plain(path: Path, weights: Mapping[str, Tensor]) -> None:
    """WeightsError for tensors that are no arrays of real numbers: sparse, quantised, complex, without content, of eight-bit floats."""
    for key, value in weights.items():
        kind = "sparse" if value.layout != torch.strided else "empty of content (meta)" if value.is_meta else str(value.dtype).removeprefix("torch.")
        if kind not in NUMBERS:
            raise WeightsError(f"{path}: {key} is {kind}; weights are dense numbers, save them with model.float().state_dict()")


def _require_finite(path: Path, weights: Mapping[str, Tensor]) -> None:
    bad = [key for key, value in weights.items() if value.is_floating_point() and not bool(torch.isfinite(value.float()).all())]  # float64 may hold more
    if bad:
        found = f"{bad[0]} holds" if len(bad) == 1 else f"{len(bad)} tensors hold"
        first = "" if len(bad) == 1 else f", first {bad[0]}"
        raise WeightsError(f"{path}: {found} NaN or infinity{first}; the training that wrote it diverged")


def _is_torch(path: Path) -> bool:
    with open_file(path) as file:
        return file.read(4) in TORCH_STARTS


def _what_it_is(path: Path, error: Exception) -> str:
    """A file that is none of weights, by its first bytes; `error` is what its reader said, for one that might have been."""
    if path.stat().st_size == 0:
        return "is empty"
    with open_file(path) as file:
        start = file.read(512)
    if "TorchScript" in str(error):
        return "is a TorchScript archive, which is a program"
    if start.startswith(TORCH_STARTS):
        return f"is a PyTorch file, or the cut-off start of one ({error})"
    if start[8:9] == b"{":
        return f"is a damaged safetensors file ({error})"
    if start[0] == 0x80 and start[1:2] in PROTOCOLS:
        return "is a pickle, which is not read, since that can execute code; save model.state_dict() with torch.save"
    if b"\0" not in start and _is_text(start):
        return "is a web page" if start.lstrip()[:5].lower() in (b"<!doc", b"<html") else "is a text"
    return f"is not a safetensors file, or is damaged ({error})"


def _is_text(start: bytes) -> bool:
    """Whether it is UTF-8, but for a character that was cut at its end."""
    return "\ufffd" not in start.decode("utf-8", errors="replace")[:-1]
