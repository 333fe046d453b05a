"""`segkit compare`: the same training with several settings, and what they are worth."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from segkit.compare import Comparison, Line


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--out", "folder", required=True, type=click.Path(path_type=Path), help="Folder of the runs and the table; finished runs are kept.")
@click.option("--vary", "varied", multiple=True, required=True, metavar="A.B=V1,V2", help="Values of a setting to compare; several give all combinations.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Trainings of each variant, with seeds 0, 1, …")
@click.option("--minutes", type=float, help="Time budget of each training.")
@click.option("--data", "manifest", type=click.Path(path_type=Path), help="Manifest; the same as --set data.manifest=FILE.")
@click.option("--split", help="Rows of the manifest to score; without it each run's validation pictures.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Replace a setting of all variants.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def compare(
    config: Path,
    folder: Path,
    varied: tuple[str, ...],
    seeds: int,
    minutes: float | None,
    manifest: Path | None,
    split: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> int:
    """Train CONFIG with several settings and seeds; a table says what each is worth on these data, with a paired test over the cases.

    Whole networks can be compared too: --vary 'model={name: cpfnet},{name: unet, encoder: resnet34}'. What can be known to be wrong is
    said before anything is trained; a variant whose training fails is told so in the table (exit code 3), the others go on.
    """
    from segkit.cli.progress import training_watcher
    from segkit.compare import compare as run_comparison
    from segkit.compare import parse_vary, plan_variants
    from segkit.config import RunConfig, load_run

    fixed = {key: value for key, value in {"data.manifest": manifest, "train.minutes": minutes}.items() if value is not None}

    def settings(changes: Mapping[str, Any], seed: int) -> RunConfig:
        return load_run(config, overrides, {**fixed, **changes, "train.seed": seed})

    variants = plan_variants(parse_vary(varied), settings)
    comparison = run_comparison(variants, range(seeds), folder, split=split, watching=lambda: training_watcher(quiet))
    if comparison.interrupted is not None and comparison.interrupted.signal is not None:
        given = shlex.join(click.get_current_context().obj)
        click.echo(f"stopped; what is finished is kept, go on with: segkit {given}", err=True)
        return 128 + comparison.interrupted.signal
    click.echo(json.dumps(comparison.to_json(), allow_nan=False) if as_json else table(comparison))
    for note in comparison.notes:
        click.echo(f"segkit: {note}", err=True)
    if comparison.lines:
        click.echo(f"each case: {folder / 'cases.csv'}; plot: {folder / 'compare.png'}", err=True)
    return (3 if comparison.lines else 1) if comparison.failures else 0


def table(comparison: Comparison) -> str:
    """The table as plain text, in the order of the variants; its means are over the pairs of case and class whose truth holds the class."""
    width = max(len("variant"), *(len(one.name) for one in comparison.variants))
    header = f"{'Dice':>6}  {'spread':>6}  {'against first':>13}  {'p':>6}  {'parameters':>12}  {'steps':>6}  {'minutes':>7}"
    told = {**{line.variant: _cells(line) for line in comparison.lines}, **{name: f"failed with {why}" for name, why in comparison.failures.items()}}
    return "\n".join(f"{name:<{width}}  {cells}" for name, cells in [("variant", header), *((one.name, told[one.name]) for one in comparison.variants)])


def _cells(line: Line) -> str:
    dice = [_number(line.mean, ".4f", 6), _number(line.spread, ".4f", 6), _number(line.difference, "+.4f", 13), _number(line.p_value, ".3f", 6)]
    return f"{'  '.join(dice)}  {line.cost.parameters:>12,}  {line.cost.steps:>6}  {line.cost.minutes:>7.1f}"


def _number(value: float, form: str, width: int) -> str:
    return f"{value:{form}}".rjust(width) if math.isfinite(value) else "–".rjust(width)
