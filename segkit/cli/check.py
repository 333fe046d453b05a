"""`segkit check`: pictures and masks in, what is wrong with them out, and a clean copy where it is wanted."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segkit.cli.labels import labels_option, parse_labels, threshold_option
from segkit.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from segkit.check import CheckReport, Cleaned, Finding, Measurements
    from segkit.check.measurements import Range

MARKS = {"error": ("✗", "red"), "warning": ("!", "yellow"), "note": ("·", "blue")}

WIDEST = 120
"""Columns, also of a wider terminal."""

FILES_SHOWN = 4


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@labels_option
@threshold_option
@click.option("--fix", "copy", type=click.Path(path_type=Path), metavar="OUT", help="Write a clean copy into this new folder; the originals stay as they are.")
@click.option("--sheet", "page", type=click.Path(path_type=Path), metavar="PNG", help="Write a page of pictures with the outlines of their masks.")
@click.option("--pages", type=click.Choice(["error", "first", "all"]), default="error", help="What several pages in a file are: refused, the first, a stack.")
@click.option("--max-pixels", type=int, help="Refuse files that claim more samples.")
@click.option("--workers", type=int, help="Processes that read; 0 for none (default: one for each processor).")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout, with all names of files.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def check(dataset: Path, copy: Path | None, page: Path | None, workers: int | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Find out what DATASET holds and what is wrong with it, before a network is trained on it.

    DATASET is a folder (images/ and masks/, masks with a suffix, nnU-Net, Decathlon, one mask for each class or object), a table (CSV, TSV, JSONL) or a
    JSON list of pairs. Exit code 1 where training would fail or its scores would lie; with --fix 0, or 3 where pairs were left out of the copy.
    """
    from segkit.check import draw_sheet, examine, write_clean
    from segkit.cli.progress import watch
    from segkit.errors import SettingsError
    from segkit.layouts import find_dataset

    if page is not None and page.suffix.lower() != ".png":
        raise SettingsError(f"--sheet {page}: the page is a PNG; name it {page.with_suffix('.png').name}")
    report = examine(
        find_dataset(dataset),
        labels=parse_labels(options["labels"], options["mask_threshold"]),
        read=_read_settings(options["pages"], options["max_pixels"]),
        workers=workers,
        progress=lambda cases: watch(cases, "looking at pairs", quiet),
    )
    cleaned = None if copy is None else write_clean(report, copy, lambda numbers: watch(numbers, "writing", quiet))
    drawn = [] if page is None else draw_sheet(report, page, lambda numbers: watch(numbers, "drawing", quiet))
    if as_json:
        told = {} if cleaned is None else {"fixed": {"folder": str(cleaned.folder), "written": cleaned.written, "left_out": dict(cleaned.left_out)}}
        click.echo(json.dumps(_finite(report.to_json() | told), allow_nan=False))
    else:
        for line in _lines(report):
            click.echo(line)
        if cleaned is not None:
            _tell_copy(cleaned)
        if page is not None:
            click.echo(f"{_outlines(len(drawn), len(report.evidence.facts))}: {page}" if drawn else f"{page}: not written: no mask can be drawn", err=True)
    if cleaned is not None:
        return 3 if cleaned.left_out else 0
    return 0 if report.is_fit else 1


def _read_settings(pages: Any, max_pixels: int | None) -> Any:
    from segkit.io import ReadSettings

    return ReadSettings(pages=pages) if max_pixels is None else ReadSettings(pages=pages, max_pixels=max_pixels)


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    from math import isfinite

    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _lines(report: CheckReport) -> Iterator[str]:
    """The report for people: what was decided, the set in numbers, the findings, the verdict."""
    yield click.style(f"{report.dataset}: {report.layout}", bold=True)
    for note in report.decided:
        yield f"  {note}"
    argument = report.values.argument
    if argument is not None and not report.values.are_names_known and report.evidence.only_value is None:
        threshold = "" if report.values.threshold is None else f" --mask-threshold {report.values.threshold:g}"
        yield f"  the names are guessed; to name them: --labels {argument}{threshold}"
    if report.measurements is not None:
        yield from _measured(report.measurements)
    for finding in report.findings:
        yield ""
        yield from _told(finding)
    yield ""
    yield _verdict(report)


def _measured(measured: Measurements) -> Iterator[str]:
    splits = ", ".join(f"{count} {name or 'without a split'}" for name, count in measured.splits.items())
    volumes = f", {measured.volumes} of them volumes with {counted(measured.slices, 'slice')}" if measured.volumes else ""
    yield f"  {counted(measured.cases, 'pair')}{volumes}; {counted(measured.groups, 'group')}; splits: {splits}"
    sides = [measured.height, measured.width] if measured.depth is None else [measured.depth, measured.height, measured.width]
    yield f"  size: {' x '.join(map(_range, sides))} px"
    spacing = "not said" if measured.spacing_mm is None else f"{' x '.join(map(_range, measured.spacing_mm))} mm"
    channels = ", ".join(f"{count} with {counted(number, 'channel')}" for number, count in sorted(measured.channels.items()))
    types = ", ".join(f"{count} {name}" for name, count in sorted(measured.dtypes.items()))
    yield f"  spacing: {spacing}; {channels}; {types}"
    for number, channel in enumerate(measured.intensity):
        which = f" {number}" if len(measured.intensity) > 1 else ""
        yield f"  intensity{which}: 0.5 % {_range(channel.p0_5)}, median {_range(channel.p50)}, 99.5 % {_range(channel.p99_5)}"
    for one in measured.classes:
        pieces = f"; {counted(one.objects, 'piece')}, median {one.area_px_median:.0f} px, thickness up to {2 * one.inner_max_px:.0f} px" if one.objects else ""
        yield f"  {one.name}: {one.pixel_share:.2%} of the pixels, in {one.case_share:.0%} of the pairs{pieces}{' (thin)' if one.is_thin else ''}"
    if measured.empty_slices and measured.classes:
        yield f"  empty: {measured.empty_cases:.1%} of the pairs" + (f", {measured.empty_slices:.1%} of the slices" if measured.volumes else "")


def _range(numbers: Range) -> str:
    """``31..43 (median 35)``, or the one number that all have."""
    if numbers.lowest == numbers.highest:
        return f"{numbers.lowest:g}"
    return f"{numbers.lowest:.4g}..{numbers.highest:.4g} ({numbers.median:.4g})"


def _told(finding: Finding) -> Iterator[str]:
    mark, colour = MARKS[finding.severity]
    yield click.style(f"{mark} {finding.severity}: {finding.code}", fg=colour, bold=True)
    width = min(WIDEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDEST
    files = ", ".join(finding.files[:FILES_SHOWN]) + (f" and {len(finding.files) - FILES_SHOWN} more" if len(finding.files) > FILES_SHOWN else "")
    fix = "" if finding.fix is None else f"; --fix {finding.fix}"
    for text in (finding.meaning, f"repair: {finding.repair}{fix}", f"files: {files}" if finding.files else ""):
        yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _verdict(report: CheckReport) -> str:
    counts = [(len(report.of("error")), "error"), (len(report.of("warning")), "warning"), (len(report.of("note")), "note")]
    told = ", ".join(counted(count, name) for count, name in counts)
    if report.is_fit:
        return f"{told}: ready to train on"
    by_hand = [finding.code for finding in report.of("error") if finding.fix is None or report.measurements is None]
    then = f"first mend {', '.join(by_hand)}" if by_hand else "--fix OUT writes a copy that is"
    return f"{told}: not fit for training as it is; {then}"


def _outlines(drawn: int, pictures: int) -> str:
    return f"outlines of {counted(drawn, 'picture')}" if drawn == pictures else f"outlines of {drawn} of {counted(pictures, 'picture')}"


def _tell_copy(cleaned: Cleaned) -> None:
    click.echo(f"clean copy: {cleaned.folder / 'manifest.csv'}: {counted(cleaned.written, 'pair')}, {len(cleaned.left_out)} left out", err=True)
    for number, (name, why) in enumerate(cleaned.left_out.items()):
        if number == 2 * FILES_SHOWN:
            click.echo(f"  … and {len(cleaned.left_out) - number} more (--json names all)", err=True)
            break
        click.echo(f"  left out: {name}: {why}", err=True)
    if cleaned.moved or cleaned.grouped:
        click.echo(f"  {counted(cleaned.moved, 'pair')} moved into another split, {cleaned.grouped} into a group with others", err=True)
