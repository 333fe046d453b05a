"""`segkit report`: the page about a run, made again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> int:
    """Write RUN/report.html from what lies in the folder of a run: its scores, its best and worst cases, where it fails, its settings and why.

    RUN is a folder of segkit finetune; of one of segkit train the page has curves, settings and the validation score. The file needs no other to be read.
    """
    from segkit.report import write_report

    click.echo(write_report(run))
    return 0
