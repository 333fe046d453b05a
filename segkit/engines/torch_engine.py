"""A network made ready to score: batch norms folded, channels last, in the precision that pays."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segkit.engines.hardware import DTYPES, choose_device, choose_precision


class TorchEngine:
    """(N, C, h, w) float32 -> (N, K, h, w) float32 logits on the CPU.

    The network handed over is copied, so that it can go on training.
    """

    def __init__(self, network: nn.Module, device: str = "auto", precision: str = "auto") -> None:
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._dtype = DTYPES[self.precision]
        folded = fold_batch_norms(copy.deepcopy(network).float().eval())
        self._network = folded.to(self.device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        batch = batch.to(self.device, self._dtype, memory_format=torch.channels_last, non_blocking=True)
        return self._network(batch).to("cpu", torch.float32)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Work each batch norm that follows a convolution into the convolution's weights; changes the network.

    In eval mode a batch norm is a multiplication and an addition for each channel, which the convolution before it can do as well.
    The pairs are neighbours in an `nn.Sequential`, or named in a block's ``conv_norms``: ``(("conv1", "bn1"), ...)``.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            keys = list(module._modules)
            _fold(module, itertools.pairwise(keys))
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
