"""What every engine offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from segkit.engines.hardware import Precision


class Engine(Protocol):
    """(N, C, h, w) float32 -> (N, K, h, w) float32 logits on the CPU.

    Attributes
    ----------
    name : as in ``--engine``
    device, precision : what was chosen; they belong to the result
    batch_pixels : of all patches of a batch together, the number at which it is fastest
    in_flight : batches that it takes at a time, each from a thread of its own
    """

    name: str
    device: torch.device
    precision: Precision
    batch_pixels: int
    in_flight: int

    def __call__(self, batch: Tensor) -> Tensor: ...

    @property
    def along_slices(self) -> bool:
        """Whether the network looks along the slices of a volume: then volumes go through `score_volume`."""
        ...

    def score_volume(self, batches: Callable[[], Iterable[Tensor]]) -> Iterator[Tensor]:
        """(N, C, h, w) batches of neighbouring slices, which may be asked for twice -> (N, K, h, w) logits of each."""
        ...

    @property
    def attention_paths(self) -> tuple[str, ...]:
        """Where in the network spatial weights are made; empty where nowhere. SettingsError where they are made but can't be seen."""
        ...

    def watch_attention(self) -> AbstractContextManager[dict[str, Tensor]]:
        """Inside the block: path -> (N, 1, h', w') float32 weights of the batch that was scored last."""
        ...

    def grown(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of a batch -> the size that the network works at."""
        ...
