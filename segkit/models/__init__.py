"""Networks: settings in, an `nn.Module` out that turns (B, C, H, W) into (B, K, H, W) logits.

A new architecture is a file with its settings and its class, and a line in `MODELS`.
"""

from __future__ import annotations

import difflib
from typing import Any, TypeAlias, TypeVar

from pydantic import ValidationError
from torch import nn

from segkit.errors import SettingsError
from segkit.models.encoders import ENCODERS, Encoder, EncoderSettings
from segkit.models.unet import UNet, UNetSettings

ModelSettings: TypeAlias = UNetSettings
Checked = TypeVar("Checked", bound=EncoderSettings)

MODELS: dict[str, tuple[type[ModelSettings], type[nn.Module]]] = {"unet": (UNetSettings, UNet)}


def build_model(settings: ModelSettings | str, **options: Any) -> nn.Module:
    """A freshly initialised network.

    ``build_model(run.model)`` or ``build_model("unet", encoder="resnet34", skip="cbam", in_channels=1, num_classes=3)``.

    Raises
    ------
    SettingsError
        No network has that name, or one of the options is not a setting of it.
    """
    if not isinstance(settings, str):
        return MODELS[settings.name][1](settings)
    if settings not in MODELS:
        close = difflib.get_close_matches(settings, MODELS, n=1)
        raise SettingsError(f"no model is called {settings!r}{f'; did you mean {close[0]}?' if close else ''}; there are: {', '.join(MODELS)}")
    kind, network = MODELS[settings]
    return network(_check(kind, options, f"build_model({settings!r})"))


def build_encoder(name: str, **options: Any) -> Encoder:
    """An encoder by itself: a picture -> five maps, finest first. It says their `widths` and `strides`.

    ``build_encoder("resnet34", in_channels=1, output_stride=16)``

    Raises
    ------
    SettingsError
        No encoder has that name, or it has no such option.
    """
    return ENCODERS[name](_check(EncoderSettings, {"encoder": name, **options}, f"build_encoder({name!r})"), None)


def build_classifier(name: str, num_classes: int = 1000, **options: Any) -> nn.Module:
    """The classification network that an encoder is the trunk of, (B, C, H, W) -> (B, num_classes): for published counts and foreign checkpoints.

    Raises
    ------
    SettingsError
        No encoder has that name, it has no such option, or it is no classifier's trunk.
    """
    return ENCODERS[name](_check(EncoderSettings, {"encoder": name, **options}, f"build_classifier({name!r})"), num_classes)


def _check(kind: type[Checked], options: dict[str, Any], call: str) -> Checked:
    try:
        return kind(**options)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        given = f" (given: {first['input']!r})" if first["loc"] else ""
        raise SettingsError(f"{call}: {where}{first['msg'].removeprefix('Value error, ')}{given}") from error


__all__ = ["ENCODERS", "MODELS", "EncoderSettings", "ModelSettings", "UNet", "UNetSettings", "build_classifier", "build_encoder", "build_model"]
