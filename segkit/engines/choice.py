"""Which engine a network is scored with. A new engine is a class in a file of its own and a line in `ENGINES`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from segkit.engines.engine import Engine
from segkit.engines.extras import installed
from segkit.engines.graph_engine import GraphEngine
from segkit.engines.hardware import choose_device
from segkit.engines.onnxruntime_engine import ONNXRuntimeEngine
from segkit.engines.openvino_engine import OpenVINOEngine
from segkit.engines.shelf import Shelf
from segkit.engines.torch_engine import TorchEngine, looks_along_slices
from segkit.errors import SettingsError

ENGINES: dict[str, type[TorchEngine] | type[GraphEngine]] = {
    "torch": TorchEngine,
    "openvino": OpenVINOEngine,
    "onnxruntime": ONNXRuntimeEngine,
}

PAYS_FROM = 16
"""Pictures from which on OpenVINO has made up for its start."""


@dataclass(frozen=True)
class Work:
    """What the engine will be asked for.

    pictures : pictures and slices to be scored, as far as is known
    attention : whether also for the spatial weights inside the network
    """

    pictures: int = 1
    attention: bool = False


def build_engine(
    name: str, network: nn.Module, device: str = "auto", precision: str = "auto", *, work: Work | None = None, shelf: Shelf | None = None
) -> Engine:
    """The engine of that name, or for "auto" the one that is done first.

    Parameters
    ----------
    network : is copied, so that it can go on training
    work : what "auto" chooses by
    shelf : where graphs are kept between runs; None keeps none

    Raises
    ------
    SettingsError
        No such engine, or it can't do what the network needs.
    DeviceError
        The machine, or the engine, lacks the device or precision.
    MissingExtraError
        The engine's package is not installed.
    """
    kind = ENGINES[choose_engine(name, network, device, work or Work())]
    return kind(network, device, precision, shelf) if issubclass(kind, GraphEngine) else kind(network, device, precision)


def choose_engine(wanted: str, network: nn.Module, device: str, work: Work) -> str:
    """"auto" -> "openvino" where it is installed, can do the work, and the work is long enough; else "torch".

    It is never "onnxruntime", which was nowhere faster than OpenVINO (docs/decisions/0008-engines.md).

    Raises
    ------
    SettingsError
        No such engine.
    """
    if wanted not in ("auto", *ENGINES):
        raise SettingsError(f"engine {wanted!r} is not one of auto, {', '.join(ENGINES)}")
    if wanted != "auto":
        return wanted
    able = choose_device(device).type == "cpu" and not work.attention and not looks_along_slices(network)
    return "openvino" if able and work.pictures >= PAYS_FROM and installed(OpenVINOEngine.extra) else "torch"
