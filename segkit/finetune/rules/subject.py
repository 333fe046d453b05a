"""What the rules read: the measurements of the data, and a machine to time networks on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from segkit.check import Measurements
from segkit.check.measurements import ClassMeasurements
from segkit.finetune.orientation import Orientation
from segkit.finetune.recipe import Setting
from segkit.labels import Labels

HARDLY_COLOURED = 0.2
"""Deviations of the picture by which the channels of a pixel may differ on average in one that is taken for grey: ultrasound saved as colour JPEG had up to
0.12, fundus photographs 1.1 and more."""


@dataclass(frozen=True)
class Subject:
    """All that the rules read of the data.

    training, validation : cases on either side
    """

    name: str
    measurements: Measurements
    labels: Labels
    orientation: Orientation
    training: int
    validation: int

    @property
    def objects(self) -> list[ClassMeasurements]:
        """The foreground classes of which something was measured."""
        return [one for one in self.measurements.classes[1:] if one.objects > 0]

    @property
    def is_grey(self) -> bool:
        """Pictures of one channel, or of three that hardly differ: grey ones that were saved in colour, with a coloured mark here and there."""
        return self.measurements.channels.keys() <= {1, 3} and self.orientation.colour < HARDLY_COLOURED

    @property
    def is_volumes(self) -> bool:
        return 2 * self.measurements.volumes > self.measurements.cases


class Stopwatch(Protocol):
    """The machine; a test has one of its own."""

    @property
    def memory_bytes(self) -> int: ...
    def seconds_per_step(self, tree: Mapping[str, Any]) -> float: ...
    def bytes_per_step(self, tree: Mapping[str, Any]) -> int: ...


def as_tree(settings: Sequence[Setting], subject: Subject, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings as a tree for the machine to time, over those of `base`."""
    tree: dict[str, Any] = {"data": {"labels": subject.labels.mapping}, **{room: dict(values) for room, values in (base or {}).items()}}
    for setting in settings:
        room, _, key = setting.key.partition(".")
        tree.setdefault(room, {})[key] = setting.value
    return tree


def with_batch(tree: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The same with so many patches in a step."""
    return {**tree, "train": {**tree.get("train", {}), "batch_size": size}}
