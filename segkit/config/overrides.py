"""``--set a.b=c``: single settings in place of those of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from segkit.config.names import models_in, not_there, owners_of
from segkit.config.plain_yaml import parse_yaml
from segkit.errors import SettingsError, shown
from segkit.models import plain_name


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
    owners, is_free = owners_of(key)
    name = key.rpartition(".")[2]
    if not owners:
        raise SettingsError(not_there(key))
    if is_free:
        return
    if key in ("model", "model.name") and isinstance(value, str):
        _require_network(value)
    elif isinstance(value, Mapping) and any(True for owner in owners for _ in models_in(owner.model_fields[name].annotation)):
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


def _refusal(owner: type[BaseModel], name: str, value: Any) -> str:
    """Why a setting can't have a value, whatever the others are; nothing where it can."""
    try:
        owner.model_validate({name: value})
    except ValidationError as error:
        return next((one["msg"].removeprefix("Value error, ") for one in error.errors() if one["loc"][:1] == (name,)), "")
    return ""


def replace(tree: dict[str, Any], path: str, value: Any) -> None:
    keys = path.split(".")
    for key in keys[:-1]:
        inner = tree.setdefault(key, {})
        if key == "model" and isinstance(inner, str):                      # a network by its name alone
            inner = tree[key] = {"name": inner}
        if not isinstance(inner, dict):
            raise SettingsError(f"--set {path!r}: {key} is a value, not a group of settings")
        tree = inner
    tree[keys[-1]] = value
