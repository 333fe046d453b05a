"""Networks: settings in, an `nn.Module` out that turns (B, C, H, W) into (B, K, H, W) logits.

A new architecture is a file with its settings and its class, and a line in `MODELS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import Field, ValidationError
from torch import nn

from segkit.errors import SettingsError, nearest, shown
from segkit.models.encoders import ENCODERS, Encoder, EncoderSettings
from segkit.models.encoders.settings import require_name
from segkit.models.settings import NetworkSettings
from segkit.models.unet import UNet, UNetSettings
from segkit.models.unetplusplus import UNetPlusPlus, UNetPlusPlusSettings

ModelSettings: TypeAlias = Annotated[UNetSettings | UNetPlusPlusSettings, Field(discriminator="name")]

MODELS: dict[str, tuple[type[NetworkSettings], Callable[[Any], nn.Module]]] = {
    "unet": (UNetSettings, UNet),
    "unetplusplus": (UNetPlusPlusSettings, UNetPlusPlus),
}

COMBINATIONS: dict[str, dict[str, Any]] = {
    "cpfnet": {"name": "unet", "encoder": "resnet34", "skip": "gpg", "bottleneck": "sapf"},
}
"""Networks of papers that are parts put together; Feng 2020, https://doi.org/10.1109/TMI.2020.2983721."""

Checked = TypeVar("Checked", bound=EncoderSettings)


def plain_name(name: str) -> str:
    """As it stands in `MODELS` or `COMBINATIONS`: "UNet", "U-Net" and "unet++" are understood.

    Raises
    ------
    ValueError
        No network is called so.
    """
    if not is_name(name):
        require_name("model", name, (*MODELS, *COMBINATIONS))
    return _plain(name)


def is_name(text: str) -> bool:
    """Whether a network is called so, one way or another."""
    return _plain(text) in (*MODELS, *COMBINATIONS)


def _plain(text: str) -> str:
    return text.lower().replace("u-net", "unet").replace("++", "plusplus")


def spell_out(options: Mapping[str, Any] | str) -> dict[str, Any]:
    """Settings of a model, or its name alone -> settings with the name of a combination replaced by its parts; what is given besides replaces a part.

    Raises
    ------
    ValueError
        No network has that name.
    """
    options = {"name": options} if isinstance(options, str) else options
    name = options.get("name", "unet")
    if not isinstance(name, str):
        return dict(options)                                               # refused where the settings are checked
    parts = COMBINATIONS.get(plain_name(name), {"name": plain_name(name)})
    return {**parts, **{key: options[key] for key in options if key != "name"}}


def build_model(settings: NetworkSettings | str, **options: Any) -> nn.Module:
    """A freshly initialised network.

    ``build_model(run.model)`` or ``build_model("unet", encoder="resnet34", skip="cbam", in_channels=1, num_classes=3)`` or ``build_model("cpfnet")``.

    Raises
    ------
    SettingsError
        No network has that name, one of the options is not a setting of it, or two of them don't go together; or options beside a settings object.
    """
    if not isinstance(settings, (str, NetworkSettings)):
        raise SettingsError(f"{shown(settings)} is no network; give a name, one of {', '.join([*MODELS, *COMBINATIONS])}, or settings such as UNetSettings()")
    if not isinstance(settings, str):
        if options:
            given = type(settings).__name__
            raise SettingsError(f"build_model was given a {given} and beside it {', '.join(options)}; give what is beside it to {given} itself")
        return MODELS[settings.name][1](settings)  # type: ignore[attr-defined]
    call = f"build_model({settings!r})"
    try:
        spelled = spell_out({"name": settings, **options})
    except ValueError as error:
        raise SettingsError(f"{call}: {error}") from error
    kind, network = MODELS[spelled["name"]]
    return network(_check(kind, spelled, call))


def build_encoder(name: str, **options: Any) -> Encoder:
    """An encoder by itself: a picture -> five maps, finest first. It says their `widths` and `strides`.

    ``build_encoder("resnet34", in_channels=1, output_stride=16)``

    Raises
    ------
    SettingsError
        No encoder has that name, or it has no such option.
    """
    settings = _check(EncoderSettings, {"encoder": name, **options}, f"build_encoder({name!r})")
    return ENCODERS[name](settings, None)


def build_classifier(name: str, num_classes: int = 1000, **options: Any) -> nn.Module:
    """The classification network that an encoder is the trunk of, (B, C, H, W) -> (B, num_classes): for published counts and foreign checkpoints.

    Raises
    ------
    SettingsError
        No encoder has that name, it has no such option, or it is no classifier's trunk; `num_classes` is no number of classes.
    """
    if type(num_classes) is not int or num_classes < 1:
        raise SettingsError(f"build_classifier({name!r}): num_classes is {shown(num_classes)}; expected a whole number from 1 on")
    settings = _check(EncoderSettings, {"encoder": name, **options}, f"build_classifier({name!r})")
    return ENCODERS[name](settings, num_classes)


def _check(kind: type[Checked], options: dict[str, Any], call: str) -> Checked:
    try:
        return kind(**options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            hint = nearest(where, kind.model_fields) or f"it has: {', '.join(kind.model_fields)}"
            raise SettingsError(f"{call}: {where} is not a setting of {kind.__name__}; {hint}") from error
        given = f" (given: {shown(first['input'])})" if where else ""
        raise SettingsError(f"{call}: {where}{': ' if where else ''}{first['msg'].removeprefix('Value error, ')}{given}") from error


__all__ = [
    "COMBINATIONS",
    "ENCODERS",
    "MODELS",
    "Encoder",
    "EncoderSettings",
    "ModelSettings",
    "NetworkSettings",
    "UNet",
    "UNetPlusPlus",
    "UNetPlusPlusSettings",
    "UNetSettings",
    "build_classifier",
    "build_encoder",
    "build_model",
    "is_name",
    "plain_name",
    "spell_out",
]
