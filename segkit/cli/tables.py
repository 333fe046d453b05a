"""Tables on stdout: drawn on a terminal, elsewhere plain text with one line a row, for `grep` and `column`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

import click


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[str] = (), once: Collection[str] = ()) -> None:
    """A title, a table, an empty line. Columns in `numbers` are flush right; those in `once` leave out, where drawn, what the row above says already."""
    if sys.stdout.isatty():
        _draw(title, columns, _without_repeats(columns, rows, once), numbers)
    else:
        click.echo("\n".join([title, *_align(columns, rows, numbers)]))
    click.echo()


def magnitude(count: int, sign: str = "") -> str:
    """1_814_073_344 -> "1.81 G"; with sign "+" also in front of what is not negative."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if abs(count) >= size:
            return f"{count / size:{sign}.2f} {unit}"
    return f"{count:{sign}}"


def _draw(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=column in numbers or column == columns[0], overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _without_repeats(columns: Sequence[str], rows: Sequence[Sequence[str]], once: Collection[str]) -> list[list[str]]:
    above: Sequence[Sequence[str]] = [[""] * len(columns), *rows]
    return [
        ["" if name in once and cell == before else cell for name, cell, before in zip(columns, row, previous, strict=True)]
        for row, previous in zip(rows, above, strict=False)
    ]


def _align(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[str]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    lines = []
    for row in (columns, *rows):
        cells = [cell.rjust(width) if name in numbers else cell.ljust(width) for name, cell, width in zip(columns, row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines
