"""Weights to begin with, published ones for an encoder or those of another network: found, downloaded once, fitted, and told of.

>>> from segkit.models import build_encoder
>>> from segkit.pretrained import load_pretrained
>>> encoder = build_encoder("resnet34", in_channels=1)
>>> print(load_pretrained(encoder, "imagenet", name="resnet34"))            # doctest: +SKIP
~/.cache/segkit/resnet34-b627a593.pth: 215 of the encoder's 216 tensors loaded
1 adapted, from 3 channels to 1: conv1.weight
2 left out, a classifier's head: fc.weight, fc.bias
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import torch
from torch import Tensor, nn

from segkit import __version__
from segkit.checkpoint import fit_weights, read_classes, read_weights
from segkit.config import IMAGENET, is_url
from segkit.errors import SettingsError, WeightsError
from segkit.io import atomic_path
from segkit.models import ENCODERS, build_encoder
from segkit.models.attention import ATTENTIONS

OFFICIAL = "https://download.pytorch.org/models/"
"""Where torchvision's weights lie. Their names end in the first digits of their sha256."""

OFFICIAL_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet152": "resnet152-394f9c45.pth",
    "resnext50_32x4d": "resnext50_32x4d-7cdf4587.pth",
    "resnext101_32x8d": "resnext101_32x8d-8ba56ff5.pth",
    "wide_resnet50_2": "wide_resnet50_2-95faca4d.pth",
    "wide_resnet101_2": "wide_resnet101_2-32ee1156.pth",
    "mobilenet_v2": "mobilenet_v2-b0353104.pth",
    "shufflenet_v2_x1_0": "shufflenetv2_x1-5666bf0f80.pth",
}
"""Encoder -> its weights of ImageNet's 1000 classes, the first published version (IMAGENET1K_V1)."""

HEADS = ("fc.", "classifier.")
"""What the names of a classifier's last layer begin with."""

WHOLE = "encoder."
"""What the names of an encoder's weights begin with in a whole network of segkit."""

CLASS_HEADS = ("head.", "side_heads.")
"""What the names of the tensors begin with that stand for classes, in a whole network of segkit."""

TIMEOUT = 30.0
"""Seconds without a byte after which a download is given up."""

CHUNK = 1 << 20
"""Bytes that are read at once."""

SHOWN = 4
"""Names of tensors in one line of a report; the report's fields have them all."""

COUNTER = "num_batches_tracked"

STATISTICS = ("running_mean", "running_var", COUNTER)
"""What batch norms hold besides scale and shift."""

STEM, ATTENTION = "conv1.", ".attention."
"""In the names of a ResNet's first convolutions, and of what stands at the end of its branches."""

MISSHAPEN = "of another shape in the file"
NOT_THERE = "not in the file"

Told = Callable[[str, int, int], None]
"""(name, bytes that are there, bytes in all or 0 where the server does not say): called while a file is downloaded."""


def silent(name: str, done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Report:
    """What became of each tensor: of the encoder's, all are in loaded, adapted or fresh; of the file's, all in loaded, adapted or left_out.

    source : file or name of the weights
    loaded : names that were taken as they are
    adapted, fresh, left_out : name -> how, or why
    unwrapped : what was done to reach the weights in their file
    owner : what the weights are for, "encoder" or "network"
    classes : class -> the one in the file whose rows of the heads it has, None for one that starts fresh; empty where names are not known
    """

    source: str
    loaded: tuple[str, ...]
    adapted: Mapping[str, str]
    fresh: Mapping[str, str]
    left_out: Mapping[str, str]
    unwrapped: tuple[str, ...] = ()
    owner: str = "encoder"
    classes: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Tensors of the encoder, or of the network."""
        return len(self.loaded) + len(self.adapted) + len(self.fresh)

    def lines(self) -> list[str]:
        """A line of numbers, then one for each thing that was done and its reason."""
        lines = [f"{self.source}: {len(self.loaded)} of the {self.owner}'s {self.total} tensors loaded", *self.unwrapped]
        for what, found in (("adapted", self.adapted), ("started fresh", self.fresh), ("left out", self.left_out)):
            for reason in dict.fromkeys(found.values()):
                names = [name for name in found if found[name] == reason]
                lines.append(f"{len(names)} {what}, {reason}: {_shorten(names)}")
        if any(name != known for name, known in self.classes.items()):
            lines += [f"class {name}: {'starts fresh' if known is None else f'goes on as {known}'}" for name, known in self.classes.items()]
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def load_pretrained(encoder: nn.Module, weights: str | Path, *, name: str | None = None, folder: Path | None = None, told: Told = silent) -> Report:
    """Put published weights into an encoder.

    Parameters
    ----------
    weights : "imagenet", or a file or URL with the weights of an encoder, a classifier or a whole network, or the folder of a run
    name : which encoder it is; "imagenet" asks, and weights that don't fit are told of in its words
    folder : for downloads; None for `default_folder`
    told : hears of a download

    Raises
    ------
    SettingsError
        There are no ImageNet weights for `name`, or the URL is of a kind that is not read.
    VanishedError, WeightsError
        No such file; it can't be downloaded, can't be read without executing it, or is of another network.
    """
    if weights == IMAGENET:
        weights = official_url(name)
    path = fetch(str(weights), folder or default_folder(), told) if is_url(str(weights)) else Path(weights)
    content, unwrapped = read_weights(path)
    return replace(fit_encoder(encoder, content, str(path), name=name), unwrapped=tuple(unwrapped))


def load_network(network: nn.Module, path: Path, classes: Sequence[str] = ()) -> Report:
    """Begin with the weights of another network of segkit, as `fit_network` does; `classes` are the names of the network's own.

    Raises
    ------
    VanishedError, WeightsError
        No such file; it can't be read without executing it, or is of another network.
    """
    content, unwrapped = read_weights(path)
    known = read_classes(path) if classes else ()
    return replace(fit_network(network, content, str(path), match_classes(classes, known)), unwrapped=tuple(unwrapped))


def default_folder() -> Path:
    """``$SEGKIT_HOME``, or else segkit in the user's cache folder: ``$XDG_CACHE_HOME`` or ~/.cache."""
    home = os.environ.get("SEGKIT_HOME")
    return Path(home).expanduser() if home else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segkit"


def official_url(encoder: str | None) -> str:
    """Of torchvision's ImageNet weights for an encoder; its forms with attention have those of the trunk.

    Raises
    ------
    SettingsError
        There are none.
    """
    if encoder is None:
        raise SettingsError(f"{IMAGENET}: say which encoder it is, for example name='resnet34'")
    trunk = trunk_of(encoder)
    if trunk not in OFFICIAL_FILES:
        raise SettingsError(f"{IMAGENET}: torchvision has no weights for {encoder}; it has some for {', '.join(OFFICIAL_FILES)}; or give a file or a URL")
    return OFFICIAL + OFFICIAL_FILES[trunk]


def trunk_of(encoder: str) -> str:
    """ "se_resnet34" -> "resnet34": the encoder without attention."""
    attention, _, rest = encoder.partition("_")
    return rest if attention in ATTENTIONS else encoder


def fetch(url: str, folder: Path, told: Told = silent) -> Path:
    """The file behind a URL, downloaded once: a file that is there already is used, and then no network is needed.

    An official file must have the sha256 that its name tells, each time. A ``file:`` URL is read where it lies.

    Raises
    ------
    SettingsError
        It is no URL, or not one of https, http, file.
    WeightsError
        It can't be downloaded, comes incomplete, or is another file than its name tells.
    WriteError
        The folder can't be written to.
    """
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError as error:
        raise SettingsError(f"{url}: is no URL ({error})") from error
    if scheme == "file":
        return Path(urllib.request.url2pathname(urlsplit(url).path))
    if scheme not in ("https", "http"):
        raise SettingsError(f"{url}: {scheme} is not read; give an https, http or file URL, or a path")
    path = place(url, folder)
    if path.is_file():
        _require_right_file(path, url, path)
        return path
    try:
        with atomic_path(path) as temporary:
            with temporary.open("wb") as file:
                for chunk in _chunks(url, path, told):
                    file.write(chunk)
            _require_right_file(temporary, url, path)
    except BaseException:
        if path.parent != folder:
            with suppress(OSError):                                      # it is kept where anything else lies in it
                path.parent.rmdir()
        raise
    return path


def place(url: str, folder: Path) -> Path:
    """Where a download lies: FOLDER/NAME for an official file, FOLDER/8 digits/NAME for others, many of which are called model.pth."""
    name = re.sub(r"[^\w.+-]", "_", PurePosixPath(unquote(urlsplit(url).path)).name).lstrip(".") or "weights"
    return folder / name if url.startswith(OFFICIAL) else folder / hashlib.sha256(url.encode()).hexdigest()[:8] / name


def _chunks(url: str, path: Path, told: Told) -> Iterator[bytes]:
    """The bytes behind a URL; whatever goes wrong on the way says where the file can be put by hand."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": f"segkit/{__version__}"}), timeout=TIMEOUT) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise HTTPException("it answers with a web page instead of a file")
            done, total = 0, int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(CHUNK):
                done += len(chunk)
                told(path.name, done, total)
                yield chunk
            if done < total:
                raise HTTPException(f"the connection broke off after {done} of {total} bytes")
    except (OSError, HTTPException, ValueError) as error:
        why = error.reason if type(error) is urllib.error.URLError else error  # an HTTPError has its number in its text only
        raise WeightsError(f"{url}: can't be downloaded ({why}); download it elsewhere and put it at {path}, or give pretrained: PATH") from error


def _require_right_file(file: Path, url: str, path: Path) -> None:
    """The sha256 of an official file begins as its name says; another file is removed."""
    digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if digits is None or not url.startswith(OFFICIAL):
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if not found.startswith(digits[1]):
        file.unlink()
        found = found[: len(digits[1])]
        raise WeightsError(f"{path}: its sha256 begins with {found}, that of {url} with {digits[1]}; it was removed, run again to download it")


Rows: TypeAlias = Mapping[str, tuple[int, str] | None]
"""Class, in the order of a network's logits -> (row, name) of the same class in a file; None where that knows no such class."""


def match_classes(own: Sequence[str], known: Sequence[str]) -> Rows:
    """Each class is the one of its name, and the background, which is first, is the background whatever it is called; nothing where names are not known.

    >>> match_classes(["background", "artery", "nerve"], ["ground", "nerve", "vessel"])
    {'background': (0, 'ground'), 'artery': None, 'nerve': (1, 'nerve')}
    """
    if not own or not known:
        return {}
    rows = {name: (known.index(name), name) if name in known else None for name in own}
    if rows[own[0]] is None and known[0] not in own:
        rows[own[0]] = (0, known[0])
    return rows


def fit_network(network: nn.Module, weights: Mapping[str, Tensor], source: str = "the weights", rows: Rows | None = None) -> Report:
    """Load all of a network; the first convolution is adapted to another number of channels, and the heads to other classes.

    With `rows` a class that the file knows keeps its rows of the heads, so that its logits are what they were, and a new one starts fresh.
    Without them heads of another shape start fresh as a whole.

    Raises
    ------
    WeightsError
        Another part is missing, left over, or of another shape; then nothing was changed.
    """
    own = network.state_dict()
    stem, (kept, kept_rows) = _adapt_stem(own, weights), _fit_heads(own, weights, rows or {})
    adapted, told = {**stem, **kept}, {**{key: _from_channels(weights[key], own[key]) for key in stem}, **kept_rows}
    heads = {key for key in own if key.startswith(CLASS_HEADS) and key not in adapted}
    unfit = {key for key in heads if key not in weights or weights[key].shape != own[key].shape or (rows and not _is_same(rows, len(weights[key])))}
    surplus = {key for key in weights if key.startswith(CLASS_HEADS) and key not in own}
    fitted = {key: value for key, value in weights.items() if key not in unfit | surplus}
    fit_weights(network, {**fitted, **{key: own[key] for key in unfit}, **adapted}, source)
    fresh = {key: _why_unfit(key, own, weights) for key in own if key in unfit}
    left_out = {key: _why_unfit(key, own, weights) for key in weights if key in unfit | surplus}
    loaded = tuple(key for key in own if key not in unfit and key not in adapted)
    classes = {name: None if row is None else row[1] for name, row in (rows or {}).items()}
    return Report(source, loaded, told, fresh, left_out, owner="network", classes=classes)


def _fit_heads(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], rows: Rows) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The heads that share some classes with those of the file, or have them in another order: (tensors, how they were adapted)."""
    kept = {number: row for number, row in enumerate(rows.values()) if row is not None}
    fitted, told = {}, {}
    for key, value in own.items():
        if not key.startswith(CLASS_HEADS) or key not in weights or not kept or weights[key].shape[1:] != value.shape[1:] or _is_same(rows, len(weights[key])):
            continue
        fitted[key] = value.clone()
        for number, (row, _) in kept.items():
            fitted[key][number] = weights[key][row]
        told[key] = f"rows of {', '.join(name for _, name in kept.values())}"
    return fitted, told


def _is_same(rows: Rows, count: int) -> bool:
    """Whether these are all `count` classes of the file, in its order."""
    return [None if row is None else row[0] for row in rows.values()] == list(range(count))


def _why_unfit(key: str, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    if key not in own:
        return "a head that the network lacks"
    if key not in weights:
        return NOT_THERE
    return MISSHAPEN if own[key].shape != weights[key].shape else "of other classes in the file"


def fit_encoder(encoder: nn.Module, weights: Mapping[str, Tensor], source: str = "the weights", *, name: str | None = None) -> Report:
    """Load what fits, by name and shape; the first convolution is adapted to another number of channels.

    The weights may be those of an encoder, of a classifier, or of a whole network of segkit. The encoder's other tensors stay as they are.
    `name` is the encoder's, for a message.

    Raises
    ------
    WeightsError
        They are known as another encoder's, are only a part of this one's, or fewer than half of its tensors have a counterpart; then nothing was changed.
    """
    own, prefix = encoder.state_dict(), _prefix(weights)
    given = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    _require_same(own, given, source, name)
    fitted = {key: given[key] for key, value in own.items() if key in given and given[key].shape == value.shape}
    loaded, adapted = tuple(fitted), _adapt_stem(own, given)
    fitted |= adapted
    if 2 * len(fitted) < len(own):
        raise WeightsError(f"{source}: holds weights of another network, {len(fitted)} of the encoder's {len(own)} tensors fit; {_whose(given, own, name)}")
    _require_whole(own, given, source)
    encoder.load_state_dict(fitted, strict=False)
    fresh = {key: MISSHAPEN if key in given else NOT_THERE for key in own if key not in fitted}
    left_out = {prefix + key: _why_left_out(key, own) for key in given if key not in fitted}
    left_out |= {key: "not of an encoder" for key in weights if not key.startswith(prefix)}
    return Report(source, loaded, {key: _from_channels(given[key], own[key]) for key in adapted}, fresh, left_out)


def _require_same(own: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str, name: str | None) -> None:
    """WeightsError where both are known and differ: the first blocks of a deeper ResNet would fit, but they do half of a work that is then not finished."""
    ours = {key for key, value in own.items() if value.ndim > 1 and not _may_lack(key)}
    if ours <= given.keys() and all(key in own or value.ndim < 2 or _may_lack(key) or key.startswith(HEADS) for key, value in given.items()):
        return                                                             # nothing is over or missing: no need to know all encoders, which takes seconds
    mine, theirs = name or recognise(own), recognise(given)
    if mine in ENCODERS and theirs is not None and trunk_of(mine) != trunk_of(theirs):
        raise WeightsError(f"{source}: holds weights of {theirs}, the encoder is {mine}; set model.encoder to {theirs}, or give other weights")


def _require_whole(own: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """WeightsError where a part of the encoder is missing in the file that published files have."""
    missing = [key for key in own if key not in given and not _may_lack(key)]
    if not missing:
        return
    if all(key.endswith(STATISTICS) for key in missing):
        raise WeightsError(f"{source}: is of an encoder with another norm, without {_shorten(missing)}; set model.norm as it was there, or give other weights")
    raise WeightsError(f"{source}: holds a part of the encoder only, it lacks {_shorten(missing)}; give a file with all of it")


def _may_lack(key: str) -> bool:
    """Published files lack attention, may have another stem, and old ones lack the counters of batch norms: these start fresh."""
    return key.startswith(STEM) or ATTENTION in key or key.endswith(COUNTER)


def _adapt_stem(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first convolution by its name, where it differs from the network's own in the channels of the picture alone; else nothing."""
    stem = next((key for key, value in own.items() if value.ndim == 4), "")
    if stem not in given or given[stem].shape == own[stem].shape or not _differs_in_channels(given[stem], own[stem]):
        return {}
    return {stem: adapt_channels(given[stem], own[stem].shape[1])}


def _from_channels(found: Tensor, wanted: Tensor) -> str:
    return f"from {found.shape[1]} channel{'s' if found.shape[1] > 1 else ''} to {wanted.shape[1]}"


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """(O, M, h, w) -> (O, channels, h, w).

    Summed for one channel: a grey picture is answered as the same picture in M equal channels was. Otherwise the M are taken in turn,
    0, 1, 2, 0, ..., and scaled by M / channels, so that the answer keeps its size.
    """
    given = weight.shape[1]
    if channels == 1:
        return weight.float().sum(dim=1, keepdim=True)
    return weight.float()[:, torch.arange(channels) % given] * (given / channels)


def recognise(weights: Mapping[str, Tensor]) -> str | None:
    """The encoder that has most in common with these weights, by names and shapes of all but norms; None where none has two thirds."""
    trunk = {key: value.shape for key, value in weights.items() if value.ndim > 1 and not key.startswith(HEADS)}
    shares: dict[str, float] = {}
    for name in ENCODERS:
        own = _shapes_of(name)
        shares[name] = sum(trunk.get(key) == shape for key, shape in own.items()) / max(len(own), len(trunk))
    best = max(shares, key=shares.__getitem__)
    return best if shares[best] > 2 / 3 else None


@cache
def _shapes_of(name: str) -> dict[str, torch.Size]:
    with torch.device("meta"):                                           # takes no memory
        return {key: value.shape for key, value in build_encoder(name).state_dict().items() if value.ndim > 1}


def _prefix(weights: Mapping[str, Tensor]) -> str:
    """What stands in front of the names of the encoder's tensors: something in a whole network, nothing otherwise."""
    return WHOLE if any(key.startswith(WHOLE) for key in weights) else ""


def _differs_in_channels(found: Tensor, wanted: Tensor) -> bool:
    return found.ndim == 4 and found.shape[1] > 0 and found.shape[0] == wanted.shape[0] and found.shape[2:] == wanted.shape[2:]


def _why_left_out(key: str, own: Mapping[str, Tensor]) -> str:
    if key in own:
        return MISSHAPEN
    layer, _, what = key.rpartition(".")
    if what in STATISTICS and f"{layer}.weight" in own:
        return "statistics of batch norms, in whose place the encoder has others: it begins further from the published network"
    return "a classifier's head" if key.startswith(HEADS) else "no such part in the encoder"


def _whose(given: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str | None) -> str:
    """Which encoder these weights are of; where it is the same in another form, one tensor that shows so."""
    known = recognise(given)
    if known is not None and known != name:
        return f"they are of {known}: set model.encoder to it, or give other weights"
    alike = [key for key in own if key in given]
    differing = next((key for key in alike if given[key].shape != own[key].shape), None)
    if differing is not None and (known is not None or 2 * len(alike) >= len(own)):
        shapes = f"{differing} has {tuple(given[differing].shape)}, wants {tuple(own[differing].shape)}"
        return f"they are of the same encoder with other options (model.feature_scale, …): {shapes}; set them alike, or give other weights"
    return f"it holds {_shorten(list(given))}"


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f", … ({len(names) - SHOWN} more)" if len(names) > SHOWN else "")
