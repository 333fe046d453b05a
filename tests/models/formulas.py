"""What networks are made of, in sums that can be followed, to hold their layers against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shaken(module: nn.Module) -> nn.Module:
    """The module in eval mode with every number in it drawn anew, also those that start at 0 or 1 and the means of batch norms."""
    generator = torch.Generator().manual_seed(1)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator) / 3
            value.copy_(drawn.square() + 0.5 if name.endswith("running_var") else drawn)
    return module.eval()


def pointwise(x: Tensor, conv: nn.Module) -> Tensor:
    """1×1 convolution: a matrix product at each position."""
    weight, bias = conv.get_parameter("weight"), conv._parameters["bias"]
    product = torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], x)
    return product if bias is None else product + bias[:, None, None]


def three_by_three(x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1) -> Tensor:
    """(B, C, H, W) and (O, C, 3, 3) -> (B, O, H, W): nine matrix products, each of the map moved by 0 or ±dilation, with zeros outside."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (dilation,) * 4)
    total = torch.zeros(len(x), len(weight), height, width)
    for row in range(3):
        for column in range(3):
            moved = padded[:, :, row * dilation :, column * dilation :][:, :, :height, :width]
            total += torch.einsum("oc,bchw->bohw", weight[:, :, row, column], moved)
    return total if bias is None else total + bias[:, None, None]


def normed(x: Tensor, norm: nn.Module) -> Tensor:
    """Batch norm in eval mode."""
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance, weight, bias = (value[:, None, None] for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias) if value is not None)
    return (x - mean) / (variance + norm.eps).sqrt() * weight + bias


def stretched(x: Tensor, factor: int, *, corners: bool) -> Tensor:
    """Linear interpolation along both axes; with `corners` the outermost pixels stay where they are, else the pixels' areas are what lines up."""
    rows, columns = (_mixing(length, factor * length, corners=corners) for length in x.shape[-2:])
    return torch.einsum("rh,bchw,sw->bcrs", rows, x, columns)


def _mixing(before: int, after: int, *, corners: bool) -> Tensor:
    """(after, before): how much of each pixel is in each new one."""
    at = np.arange(after) * (before - 1) / (after - 1) if corners else (np.arange(after) + 0.5) * before / after - 0.5
    return torch.tensor(np.stack([np.interp(at, np.arange(before), one) for one in np.eye(before)], axis=1), dtype=torch.float32)
