"""`segkit evaluate`: masks and the truth in, scores out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import click

from segkit.cli.labels import labels_option, parse_labels, threshold_option
from segkit.cli.scores import print_scores
from segkit.metrics import DEFAULT_METRICS, DEFAULT_SETTINGS, METRICS, EmptyRule, ScoreSettings


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@labels_option
@click.option("--split", help="With a manifest as TRUTH: only the rows of this split.")
@click.option("--images", type=click.Path(path_type=Path), help="With a folder as TRUTH: folder of the pictures, which say the spacing.")
@click.option("--spacing", metavar="MM,MM", help="Of files that hold none: row,column or slice,row,column. Without it distances are in pixels.")
@threshold_option
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
        labels=parse_labels(options["labels"]),
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
        print_scores(evaluation)
    if not no_save:
        table, whole = save(evaluation, out or predictions)
        if not quiet:
            click.echo(f"each case: {table}, {whole}", err=True)
    return 0


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
