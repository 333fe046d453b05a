"""Networks: settings in, an `nn.Module` out that turns (B, C, H, W) into (B, K, H, W) logits.

A new architecture is a file with its settings and its class, and a line in `MODELS`.
"""

from __future__ import annotations

import difflib
from typing import Any, TypeAlias

from pydantic import ValidationError
from torch import nn

from segkit.errors import SettingsError
from segkit.models.unet import UNet, UNetSettings

ModelSettings: TypeAlias = UNetSettings

MODELS: dict[str, tuple[type[ModelSettings], type[UNet]]] = {"unet": (UNetSettings, UNet)}


def build_model(settings: ModelSettings | str, **options: Any) -> nn.Module:
    """A freshly initialised network.

    ``build_model(run.model)`` or ``build_model("unet", feature_scale=4, in_channels=1, num_classes=3)``.

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
    try:
        return network(kind(**options))
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"build_model({settings!r}): {'.'.join(map(str, first['loc']))}: {first['msg']} (given: {first['input']!r})") from error


__all__ = ["MODELS", "ModelSettings", "UNet", "UNetSettings", "build_model"]
