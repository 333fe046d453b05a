"""What engines have in common that run a graph in place of torch's network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segkit.engines.extras import require
from segkit.engines.graph import export_graph, graph_key, grow, multiple_of
from segkit.engines.hardware import Precision, batch_pixels, choose_precision
from segkit.engines.shelf import Shelf
from segkit.engines.torch_engine import attention_paths, looks_along_slices
from segkit.errors import DeviceError, SettingsError

Run: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(N, C, h, w) -> (N, K, h, w), h and w multiples of the network's largest stride."""


class GraphEngine(ABC):
    """(N, C, h, w) float32 -> (N, K, h, w) float32 logits on the CPU, by a graph compiled once for all sizes.

    Raises
    ------
    SettingsError
        The network looks along the slices of a volume, or can't be written as a graph.
    DeviceError
        Another device than the CPU was asked for, or a precision that the engine has not.
    MissingExtraError
        The engine's package is not installed.
    """

    name: str
    extra: str
    along_slices = False
    in_flight: int = 1

    def __init__(self, network: nn.Module, device: str = "auto", precision: str = "auto", shelf: Shelf | None = None) -> None:
        if looks_along_slices(network):
            raise SettingsError(f"the engine {self.name} scores slices one by one, and this network looks along them; choose the engine torch")
        if device not in ("auto", "cpu"):
            raise DeviceError(f"the engine {self.name} runs on the CPU, {device!r} was asked for; choose the device cpu or the engine torch")
        self.device = torch.device("cpu")
        self.batch_pixels = batch_pixels(self.device)
        self.precision = self._choose_precision(precision)
        self._multiple = multiple_of(network)
        self._hidden = attention_paths(network)
        self._run = self.compile(self._graph(network, shelf))

    @abstractmethod
    def precisions(self) -> tuple[Precision, ...]:
        """What this engine can compute in on this processor."""

    @abstractmethod
    def compile(self, graph: bytes) -> Run:
        """Make an ONNX graph ready to run in `self.precision`, on as many threads as torch has."""

    def __call__(self, batch: Tensor) -> Tensor:
        height, width = batch.shape[-2:]
        grown = grow(batch.to("cpu", torch.float32), self.grown((height, width)))
        return torch.from_numpy(self._run(grown.contiguous().numpy()))[..., :height, :width]

    def score_volume(self, batches: Callable[[], Iterable[Tensor]]) -> Iterator[Tensor]:
        """The logits of each batch: the slices know nothing of each other."""
        return map(self, batches())

    @property
    def attention_paths(self) -> tuple[str, ...]:
        """Empty.

        Raises
        ------
        SettingsError
            The network makes spatial weights, which a graph keeps to itself.
        """
        if self._hidden:
            raise SettingsError(f"the engine {self.name} can't show what the network pays attention to; choose the engine torch")
        return ()

    def watch_attention(self) -> AbstractContextManager[dict[str, Tensor]]:
        raise SettingsError(f"the engine {self.name} can't show what a network pays attention to; choose the engine torch")

    def grown(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of a batch -> the size that the network works at."""
        height, width = (-(-length // self._multiple) * self._multiple for length in shape)
        return height, width

    def _choose_precision(self, wanted: str) -> Precision:
        """As torch would choose, where the engine has it."""
        chosen, able = choose_precision(wanted, self.device), self.precisions()
        if chosen in able:
            return chosen
        if wanted != "auto":
            raise DeviceError(f"the engine {self.name} computes in {' or '.join(able)} on this processor, not in {wanted}; choose auto or the engine torch")
        return able[0]

    def _graph(self, network: nn.Module, shelf: Shelf | None) -> bytes:
        def make() -> bytes:
            require("onnx", self.extra)
            return export_graph(network)

        return make() if shelf is None else shelf.fetch(graph_key(network), make)
