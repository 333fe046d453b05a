"""`segkit summary`: a network's layers, and what it takes to run and to train it."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segkit.cli.tables import magnitude, print_table

if TYPE_CHECKING:
    from torch import nn

    from segkit.config import RunConfig
    from segkit.errors import SegkitError
    from segkit.models.counting import Layer, Shape

COPIES = {"adamw": 2, "sgd": 1}
"""What an optimizer remembers of each weight: AdamW two running means, SGD its momentum."""

YAML = (".yaml", ".yml")
"""What the name of a CONFIG ends in."""

LARGEST_SIDE = 2**20
"""Rows and columns: of so many by so many pixels the maps of any layer are below the 2**63 bytes that torch can count."""


@dataclass(frozen=True)
class Totals:
    """Memory in bytes, in float32.

    weights : with the running means of batch norms
    peak : maps alive at one time of a forward pass
    training : weights, their running mean, the optimizer, gradients, and the maps that the way back needs
    """

    parameters: int
    multiply_adds: int
    weights: int
    peak: int
    training: int


@click.command()
@click.argument("source", metavar="CONFIG|MODEL|ARCHITECTURE")
@click.option("--size", default="512x512", show_default=True, metavar="ROWSxCOLUMNS", help="Of the picture.")
@click.option("--depth", type=click.IntRange(min=1), default=2, show_default=True, help="Modules within modules down to here.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Replace a setting of CONFIG; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Print all as JSON on stdout instead of a table.")
def summary(source: str, size: str, depth: int, overrides: tuple[str, ...], as_json: bool) -> int:
    """Show the network of CONFIG (a YAML file), of MODEL (a model.safetensors, the folder of a run, or a built-in name), or of an ARCHITECTURE with
    its defaults (as `segkit models` names it: unet, cpfnet, ...).

    Multiply-adds are those of convolutions, matrix products and attention. Memory is that of float32 and follows from which maps are alive at
    one time; what the libraries borrow for their work comes on top, and in bfloat16 or float16 the maps take half.
    """
    import torch

    from segkit.models import build_model
    from segkit.models.counting import trace_layers
    from segkit.train.trial import batch_shape

    rows, columns = _size(size)
    run, members = _run(source, overrides)
    shape = (1, run.model.in_channels, rows, columns)
    with torch.device("meta"):                                         # shapes without values: the largest network costs nothing
        network = build_model(run.model)
        layers = trace_layers(network, shape)
        totals = _total(network, run, shape, layers[0])
    padded = _padded(network, shape)
    shown = [layer for layer in layers if 1 <= layer.depth <= depth]
    if as_json:
        facts = {"source": source, "shape": shape, "padded_shape": padded, "training_shape": batch_shape(run), "members": members, **asdict(totals)}
        click.echo(json.dumps({**facts, "layers": [asdict(layer) for layer in shown]}))
    else:
        grown = f", padded to {_times(padded[2:])} for the network" if padded != shape else ""
        _print(f"{layers[0].kind} of {source}, a picture of {_times(shape[1:])}{grown}", shown, totals, run)
        if members > 1:
            click.echo(f"An ensemble of {members} such networks: all that is told above is one's; weights and multiply-adds are {members} times as many.")
    return 0


def _size(text: str) -> tuple[int, int]:
    from segkit.errors import SettingsError

    found = re.fullmatch("([1-9][0-9]{0,6})[xX×]([1-9][0-9]{0,6})", text)
    if found is None or max(int(found[1]), int(found[2])) > LARGEST_SIDE:
        raise SettingsError(f"--size {text}: expected rows and columns, each from 1 to {LARGEST_SIDE:,}, as in 512x512")
    return int(found[1]), int(found[2])


def _run(source: str, overrides: Sequence[str]) -> tuple[RunConfig, int]:
    """Settings from a YAML file, those that a model file holds, or the defaults of an architecture, and how many networks there are of it.

    A file or folder of that name goes first.
    """
    from segkit.checkpoint import BUILT_IN
    from segkit.config import load_run, validate_run
    from segkit.errors import SettingsError
    from segkit.models import COMBINATIONS, MODELS, is_name

    path, architectures = Path(source), (*MODELS, *COMBINATIONS)
    is_file = path.exists() and source != ""
    if not is_file and source not in BUILT_IN and not is_name(source):
        raise _nothing(source, (*BUILT_IN, *architectures))
    if path.suffix.lower() in YAML:
        return load_run(source, overrides), 1
    is_model = is_file or source in BUILT_IN
    if overrides:
        what = "a model, which is as it was trained" if is_model else f"shown with its defaults; for others write model: {source} into one"
        raise SettingsError(f"--set {overrides[0]}: goes with a CONFIG (.yaml); {source} is {what}")
    return _stored(source) if is_model else (validate_run({"model": source}, source), 1)


def _stored(source: str) -> tuple[RunConfig, int]:
    from segkit.checkpoint import load_model
    from segkit.errors import WeightsError

    try:
        file = load_model(source)
        return file.run, file.card.members
    except WeightsError as error:
        if Path(source).suffix == ".safetensors" or Path(source).is_dir():
            raise
        raise WeightsError(f"{error}; if it is a CONFIG, let its name end in .yaml") from error


def _nothing(source: str, names: Sequence[str]) -> SegkitError:
    """The error for a source that is neither a file nor a name, with what may have been meant."""
    from segkit.errors import SettingsError, VanishedError

    wanted = f"give a CONFIG (.yaml), a model.safetensors, the folder of a run, or a name: {', '.join(names)}"
    if source == "":
        return SettingsError(f"CONFIG|MODEL|ARCHITECTURE is empty; {wanted}")
    path = Path(source)
    is_config = path.suffix.lower() in YAML
    configs = {other.stem.lower(): str(other) for other in path.parent.glob("*") if other.suffix.lower() in YAML}
    known = configs if is_config else {name: name for name in names}
    close = difflib.get_close_matches((path.stem if is_config else path.name).lower(), known, n=1)
    return VanishedError(f"{source}: is no file or folder, and no name; {f'did you mean {known[close[0]]}?' if close else wanted}")


def _total(network: nn.Module, run: RunConfig, shape: Shape, whole: Layer) -> Totals:
    from segkit.models.counting import peak_bytes

    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    return Totals(whole.parameters, whole.multiply_adds, weights, peak_bytes(network, shape), _training_bytes(network, run, weights))


def _training_bytes(network: nn.Module, run: RunConfig, weights: int) -> int:
    from segkit.errors import SettingsError
    from segkit.models.counting import count_parameters, training_peak_bytes
    from segkit.train.trial import batch_shape, describe_batch, telling_of_batch

    if math.prod(batch_shape(run)) > LARGEST_SIDE**2:
        raise SettingsError(f"a training step of {describe_batch(run)} is beyond counting; lower train.patch or train.batch_size")
    copies = 0 if run.train.optimizer == "sgd" and run.train.momentum == 0 else COPIES[run.train.optimizer]
    with telling_of_batch(run):
        return 2 * weights + copies * 4 * count_parameters(network) + training_peak_bytes(network, batch_shape(run))   # the weights, and their running mean


def _print(title: str, layers: Sequence[Layer], totals: Totals, run: RunConfig) -> None:
    from segkit.train.trial import describe_batch

    rows = [(layer.name, layer.kind, _outputs(layer), f"{layer.parameters:,}", magnitude(layer.multiply_adds)) for layer in layers]
    numbers = ("parameters", "multiply-adds")
    print_table(title, ("layer", "kind", "output", *numbers), rows, numbers=numbers)
    click.echo(f"parameters      {totals.parameters:,}")
    click.echo(f"multiply-adds   {magnitude(totals.multiply_adds)}")
    click.echo(f"weights         {_mebibytes(totals.weights)}")
    click.echo(f"forward pass    {_mebibytes(totals.peak)} of maps at most at one time")
    kept = f"maps, gradients, weights and their running mean, {run.train.optimizer}"
    click.echo(f"training step   {_mebibytes(totals.training)} for {describe_batch(run)}: {kept}")
    click.echo("Memory in float32; what the libraries borrow for their work, and the loss, come on top; in bfloat16 the maps take half.")


def _padded(network: nn.Module, shape: Shape) -> Shape:
    """Rows and columns as the network grows them: to a multiple of its largest stride."""
    multiple = int(getattr(network, "multiple", 1))
    return *shape[:2], *(-(-side // multiple) * multiple for side in shape[2:])


def _outputs(layer: Layer) -> str:
    """Without the axis of the batch; of several maps the first and the last."""
    shapes = [_times(shape[1:]) for shape in layer.outputs]
    return " to ".join([shapes[0], shapes[-1]] if len(shapes) > 1 else shapes) or "not in prediction"


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
