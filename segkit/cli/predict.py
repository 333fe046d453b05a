"""`segkit predict`: pictures and a model in, masks on the pictures' own grids out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from segkit.folder import Failure, Options, Result, Summary
    from segkit.folder.cluster import Cluster
    from segkit.io.files import Source
    from segkit.predict import Model

EXIT_SOME_FAILED = 3

LONGEST_PATIENCE = 30 * 86_400
"""Seconds."""

FAILURES_TOLD = 20
"""On the terminal; all are in failures.csv."""


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("-m", "--model", required=True, help="A model.safetensors, the folder of a run, or a built-in name (fundus-vessels).")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the masks.")
@click.option("-r", "--recursive", is_flag=True, help="Go into folders below INPUT too.")
@click.option("--split", help="With a manifest as INPUT: only the rows of this split.")
@click.option("--save-overlay", is_flag=True, help="Also draw each mask over its picture.")
@click.option("--save-probabilities", is_flag=True, help="Also write the probability of every class: NIfTI where the mask is NIfTI, else .npz.")
@click.option(
    "--save-attention",
    is_flag=True,
    help="Also draw where each CBAM, scSE or attention gate lets the picture through: OUT/attention. Of a volume, in the slice with the most "
    "foreground (the middle one where there is none); with --tta, in the picture as it is.",
)
@click.option(
    "--tta/--no-tta",
    default=None,
    help="Also score the mirror images that training knew, and average: better, up to four times as slow. Without either, as the model says.",
)
@click.option("--no-postprocess", is_flag=True, help="Leave the mask as the network draws it, also where the model has rules for the shape of objects.")
@click.option(
    "--review",
    type=click.IntRange(1),
    metavar="N",
    help="Sort results.csv by the Dice that can be expected of each mask, the lowest first, and draw the N lowest on OUT/review.png: what to check by eye. "
    "For models that have learnt what to expect (segkit finetune); with --num-parts give it to segkit merge.",
)
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", help="auto takes bfloat16 where the hardware has it.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "torch", "openvino", "onnxruntime"]),
    default="auto",
    help='auto takes OpenVINO on a CPU where it is installed (pip install "segkit[openvino]") and there is enough to do, else torch.',
)
@click.option("--convert-channels", is_flag=True, help="Let a grey picture into a colour model (repeated) and the other way round (luma).")
@click.option("--pages", type=click.Choice(["error", "first", "all"]), help="What a file of several pages is: refused, its first page, a stack of slices.")
@click.option("--slice-axis", type=click.Choice(["auto", "0", "1", "2"]), help="Voxel axis of a NIfTI volume that runs through the slices.")
@click.option("--max-pixels", type=int, help="Refuse files whose header claims more.")
@click.option("--tile", type=click.IntRange(min=16), help="Side of the windows that a large picture is cut into.")
@click.option("--overlap", type=float, help="Share of a window that it has in common with its neighbour.")
@click.option(
    "--skip-flat",
    type=click.FloatRange(min=0),
    help="Take windows whose pixels deviate by less than this (about -1 to 1 is the whole range; 0.02, for example) for background without looking.",
)
@click.option("--resume", is_flag=True, help="Go on with a run: files that are finished, by this model, and unchanged since, are left out.")
@click.option("--overwrite", is_flag=True, help="Start anew in a folder that holds masks of another model or of other settings.")
@click.option("--on-error", type=click.Choice(["skip", "stop"]), default="skip", help="A bad file gets a row in failures.csv, or ends the run.")
@click.option("--num-parts", type=click.IntRange(1), help="Do a share of the files: of so many parts (torchrun's and SLURM's variables are heeded too) …")
@click.option("--part-id", type=click.IntRange(0), help="… this one, from 0; when all are done: segkit merge OUT.")
@click.option("--workers", type=click.IntRange(0), help="Processes that read files; 0 reads in this one. Without it as many as keep the network busy.")
@click.option("--patience", type=click.FloatRange(min=0, min_open=True), help="Seconds after which a file that can't be read is given up (120).")
@click.option(
    "--cluster",
    metavar="ADDRESS|local",
    help="Have the workers of a dask.distributed scheduler do it (tcp://127.0.0.1:PORT or tls://HOST:PORT), or several processes of this machine "
    "(local). INPUT, OUT and the model must lie where all workers see them; --device, --engine and --workers hold for each of them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def predict(source: Path, model: str, out: Path, as_json: bool, quiet: bool, **options: Any) -> int:
    """Segment INPUT: a picture, a volume, a DICOM series, a folder of them, or a manifest (CSV, TSV, JSONL).

    Masks land at OUT/<path below INPUT>/<stem>.<ext>, with the picture's own size and geometry and the label values of the
    training masks; OUT/results.csv has a row for each file. In a folder, a_mask.png (or _seg, _label, _gt, ...) beside a picture a is left out.
    """
    sources, failures, alone = _find(source, out, options["recursive"], options["split"], quiet)

    from segkit.cli.progress import watch
    from segkit.errors import WriteError
    from segkit.folder import Extras, predict_files

    how = _how(options)
    if how.part.count > 1 and not quiet:
        click.echo(f"{how.part} of {len(sources)} files", err=True)
    loaded = _load(model, options, len(sources))
    with nullcontext() if options["cluster"] is None else _cluster(options) as elsewhere:
        try:
            summary = predict_files(
                sources,
                loaded,
                out,
                predict=loaded.run.predict,
                read=loaded.run.data.read,
                extras=Extras(options["save_overlay"], options["save_probabilities"], options["save_attention"]),
                options=how,
                known_failures=failures,
                watch=lambda items, total, what: watch(items, what, quiet, total),
                elsewhere=elsewhere,
            )
        except WriteError:
            click.echo(f"stopped; what is finished is kept, when there is room again go on with: segkit {_again()}", err=True)
            raise
    device = elsewhere.told if elsewhere else f"{loaded.engine.device}, {loaded.engine.precision}, {loaded.engine.name}"
    _tell(summary, out, device, as_json, quiet, alone)
    if summary.signal is not None:
        return 128 + summary.signal
    if not summary.failed:
        return 0
    return 1 if alone or how.stop_on_error else EXIT_SOME_FAILED


def _cluster(options: dict[str, Any]) -> AbstractContextManager[Cluster]:
    from segkit.folder.cluster import connected
    from segkit.folder.worker import Choice

    return connected(options["cluster"], Choice(options["device"], options["precision"], options["engine"]))


def _load(model: str, options: dict[str, Any], pictures: int) -> Model:
    """With what the command line chooses anew; where a cluster does the work, in the simplest way: it is asked for its weights and settings only."""
    from segkit.engines import Work
    from segkit.predict import load

    if options["cluster"] is None:
        choice = {key: options[key] for key in ("device", "precision", "engine")}
        loaded = load(model, **choice, work=Work(pictures, options["save_attention"]))
    else:
        loaded = load(model, device="cpu", precision="fp32", engine="torch")
    return loaded.with_settings(_with_options(loaded.run, options))


def _how(options: dict[str, Any]) -> Options:
    from segkit.errors import SettingsError
    from segkit.folder import Options, find_part

    if options["resume"] and options["overwrite"]:
        raise SettingsError("--resume goes on with what is in OUT, --overwrite forgets it; give one of the two")
    if options["patience"] is not None and not options["patience"] <= LONGEST_PATIENCE:
        raise SettingsError(f"--patience {options['patience']:g}: a number of seconds up to {LONGEST_PATIENCE:,} is expected, which is a month")
    patience: dict[str, Any] = {} if options["patience"] is None else {"patience_seconds": options["patience"]}
    part = find_part(options["part_id"], options["num_parts"])
    return Options(options["resume"], options["overwrite"], options["on_error"] == "stop", part, options["workers"], **patience, review=options["review"])


def _find(source: Path, out: Path, recursive: bool, split: str | None, quiet: bool) -> tuple[list[Source], list[Failure], bool]:
    """Sources, what could not be listed, and whether INPUT is one file or one DICOM series."""
    from segkit.cli.progress import counting
    from segkit.errors import SettingsError
    from segkit.io import find_sources

    if source.suffix.lower() in (".csv", ".tsv", ".jsonl"):
        from segkit.folder import manifest_sources

        return list(manifest_sources(source, split)), [], False
    if split is not None:
        raise SettingsError(f"--split {split}: goes with a manifest (CSV, TSV, JSONL) as INPUT, {source} is none")
    with counting("pictures found:", quiet) as tell:
        found = find_sources(source, recursive=recursive, exclude=out, tell=tell)
    if found.ignored:
        click.echo(f"{found.ignored} files that are no pictures were left out", err=True)
    from segkit.folder import Failure, without_masks

    pictures, masks = without_masks(found.sources) if source.is_dir() else (found.sources, ())
    if masks:
        click.echo(_left_out(masks), err=True)
    failures = [Failure(str(path), error.code, str(error)) for path, error in found.failures]
    is_series = len(found.sources) == 1 and len(found.sources[0].files) > 1 and not failures
    return list(pictures), failures, is_series or not source.is_dir()


def _left_out(masks: Sequence[Source]) -> str:
    first = masks[0].files[0].name
    if len(masks) == 1:
        return f"1 file is a mask by its name ({first}): left out; name it yourself to predict it"
    return f"{len(masks)} files are masks by their names ({first} …): left out; name them yourself, one by one or in a manifest, to predict them"


def _with_options(run: Any, options: dict[str, Any]) -> Any:
    """The model's settings, with what the command line chooses anew."""
    from segkit.config import validate_run

    tree = run.model_dump()
    if options["tta"] is not None:
        tree["predict"]["tta"] = options["tta"]
    if options["no_postprocess"]:
        tree["predict"]["postprocess"] = {}
    tree["preprocess"]["convert_channels"] = options["convert_channels"] or run.preprocess.convert_channels
    for key in ("pages", "max_pixels"):
        if options[key] is not None:
            tree["data"]["read"][key] = options[key]
    if options["slice_axis"] is not None:
        tree["data"]["read"]["slice_axis"] = options["slice_axis"] if options["slice_axis"] == "auto" else int(options["slice_axis"])
    if options["tile"] is not None:
        tree["predict"]["tiles"].update(tile=(options["tile"], options["tile"]), whole_up_to=options["tile"] ** 2)
    for key in ("overlap", "skip_flat"):
        if options[key] is not None:
            tree["predict"]["tiles"][key] = options[key]
    return validate_run(tree, "options")


def _plain(row: Result) -> dict[str, Any]:
    keys = ("file", "output", "areas_px", "areas_mm", "confidence", "expected_dice", "seconds")
    return {"mean_confidence" if key == "confidence" else key: getattr(row, key) for key in keys}


def _tell(summary: Summary, out: Path, device: str, as_json: bool, quiet: bool, alone: bool) -> None:
    for number, failure in enumerate(summary.failures):
        if number == FAILURES_TOLD:
            click.echo(f"segkit: … and {summary.failed - number} more", err=True)
            break
        click.echo(f"segkit: {failure.message} [{failure.code}]", err=True)
    if as_json:
        told = {"results": [_plain(row) for row in summary.results], "failures": [vars(row) for row in summary.failures]}
        click.echo(json.dumps(told, allow_nan=False))
    elif not quiet and not (alone and summary.failed):
        for row in summary.results if alone else ():
            click.echo(f"{row.file} -> {row.output}: {', '.join(f'{name} {count} px' for name, count in row.areas_px.items())}", err=True)
            for note in row.notes:
                click.echo(f"note: {note}", err=True)
        click.echo(_last_line(summary, out, device), err=True)
    if summary.signal is not None:
        click.echo(f"stopped; what is finished is kept, go on with: segkit {_again()}", err=True)


def _last_line(summary: Summary, out: Path, device: str) -> str:
    total = summary.done + summary.failed + summary.skipped
    skipped = f", {summary.skipped} were done already" if summary.skipped else ""
    is_part = summary.ledger.stem != "ledger"
    failed = f", {summary.failed} failed" + ("" if is_part else f" -> {out / 'failures.csv'}") if summary.failed else ""
    where = f"when all parts are done: segkit merge {out}" if is_part else f"table: {out / 'results.csv'}{told_review(summary.review)}"
    return f"{total} file{'s' if total != 1 else ''}: {summary.done} ok{skipped}{failed} ({device}); {where}"


def told_review(pages: Sequence[Path]) -> str:
    """The end of the last line, where there is something to review."""
    more = f" (and {len(pages) - 1} more pages)" if len(pages) > 1 else ""
    return f"; to review first: {pages[0]}{more}" if pages else ""


def _again() -> str:
    given = [word for word in click.get_current_context().obj if word != "--overwrite"]
    return shlex.join(given if "--resume" in given else [*given, "--resume"])
