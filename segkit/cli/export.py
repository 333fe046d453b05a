"""`segkit export`: a model as one ONNX file, and a script that predicts with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from segkit.export import Agreement


@click.command()
@click.argument("model")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The file to write, NAME.onnx; NAME_predict.py comes beside it.")
@click.option("--check", type=click.Path(path_type=Path), help="A picture, or a folder of them, on which the graph is compared with torch as well.")
@click.option("--no-script", is_flag=True, help="Write the graph alone: for models whose pictures the script can't prepare.")
@click.option("--no-postprocess", is_flag=True, help="Leave out the model's rules for the shape of objects, which the script can't apply.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written and how well it agrees as JSON on stdout.")
def export(model: str, out: Path, check: Path | None, no_script: bool, no_postprocess: bool, as_json: bool) -> int:
    """Write MODEL (a model.safetensors, the folder of a run, or a built-in name) as one ONNX file that takes batches and pictures of any size.

    Its logits are compared with torch's, on drawn pictures of odd sizes and on those of --check; a file that does not agree is not written. Labels,
    preparation and licence lie in its metadata; NAME_predict.py makes a mask of a PNG, JPEG, BMP or TIFF with onnxruntime, numpy and Pillow alone.
    """
    from segkit.export import export as write

    written = write(model, out, check=check, script=not no_script, postprocess=not no_postprocess)
    checks = {"drawn pictures": written.drawn, **({str(check): written.given} if written.given else {})}
    if as_json:
        script_facts = {"script": written.script and str(written.script), "script_reads": written.script_reads}
        click.echo(json.dumps({"file": str(written.path), **script_facts, "checks": _plain(checks)}))
        return 0
    for name, found in checks.items():
        click.echo(f"checked on {name}: {_told(found)}", err=True)
    click.echo(f"{model} -> {written.path} ({written.path.stat().st_size / 2**20:.1f} MiB)", err=True)
    if written.script:
        click.echo(f"{written.script} reads {written.script_reads}; try: python {written.script} PICTURE MASK.png", err=True)
    return 0


def _plain(checks: dict[str, Agreement]) -> dict[str, dict[str, Any]]:
    return {name: vars(found) for name, found in checks.items()}


def _told(found: Agreement) -> str:
    windows = f"{found.windows} window{'s' if found.windows != 1 else ''}"
    return f"{windows}, logits of up to {found.largest:.3g} differ by at most {found.difference:.1e}, {found.same:.4%} of the pixels have the same class"
