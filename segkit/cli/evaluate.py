"""`segkit evaluate`: masks and the truth in, scores out."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from segkit.metrics import DEFAULT_METRICS, DEFAULT_SETTINGS, METRICS, EmptyRule, ScoreSettings

if TYPE_CHECKING:
    from segkit.labels import Labels
    from segkit.metrics import Evaluation


EMPTY_IN_SHORT: dict[EmptyRule, str] = {
    "leave-out": "Both masks empty: in no mean; missed or spurious, one of them empty: overlap 0, no distance.",
    "perfect": "Both masks empty: perfect; missed or spurious, one of them empty: overlap 0, as distance the diagonal.",
    "worst": "Both masks empty, missed or spurious, one of them empty: overlap 0, as distance the diagonal.",
}

WIDTH = 120
"""Columns of the table where stdout is no terminal."""

WHOLE = 10_000
"""Columns that no table needs: a table that is too wide for its terminal is wrapped there, and loses no digits."""


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option("--labels", metavar="NAME=VALUE,...", help="What the values in the masks mean: nerve=1,vessel=2 (and background=0 unless named; ignore=255).")
@click.option("--split", help="With a manifest as TRUTH: only the rows of this split.")
@click.option("--images", type=click.Path(path_type=Path), help="With a folder as TRUTH: folder of the pictures, which say the spacing.")
@click.option("--spacing", metavar="MM,MM", help="Of files that hold none: row,column or slice,row,column. Without it distances are in pixels.")
@click.option("--mask-threshold", type=float, help="For two classes whose masks are not clean: above it a pixel counts as the larger value.")
@click.option("--pages", type=click.Choice(["error", "first", "all"]), help="What a file of several pages is: refused, its first page, a stack of slices.")
@click.option("--metrics", metavar="NAME,...", help=f"Out of {', '.join(METRICS)}; or all. [default: {','.join(DEFAULT_METRICS)}]")
@click.option(
    "--tolerance",
    type=float,
    help=f"How far apart outlines still agree for nsd: mm where the spacing is known, else pixels. [default: {DEFAULT_SETTINGS.tolerance:g}]",
)
@click.option(
    "--empty",
    type=click.Choice(get_args(EmptyRule)),
    default=DEFAULT_SETTINGS.empty,
    show_default=True,
    help="A class that is empty in both masks of a case is left out of the means, counts as perfect, or as the worst. What is empty in one of them "
    "has overlap 0 and no distance; with perfect and worst the diagonal of the case is its distance.",
)
@click.option("--objects", is_flag=True, help="The masks number their objects (cells): 0 is background, each other value one object.")
@click.option("--allow-missing", is_flag=True, help="Score what is there where predictions are missing.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for evaluation.csv and evaluation.json (default: PREDICTIONS).")
@click.option("--no-save", is_flag=True, help="Write no files.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout instead of a table.")
@click.option("-q", "--quiet", is_flag=True, help="Neither progress nor table.")
def evaluate(predictions: Path, truth: Path, out: Path | None, no_save: bool, as_json: bool, quiet: bool, **options: Any) -> int:
    """Score the masks in PREDICTIONS against TRUTH: a folder of masks, or a manifest (CSV, TSV, JSONL).

    Files belong together by their names: PREDICTIONS/a/01.png and TRUTH/a/01.tif. The values in the masks mean what
    run.json beside the predictions says, unless --labels is given.
    """
    from segkit.cli.progress import watch
    from segkit.evaluation import evaluate as score
    from segkit.evaluation import save

    metrics = _metrics(options["metrics"])
    evaluation = score(
        predictions,
        truth,
        labels=_labels(options["labels"]),
        split=options["split"],
        images=options["images"],
        spacing_mm=_spacing(options["spacing"]),
        mask_threshold=options["mask_threshold"],
        allow_missing=options["allow_missing"],
        metrics=metrics,
        settings=_settings(options["tolerance"], options["empty"], metrics),
        objects=options["objects"],
        read=_read_settings(options["pages"]),
        progress=lambda pairs: watch(pairs, "scoring", quiet),
    )
    for warning in evaluation.warnings:
        click.echo(f"segkit: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(evaluation.to_json(), allow_nan=False))
    elif not quiet:
        _print_table(evaluation)
    if not no_save:
        table, whole = save(evaluation, out or predictions)
        if not quiet:
            click.echo(f"each case: {table}, {whole}", err=True)
    return 0


def _labels(text: str | None) -> Labels | None:
    """nerve=1,vessel=2 -> `Labels`; the background goes first, and is 0 unless it is named."""
    from segkit.errors import SettingsError
    from segkit.labels import Labels

    if text is None:
        return None
    values: dict[str, int | str] = {"background": 0}
    named: set[str] = set()
    for item in text.split(","):
        name, _, value = (part.strip() for part in item.partition("="))
        if not name or name in named or not (value.startswith("#") or value.isdecimal()):
            raise SettingsError(f"--labels {text}: {item!r} is no NAME=VALUE as in nerve=1 or nerve=#ff0000, or its name stands there twice")
        named.add(name)
        values[name] = value if value.startswith("#") else int(value)
    ignore = values.pop("ignore", None)
    if "background" not in named:
        _imply_background(values, ignore, text)
    return Labels.from_mapping(values, ignore=ignore)


def _imply_background(values: dict[str, int | str], ignore: int | str | None, text: str) -> None:
    """Black among colours, 0 among numbers, unless that is taken."""
    from segkit.errors import SettingsError

    values["background"] = "#000000" if any(isinstance(value, str) for value in values.values()) else 0
    taken = [name for name, value in [*values.items(), ("ignore", ignore)] if name != "background" and value == values["background"]]
    if taken:
        raise SettingsError(f"--labels {text}: {taken[0]} has the value that the background has unless it is named; add background=VALUE")


def _metrics(text: str | None) -> tuple[str, ...]:
    """dice,nsd -> their names, each once; what is no metric is refused where they are computed."""
    if text is None:
        return DEFAULT_METRICS
    return tuple(METRICS) if text == "all" else tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def _settings(tolerance: float | None, empty: EmptyRule, metrics: tuple[str, ...]) -> ScoreSettings:
    from segkit.errors import SettingsError

    if tolerance is None:
        return ScoreSettings(empty=empty)
    if not any(METRICS[name].tolerance for name in metrics if name in METRICS):
        raise SettingsError(f"--tolerance {tolerance:g}: none of {', '.join(metrics)} has a tolerance; add one that has, as in --metrics dice,nsd")
    return ScoreSettings(tolerance, empty)


def _spacing(text: str | None) -> tuple[float, ...] | None:
    from segkit.errors import SettingsError

    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise SettingsError(f"--spacing {text}: expected numbers in mm with commas between them, row,column or slice,row,column, as in 0.5,0.5") from None


def _read_settings(pages: Any) -> Any:
    """None leaves it to the run.json of the predictions."""
    from segkit.io.origin import ReadSettings

    return None if pages is None else ReadSettings(pages=pages)


def _print_table(evaluation: Evaluation) -> None:
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
