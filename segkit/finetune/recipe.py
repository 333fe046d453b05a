"""Settings with their reasons, there and back: a list that rules write, a tree that `segkit.config` checks, YAML that people read."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from segkit.config import parse_override

BESIDE = 110
"""A comment stands behind its setting where both fit into so many columns, else above it."""

PLAIN = re.compile(r"[A-Za-z_][\w./-]*( [\w./-]+)*")
"""Text that YAML takes for text without quotes, but for `WORDS`."""

WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True)
class Setting:
    """A setting by its place, "train.patch" or "description", and why it is so; without a reason it needs none."""

    key: str
    value: Any
    reason: str = ""

    @property
    def room(self) -> str:
        """ "train" of "train.patch"; nothing for what stands by itself."""
        return self.key.rpartition(".")[0]


@dataclass(frozen=True)
class Recipe:
    """All settings of a run that are not the defaults, in the order of the file; `heading` is said on top of it."""

    heading: tuple[str, ...]
    settings: tuple[Setting, ...]

    def __getitem__(self, key: str) -> Any:
        return next(setting.value for setting in self.settings if setting.key == key)

    def reasons(self) -> list[dict[str, Any]]:
        """For a record: what, and why."""
        return [{"setting": setting.key, "value": setting.value, "reason": setting.reason} for setting in self.settings]

    def with_overrides(self, texts: Iterable[str]) -> Recipe:
        """The settings with those of ``"a.b=c"`` texts in their place, whole groups before what is in them, as `segkit.config.load_run` does.

        Raises
        ------
        SettingsError
            A text that is no ``a.b=value``.
        """
        recipe = self
        for key, value in sorted(map(parse_override, texts), key=lambda change: change[0].count(".")):
            recipe = recipe._with(key, value)
        return recipe

    def _with(self, key: str, value: Any) -> Recipe:
        """One setting replaced, within a group of settings too; a group replaces all that stood in it."""
        settings = list(self.settings)
        groups = (number for number, setting in enumerate(settings) if isinstance(setting.value, Mapping) and key.startswith(f"{setting.key}."))
        around = next(groups, None)
        if around is not None:
            outer = settings[around]
            settings[around] = replace(outer, value=_put(outer.value, key.removeprefix(f"{outer.key}.").split("."), value), reason=f"{key} is given with --set")
            return replace(self, settings=tuple(settings))
        given = Setting(key, value, "given with --set")
        inside = [number for number, setting in enumerate(settings) if setting.key == key or setting.key.startswith(f"{key}.")]
        kept = [setting for number, setting in enumerate(settings) if number not in inside]
        place = inside[0] if inside else next((number + 1 for number in reversed(range(len(kept))) if kept[number].room == given.room), len(kept))
        return replace(self, settings=(*kept[:place], given, *kept[place:]))

    def to_yaml(self) -> str:
        """A file that `segkit.config.load_run` reads, each reason beside its setting."""
        lines = [f"# {line}" for line in self.heading]
        rooms = dict.fromkeys(setting.room for setting in self.settings)
        for room in rooms:
            lines += ["", *([f"{room}:"] if room else [])]
            lines += _lines([setting for setting in self.settings if setting.room == room], "  " if room else "")
        return "\n".join(lines) + "\n"


def _put(group: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    changed = dict(copy.deepcopy(group))
    changed[path[0]] = value if len(path) == 1 else _put(changed.get(path[0], {}), path[1:], value)
    return changed


def _lines(settings: Sequence[Setting], indent: str) -> list[str]:
    """Comments behind short settings stand in one column."""
    texts = [f"{indent}{setting.key.rpartition('.')[2]}: {flow(setting.value)}" for setting in settings]
    column = max((len(text) for text, setting in zip(texts, settings, strict=True) if _fits(text, setting.reason)), default=0)
    lines = []
    for text, setting in zip(texts, settings, strict=True):
        reason = " ".join(setting.reason.split())
        if not reason:
            lines.append(text)
        elif _fits(text, reason):
            lines.append(f"{text.ljust(column)}  # {reason}")
        else:
            lines += [f"{indent}# {reason}", text]
    return lines


def _fits(text: str, reason: str) -> bool:
    return bool(reason) and len(text) + len(reason) <= BESIDE


def flow(value: Any) -> str:
    """Plain data in one line of YAML: ``{kind: long_side, pixels: 128}``, ``[128, 128]``."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    return json.dumps(value if isinstance(value, str | int | float | None) else str(value), ensure_ascii=False)
