"""The list of metrics: a new one is a function of a `Comparison` and one line here."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, NamedTuple

from segkit.errors import SettingsError
from segkit.metrics.comparison import Comparison
from segkit.metrics.overlap import dice, iou, precision, recall
from segkit.metrics.surface import assd, hd95


class Metric(NamedTuple):
    """How a metric is computed and read.

    function : one class of one case -> the number, NaN where it is not defined
    unit : "share", in [0, 1], or "distance", in the unit of the spacing: millimetres or pixels
    direction : which end of the scale is the good one
    """

    function: Callable[[Comparison], float]
    unit: Literal["share", "distance"]
    direction: Literal["higher", "lower"]


METRICS: dict[str, Metric] = {
    "dice": Metric(dice, "share", "higher"),
    "iou": Metric(iou, "share", "higher"),
    "precision": Metric(precision, "share", "higher"),
    "recall": Metric(recall, "share", "higher"),
    "hd95": Metric(hd95, "distance", "lower"),
    "assd": Metric(assd, "distance", "lower"),
}


def check_names(metrics: Collection[str]) -> None:
    """`SettingsError` where one of the names is no metric."""
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise SettingsError(f"metrics: {', '.join(unknown) or 'none named'}; choose among {', '.join(METRICS)}")
