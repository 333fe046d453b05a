"""The list of metrics: a new one is a function of a `Comparison` and one line here."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Literal, NamedTuple

from segkit.errors import SettingsError
from segkit.metrics.centrelines import cldice
from segkit.metrics.comparison import Comparison
from segkit.metrics.instances import ap, ap50
from segkit.metrics.overlap import dice, iou, precision, recall
from segkit.metrics.surface import assd, hd95, nsd


class Metric(NamedTuple):
    """How a metric is computed and read.

    function : one class of one case -> the number, NaN where it is not defined
    unit : "share", in [0, 1], or "distance", in the unit of the spacing: millimetres or pixels
    direction : which end of the scale is the good one
    tolerance : whether it depends on `ScoreSettings.tolerance`
    """

    function: Callable[[Comparison], float]
    unit: Literal["share", "distance"]
    direction: Literal["higher", "lower"]
    tolerance: bool = False

    @property
    def needs_one_unit(self) -> bool:
        """Whether a case in millimetres and a case in pixels have no mean."""
        return self.unit == "distance" or self.tolerance


METRICS: dict[str, Metric] = {
    "dice": Metric(dice, "share", "higher"),
    "iou": Metric(iou, "share", "higher"),
    "precision": Metric(precision, "share", "higher"),
    "recall": Metric(recall, "share", "higher"),
    "hd95": Metric(hd95, "distance", "lower"),
    "assd": Metric(assd, "distance", "lower"),
    "nsd": Metric(nsd, "share", "higher", tolerance=True),
    "cldice": Metric(cldice, "share", "higher"),
    "ap50": Metric(ap50, "share", "higher"),
    "ap": Metric(ap, "share", "higher"),
}

DEFAULT_METRICS = ("dice", "iou", "precision", "recall", "hd95", "assd")
"""What is computed where nothing is asked for: the others say something of some tasks alone (a tolerance that is known, vessels, cells)."""


def check_names(metrics: Collection[str]) -> None:
    """`SettingsError` where one of the names is no metric."""
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise SettingsError(f"metrics: {', '.join(unknown) or 'none named'}; choose among {', '.join(METRICS)}")


def measure(name: str, comparison: Comparison) -> float:
    """A metric of one class of one case under the rule for empty masks: NaN only where the rule leaves it out."""
    metric = METRICS[name]
    value = metric.function(comparison)
    rule = comparison.settings.empty
    if not math.isnan(value) or rule == "leave-out":
        return value
    largest = comparison.diagonal if metric.unit == "distance" else 1.0
    worst, best = (0.0, largest) if metric.direction == "higher" else (largest, 0.0)
    return best if rule == "perfect" and comparison.both_empty else worst
