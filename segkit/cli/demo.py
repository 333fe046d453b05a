"""`segkit demo`: the whole walk on a real photograph, offline, in seconds."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("segkit-demo"), show_default=True, help="Folder for the pictures.")
def demo(out: Path) -> int:
    """Segment the vessels in a real fundus photograph (skimage.data.retina) with the model that comes with segkit."""
    import time

    from segkit.folder import Extras, predict_files
    from segkit.io import find_sources, write_png
    from segkit.predict import load

    began = time.monotonic()
    click.echo("segmenting the vessels of skimage.data.retina(), a photograph of 1411x1411 pixels ...", err=True)
    from skimage import data

    picture = out / "picture" / "retina.png"
    write_png(picture, data.retina())
    model = load("fundus-vessels")
    summary = predict_files(find_sources(picture).sources, model, out, predict=model.run.predict, read=model.run.data.read, extras=Extras(overlay=True))
    result = summary.results[0]
    share = result.areas_px["vessel"] / (result.shape[0] * result.shape[1])
    click.echo(f"picture   {picture}\nmask      {result.output}\noverlay   {out / 'overlays' / 'retina.png'}\ntable     {out / 'results.csv'}")
    click.echo(f"vessels cover {share:.1%} of the picture; {time.monotonic() - began:.1f} s on {model.engine.device}. Research use only.", err=True)
    click.echo("next: segkit predict YOUR_FOLDER -m fundus-vessels -o masks --save-overlay, or: segkit train --help", err=True)
    return 0
