"""A network made ready to score: batch norms folded, channels last, in the precision that pays."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segkit.engines.hardware import DTYPES, batch_pixels, batches_in_flight, choose_device, choose_precision


class TorchEngine:
    """(N, C, h, w) float32 -> (N, K, h, w) float32 logits on the CPU.

    The network handed over is copied, so that it can go on training. On CUDA each thread that calls has a stream of its own, and memory that
    is pinned: what one of them uploads or fetches overlaps with what another one computes.
    """

    name = "torch"

    def __init__(self, network: nn.Module, device: str = "auto", precision: str = "auto") -> None:
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.batch_pixels, self.in_flight = batch_pixels(self.device), batches_in_flight(self.device)
        self._dtype = DTYPES[self.precision]
        self._multiple = int(getattr(network, "multiple", 1))   # a network grows its pictures at their ends to a multiple of it
        folded = fold_batch_norms(copy.deepcopy(network).float().eval())
        self._network = folded.to(self.device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._lanes = threading.local()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the weights are there before another stream than this one's asks for them

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return self._network(self._ready(batch)).to("cpu", torch.float32)
        lane = self._lane()
        with torch.cuda.stream(lane):
            logits = self._network(self._ready(batch.pin_memory())).float()
            fetched = torch.empty(logits.shape, pin_memory=True).copy_(logits, non_blocking=True)
        lane.synchronize()
        return fetched

    def _lane(self) -> torch.cuda.Stream:
        """The stream of the thread that asks."""
        if not hasattr(self._lanes, "stream"):
            self._lanes.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        return self._lanes.stream

    def _ready(self, batch: Tensor) -> Tensor:
        """On the device, which finds the precision and the order of channels quicker than the processor does."""
        return batch.to(self.device, non_blocking=True).to(self._dtype, memory_format=torch.channels_last)

    @property
    def along_slices(self) -> bool:
        """Whether the network looks along the slices of a volume: then volumes go through `score_volume`."""
        return looks_along_slices(self._network)

    @torch.inference_mode()
    def score_volume(self, batches: Callable[[], Iterable[Tensor]]) -> Iterator[Tensor]:
        """(N, C, h, w) batches of neighbouring slices, asked for twice -> (N, K, h, w) logits of each.

        First every slice's deepest map, which are small; they pass the bottleneck together, so that each knows of all; then the way up.
        """
        network: Any = self._network
        deepest = torch.cat([network.deepest(self._ready(batch)) for batch in batches()])
        known = iter(network.bottleneck(deepest, len(deepest)))
        for batch in batches():
            yield network(self._ready(batch), torch.stack(list(islice(known, len(batch))))).to("cpu", torch.float32)

    @property
    def attention_paths(self) -> tuple[str, ...]:
        """Where in the network spatial weights are made, `decoder.2.gate.spatial`; empty where nowhere."""
        return attention_paths(self._network)

    @contextmanager
    def watch_attention(self) -> Iterator[dict[str, Tensor]]:
        """Inside the block: path -> (N, 1, h', w') float32 weights in [0, 1] on the CPU, of the batch that was scored last.

        They lie over the batch as the network has `grown` it. Of a module that is called several times, the last call counts; one that is
        never called is not there. What other threads score meanwhile is theirs.
        """
        seen: dict[str, Tensor] = {}
        with ExitStack() as hooks:  # they go with the block, also where it fails
            for path in self.attention_paths:
                hooks.enter_context(self._network.get_submodule(path).register_forward_hook(partial(_keep, seen, path, threading.get_ident())))
            yield seen

    def grown(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of a batch -> the size that the network works at: it grows pictures at their ends to a multiple of its largest stride."""
        height, width = (-(-length // self._multiple) * self._multiple for length in shape)
        return height, width


def looks_along_slices(network: nn.Module) -> bool:
    """Whether the network's bottleneck wants all slices of a volume at once."""
    return bool(getattr(getattr(network, "bottleneck", None), "along_slices", False))


def attention_paths(network: nn.Module) -> tuple[str, ...]:
    """Where in the network spatial weights are made, `decoder.2.gate.spatial`; empty where nowhere."""
    return tuple(path for path, module in network.named_modules() if getattr(module, "draws_attention", False))


def _keep(seen: dict[str, Tensor], path: str, thread: int, module: nn.Module, given: Any, weights: Tensor) -> None:
    if threading.get_ident() == thread:
        seen[path] = weights.to("cpu", torch.float32)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Work each batch norm that follows a convolution into the convolution's weights; changes the network.

    In eval mode a batch norm is a multiplication and an addition for each channel, which the convolution before it can do as well.
    The pairs are neighbours in an `nn.Sequential`, or named in a block's ``conv_norms``: ``(("conv1", "bn1"), ...)``.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            keys = list(module._modules)
            _fold(module, pairwise(keys))
        _fold(module, getattr(module, "conv_norms", ()))
    return network


def _fold(block: nn.Module, pairs: Iterable[tuple[str, str]]) -> None:
    for conv_name, norm_name in pairs:
        owner, conv, norm = block, getattr(block, conv_name), getattr(block, norm_name)
        if isinstance(conv, nn.Sequential):  # a stem of several convolutions ends with one
            owner, conv_name, conv = conv, list(conv._modules)[-1], conv[-1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(owner, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(block, norm_name, nn.Identity())
