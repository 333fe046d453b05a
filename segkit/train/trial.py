"""What can be known to be wrong with a run before its pictures are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from segkit.config import RunConfig
from segkit.dataset import Case, find_cases, require_files
from segkit.errors import SettingsError
from segkit.io import Format, sniff
from segkit.models import build_model
from segkit.pretrained import Told, silent
from segkit.train.state import first_weights

SINGLE = (Format.PNG, Format.JPEG, Format.BMP)
"""Formats of which a file is never a volume."""


def look_ahead(run: RunConfig) -> tuple[list[Case], list[Case]]:
    """The cases to train and to validate on; none is read.

    Raises
    ------
    SettingsError, PairingError
        There are no such cases, one has no mask or a group is on both sides; the network looks along slices and there are none.
    VanishedError, ReadError
        Files are not there, or of no format that segkit reads.
    """
    training, validation = find_cases(run.data, run.train.seed)
    require_files([*training, *validation])
    if run.slices > 1:
        require_volumes(run, [1 if case.image.is_file() and sniff(case.image) in SINGLE else 2 for case in training])
    return training, validation


def require_volumes(run: RunConfig, slices: Sequence[int]) -> None:
    """SettingsError where the network looks along slices and every case has but one; `slices` are those of each."""
    if run.slices > 1 and max(slices) == 1:
        raise SettingsError(f"model.bottleneck {run.model.bottleneck} looks along the slices of volumes, the training data are single pictures; choose another")


def require_step(run: RunConfig) -> None:
    """SettingsError where no training step can be made of a batch of the settings; it is tried on shapes alone, which takes no memory."""
    with torch.device("meta"), torch.no_grad():
        network, batch = build_model(run.model).train(), torch.zeros(batch_shape(run))
        with telling_of_batch(run):
            network(batch)


def require_weights(run: RunConfig, told: Told = silent) -> None:
    """Raises as `first_weights` where the weights to begin with are not there or don't fit; they are downloaded, `told` hears of it."""
    if run.train.start_from is not None or run.train.pretrained is not None:
        first_weights(build_model(run.model), run, told)


@contextmanager
def telling_of_batch(run: RunConfig) -> Iterator[None]:
    """What batch norm raises inside the block, where all that it sees of a channel is one value, becomes a SettingsError in words."""
    try:
        yield
    except ValueError as error:
        raise SettingsError(f"no training step can be made of {describe_batch(run)}: {error}; raise train.batch_size or train.patch") from error


def batch_shape(run: RunConfig) -> tuple[int, ...]:
    """(B, S, C, h, w), S neighbouring slices where the network looks along them, else 1."""
    return run.train.batch_size, run.slices, run.model.in_channels, *run.train.patch


def describe_batch(run: RunConfig) -> str:
    """"8 patches of 256x256", "2 runs of 3 slices of 64x64"."""
    batch, slices, _, rows, columns = batch_shape(run)
    one, several = ("patch", "patches") if slices == 1 else (f"run of {slices} slices", f"runs of {slices} slices")
    return f"{batch} {one if batch == 1 else several} of {rows}x{columns}"
