"""`segkit merge`: the parts of a run become one, once they are complete."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--review", type=click.IntRange(1), metavar="N", help="Sort results.csv by the expected Dice, and draw the N lowest on OUT/review.png.")
def merge(out: Path, review: int | None) -> int:
    """Put the parts of a run (segkit predict --num-parts) in OUT together: results.csv, failures.csv, run.json.

    First it is proved that nothing is missing: every part was run, by one model, on one list of files; each file of it has its entry; each mask is
    there as it was written.
    """
    from segkit.cli.predict import EXIT_SOME_FAILED, told_review
    from segkit.folder import merge as put_together

    merged = put_together(out, review)
    failed = f", {merged.failures} failed -> {out / 'failures.csv'}" if merged.failures else ""
    click.echo(f"{merged.parts} parts, complete: {merged.results} ok{failed}; table: {out / 'results.csv'}{told_review(merged.review)}", err=True)
    return EXIT_SOME_FAILED if merged.failures else 0
