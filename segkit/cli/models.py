"""`segkit models`: all parts that a network can be made of, what each costs and what it is good for."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from segkit.cli.tables import magnitude, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segkit.models.catalogue import Catalogue, EncoderEntry, ModelEntry, PartEntry, SettingEntry

NUMBERS = ("parameters", "multiply-adds")
WORDS = ("answers", "source")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the parts as JSON on stdout instead of tables.")
def models(as_json: bool) -> int:
    """List what `model:` in a CONFIG can name: architectures, encoders, gates on the skips, bottlenecks, upsamplings and further settings.

    Multiply-adds are of one picture of 256x256 with 3 channels.
    """
    from segkit.cli.progress import watch
    from segkit.models.catalogue import take_stock

    catalogue = take_stock(lambda names: watch(names, "counting", quiet=as_json))
    if as_json:
        click.echo(json.dumps(asdict(catalogue)))
    else:
        _print(catalogue)
    return 0


def _print(catalogue: Catalogue) -> None:
    from segkit.models.catalogue import WEAKNESSES

    _print_models(catalogue.models)
    _print_encoders(catalogue.encoders)
    for setting, parts in (("skip", catalogue.skips), ("bottleneck", catalogue.bottlenecks), ("upsampling", catalogue.upsamplings)):
        _print_parts(setting, parts)
    _print_settings(catalogue.settings)
    click.echo("Weaknesses of the U-Net that a part answers:")
    for number, weakness in enumerate(WEAKNESSES, start=1):
        click.echo(f"{number}  {weakness}")


def _print_models(entries: Sequence[ModelEntry]) -> None:
    rows = [
        (entry.name, ", ".join(entry.parts.values()), f"{entry.parameters:,}", magnitude(entry.multiply_adds), entry.answers, entry.source) for entry in entries
    ]
    print_table("model.name: architectures", ("name", "made of", *NUMBERS, *WORDS), rows, numbers=NUMBERS, once=WORDS)


def _print_encoders(entries: Sequence[EncoderEntry]) -> None:
    rows = []
    for entry in entries:
        maps = " ".join(f"{width}/{stride}" for width, stride in zip(entry.widths, entry.strides, strict=True))
        rows.append((entry.name, f"{entry.parameters:,}", magnitude(entry.multiply_adds), maps, entry.answers, entry.source))
    print_table("model.encoder: encoders", ("name", *NUMBERS, "channels/stride of the maps", *WORDS), rows, numbers=NUMBERS, once=WORDS)


def _print_parts(setting: str, entries: Sequence[PartEntry]) -> None:
    rows = [(entry.name, f"{entry.extra_parameters:+,}", magnitude(entry.extra_multiply_adds, "+"), entry.answers, entry.source) for entry in entries]
    print_table(f"model.{setting}: what the default unet costs more with each", ("name", *NUMBERS, *WORDS), rows, numbers=NUMBERS, once=WORDS)


def _print_settings(entries: Sequence[SettingEntry]) -> None:
    rows = [(entry.name, entry.value, entry.answers, entry.source) for entry in entries]
    print_table("further settings of model", ("name", "value", *WORDS), rows, once=WORDS)
