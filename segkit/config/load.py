"""A run's settings from its file, or from a tree of plain data, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from segkit.config.names import explain
from segkit.config.overrides import check_overrides, replace
from segkit.config.plain_yaml import parse_yaml
from segkit.config.settings import RunConfig, at_home, is_path
from segkit.errors import SettingsError, VanishedError
from segkit.models import is_name

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
        replace(tree, key, value)
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


def validate_run(tree: Mapping[str, Any], name: str) -> RunConfig:
    """A checked `RunConfig`; the first mistake becomes a one-line SettingsError that begins with `name`."""
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(f"{name}: {explain(error, RunConfig)}") from error
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error
