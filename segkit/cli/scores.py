"""Scores on stdout: a table of the means of each class."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from segkit.metrics import EmptyRule, Evaluation

EMPTY_IN_SHORT: dict[EmptyRule, str] = {
    "leave-out": "Both masks empty: in no mean; missed or spurious, one of them empty: overlap 0, no distance.",
    "perfect": "Both masks empty: perfect; missed or spurious, one of them empty: overlap 0, as distance the diagonal.",
    "worst": "Both masks empty, missed or spurious, one of them empty: overlap 0, as distance the diagonal.",
}

WIDTH = 120
"""Columns of the table where stdout is no terminal."""

WHOLE = 10_000
"""Columns that no table needs: a table that is too wide for its terminal is wrapped there, and loses no digits."""


def print_scores(evaluation: Evaluation) -> None:
    """One row a class, the means over the classes below; what is empty is counted beside the means."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for title in ("class", *evaluation.titles, "both empty", "missed", "spurious"):
        table.add_column(title, justify="left" if title == "class" else "right", no_wrap=True, overflow="fold")
    for name, summary in evaluation.classes.items():
        counts = (summary.both_empty, summary.missed, summary.spurious)
        table.add_row(Text(name), *map(_number, summary.means.values()), *map(str, counts))
    table.add_section()
    table.add_row("mean", *map(_number, evaluation.means.values()))
    console = Console(width=None if sys.stdout.isatty() else WIDTH, force_terminal=sys.stdout.isatty())
    console.width = max(console.width, Measurement.get(console, console.options.update(max_width=WHOLE), table).maximum)
    console.print(table)
    click.echo(f"{_count(evaluation)}. {EMPTY_IN_SHORT[evaluation.settings.empty]}")


def _count(evaluation: Evaluation) -> str:
    return "1 case" if len(evaluation.cases) == 1 else f"{len(evaluation.cases)} cases"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
