"""`segkit train`: a YAML file and pairs in, a folder with a model out."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path

import click


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--out", "folder", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option(
    "--data",
    "manifest",
    type=click.Path(path_type=Path),
    help="Manifest with columns image, mask and perhaps split, group; the same as --set data.manifest=FILE.",
)
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Replace a setting; may be given several times.")
@click.option("--minutes", type=float, help="Time budget; the learning rate falls to 0 exactly there.")
@click.option("--device", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="auto takes bfloat16 where the hardware has it.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def train(
    config: Path,
    folder: Path,
    manifest: Path | None,
    overrides: tuple[str, ...],
    minutes: float | None,
    device: str | None,
    precision: str | None,
    resume: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Train a network as CONFIG (a YAML file, see configs/) says; leaves model.safetensors in the folder of the run."""
    from segkit.cli.progress import TrainingProgress
    from segkit.config import load_run
    from segkit.train import Silence
    from segkit.train import train as run_training

    chosen = {"data.manifest": manifest, "train.minutes": minutes, "train.device": device, "train.precision": precision}
    run = load_run(config, overrides, {key: value for key, value in chosen.items() if value is not None})
    if quiet:
        outcome = run_training(run, folder, resume=resume, watcher=Silence())
    else:
        with TrainingProgress() as progress:
            outcome = run_training(run, folder, resume=resume, watcher=progress)
    if outcome.reason == "interrupted" and outcome.signal is not None:
        given = [part for part in click.get_current_context().obj if part != "--resume"]  # what `main` was given
        click.echo(f"stopped at step {outcome.steps}; go on with: segkit {shlex.join(given)} --resume", err=True)
        return 128 + outcome.signal
    best = outcome.best if math.isfinite(outcome.best) else None  # no validation mask held any foreground
    model = folder / "model.safetensors"
    if as_json:
        facts = {"model": str(model), "reason": outcome.reason, "steps": outcome.steps, "minutes": round(outcome.minutes, 3), "best_dice": best}
        click.echo(json.dumps(facts, allow_nan=False))
    else:
        dice = "-" if best is None else f"{best:.4f}"
        click.echo(f"{outcome.reason} after {outcome.steps} steps, {outcome.minutes:.1f} min; best validation Dice {dice}; model: {model}", err=True)
    return 0
