"""What the values in masks mean, as it is typed: --labels NAME=VALUE,... and --mask-threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from segkit.errors import SettingsError

if TYPE_CHECKING:
    from segkit.labels import Labels

labels_option = click.option(
    "--labels", metavar="NAME=VALUE,...", help="What the values in the masks mean: nerve=1,vessel=2 (and background=0 unless named; ignore=255)."
)
threshold_option = click.option(
    "--mask-threshold", type=float, help="For two classes whose masks are not clean: above it a pixel counts as the larger value."
)


def parse_labels(text: str | None, threshold: float | None = None, *, zero_is_background: bool = False) -> Labels | None:
    """``nerve=1,vessel=2`` -> `Labels`; the background goes first, and is 0, or black among colours, unless it is named.

    With `zero_is_background` what has the value 0 is the background where nothing is called so, and keeps its name.

    Raises
    ------
    SettingsError
        No such list; a class that has the value of the background; a threshold without labels.
    """
    if text is None:
        if threshold is not None:
            raise SettingsError(f"--mask-threshold {threshold:g}: needs two labels as in --labels background=0,vessel=255")
        return None
    labels = _labels(text, zero_is_background)
    return labels if threshold is None else replace(labels, threshold=threshold)


def _labels(text: str, zero_is_background: bool) -> Labels:
    from segkit.labels import Labels

    values = _values(text)
    ignore = values.pop("ignore", None)
    zero = next((name for name, value in values.items() if value == 0), None) if zero_is_background else None
    if "background" not in values and zero is None:
        values = {"background": _implied(values, ignore, text), **values}
    first = "background" if "background" in values else str(zero)
    return Labels.from_mapping({first: values[first], **values}, ignore=ignore)


def _values(text: str) -> dict[str, int | str]:
    values: dict[str, int | str] = {}
    for item in text.split(","):
        name, _, value = (part.strip() for part in item.partition("="))
        if not name or name in values or not (value.startswith("#") or value.isdecimal()):
            raise SettingsError(f"--labels {text}: {item!r} is no NAME=VALUE as in nerve=1 or nerve=#ff0000, or its name stands there twice")
        values[name] = value if value.startswith("#") else int(value)
    return values


def _implied(values: dict[str, int | str], ignore: int | str | None, text: str) -> int | str:
    """The value of the background: black among colours, 0 among numbers, unless that is taken."""
    background: int | str = "#000000" if any(isinstance(value, str) for value in values.values()) else 0
    taken = [name for name, value in [*values.items(), ("ignore", ignore)] if value == background]
    if taken:
        raise SettingsError(f"--labels {text}: {taken[0]} has the value that the background has unless it is named; add background=VALUE")
    return background
