"""`segkit finetune`: a folder of pictures and masks in, a model and its honest score out."""

from __future__ import annotations

import json
import math
import shlex
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from segkit.finetune import Request, Result
    from segkit.train import Watcher


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("-o", "--out", "folder", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=10, show_default=True, help="Of training; with --folds of each of them.")
@click.option("--labels", metavar="NAME=VALUE,...", help="What the values in the masks mean: nerve=1,vessel=2. The background is so called, or 0.")
@click.option("--mask-threshold", type=float, help="With two --labels, for masks that are not clean: above it a pixel counts as the larger value.")
@click.option("--from", "start", metavar="MODEL", help="Begin with a model (file, folder of a run, built-in name): classes of the same names stay.")
@click.option("--freeze", metavar="encoder[:EPOCHS]", help="With --from: leave the encoder as it is, for so many rounds through the pictures, or always.")
@click.option("--patience", type=click.IntRange(min=1), help="Stop after so many validations without a better score.")
@click.option("--val-split", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Share of the cases that choose the best weights.")
@click.option("--test-split", type=click.FloatRange(0, 1, max_open=True), help="Share of the cases that are only scored, at the end.")
@click.option("--folds", type=click.IntRange(min=2), help="Cross-validation: so many trainings, joined into one model.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Replace a derived setting; may be given several times.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws the splits, the first weights and the patches.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True, help="Numbers to train with.")
@click.option("--no-smoke-test", is_flag=True, help="Train also where a few pictures can't be learnt by heart.")
@click.option("--dry-run", is_flag=True, help="Stop when the settings are written, and print them.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder, wherever it stopped; its settings stay, and need not be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def finetune(dataset: Path, folder: Path, dry_run: bool, resume: bool, as_json: bool, quiet: bool, **options: Any) -> int:
    """Turn the pictures and masks in DATASET into a model, without any settings.

    DATASET is what `segkit check` takes: a folder in any of the usual layouts, or a table. It is measured, the settings are derived from what was
    measured and written with their reasons to config.yaml in the folder of the run, and the model is scored on cases that it was never trained on.
    """
    from segkit.cli.progress import training_watcher
    from segkit.errors import SegkitError, SettingsError
    from segkit.finetune import finetune as run_finetuning
    from segkit.finetune import prepare
    from segkit.finetune.run import report_on

    request = _request(dataset, folder, **options)

    def watching() -> AbstractContextManager[Watcher]:
        return training_watcher(quiet)

    if dry_run and resume:
        raise SettingsError("--dry-run writes the settings anew, --resume goes on with those that are written; give one of the two")
    if dry_run:
        with watching() as watcher:
            prepare(request, watcher)
        click.echo(request.configs[0].read_text("utf-8"), nl=False)
        return 0
    if resume:
        request = _as_begun(request)
    try:
        result = run_finetuning(request, watching, resume=resume, report=False)
    except (KeyboardInterrupt, SystemExit):
        click.echo(f"stopped; go on with: segkit {_again()}", err=True)
        raise
    stopped = result.interrupted
    if stopped is not None and stopped.signal is not None:
        click.echo(f"stopped at step {stopped.steps}; go on with: segkit {_again()}", err=True)
        return 128 + stopped.signal
    _tell(result, folder, as_json)
    if not quiet:
        click.echo("writing the report", err=True)
    try:
        click.echo(f"report, to be opened in a browser: {report_on(folder)}", err=True)
    except SegkitError as error:
        click.echo(f"segkit: {error}", err=True)
        return 3
    return 0


OPTIONS = {
    "dataset": "dataset",
    "minutes": "minutes",
    "labels": "labels",
    "mask_threshold": "labels",
    "start": "start",
    "freeze": "freeze",
    "patience": "patience",
    "val_split": "validation_share",
    "test_split": "test_share",
    "folds": "folds",
    "overrides": "overrides",
    "seed": "seed",
    "device": "device",
    "precision": "precision",
    "no_smoke_test": "smoke_test",
}
"""Parameter -> the field of the request that it becomes."""


def _as_begun(asked: Request) -> Request:
    """The request that the run was begun with; what is given again must be the same."""
    from segkit.finetune.plan import require_same, take_up

    context = click.get_current_context()
    given = {field for name, field in OPTIONS.items() if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    begun, _ = take_up(asked.folder)
    require_same(asked, begun, given | ({"freeze_epochs"} if "freeze" in given else set()))
    return begun


def _again() -> str:
    given = click.get_current_context().obj
    return shlex.join(given if "--resume" in given else [*given, "--resume"])


def _request(dataset: Path, folder: Path, *, freeze: str | None, start: str | None, **options: Any) -> Request:
    from segkit.cli.labels import parse_labels
    from segkit.errors import SettingsError
    from segkit.finetune import Request

    for name in ("minutes", "val_split", "test_split"):
        if not math.isfinite(options[name] or 0):
            raise SettingsError(f"--{name.replace('_', '-')} {options[name]}: expected a number above 0, as in --minutes 30 or --val-split 0.1")
    if freeze is not None and start is None:
        raise SettingsError(f"--freeze {freeze}: leaves the encoder as it is, which is worth nothing in a fresh network; give --from MODEL too")
    part, _, epochs = (freeze or "encoder").partition(":")
    if part != "encoder" or not (epochs == "" or epochs.replace(".", "", 1).isdecimal()):
        raise SettingsError(f"--freeze {freeze}: expected encoder, or encoder:EPOCHS as in encoder:5")
    return Request(
        dataset,
        folder,
        labels=parse_labels(options["labels"], options["mask_threshold"], zero_is_background=True),
        minutes=options["minutes"],
        start=start,
        freeze=freeze is not None,
        freeze_epochs=float(epochs) if epochs else None,
        patience=options["patience"],
        overrides=options["overrides"],
        device=options["device"],
        precision=options["precision"],
        validation_share=options["val_split"],
        test_share=options["test_split"],
        seed=options["seed"],
        folds=options["folds"] or 0,
        smoke_test=not options["no_smoke_test"],
    )


def _tell(result: Result, folder: Path, as_json: bool) -> None:
    """The score, and what to do next; before the report is written, whatever becomes of it."""
    from segkit.cli.scores import print_scores
    from segkit.report import FILE

    assert result.evaluation is not None
    model = folder / "model.safetensors"
    if as_json:
        steps, minutes = (sum(getattr(outcome, what) for outcome in result.outcomes) for what in ("steps", "minutes"))
        told = {"model": str(model), "report": str(folder / FILE), "steps": steps, "minutes": round(minutes, 3), "scored_on": result.scored_on}
        click.echo(json.dumps({**told, "scores": result.evaluation.to_json()}, allow_nan=False))
        return
    click.echo(f"Scored on {result.scored_on}:")
    print_scores(result.evaluation)
    click.echo(f"model: {model}; next: segkit predict -m {shlex.quote(str(folder))} PICTURES -o MASKS", err=True)
