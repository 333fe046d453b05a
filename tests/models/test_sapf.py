"""Scale-aware pyramid fusion, against its formula."""

from __future__ import annotations

import torch
from formulas import noise, normed, pointwise, shaken, three_by_three
from torch import Tensor, nn

from segkit.models.bottlenecks.sapf import PairFusion, ScaleAwareFusion


def fused(one: Tensor, other: Tensor, pair: PairFusion) -> Tensor:
    """1×1 convolution, ReLU, 3×3, ReLU, 3×3 to two maps; their softmax weighs the two that came in."""
    first, _, second, _, third = pair.weigh
    hidden = pointwise(torch.cat([one, other], dim=1), first).clamp(min=0)
    hidden = three_by_three(hidden, second.weight, second.bias).clamp(min=0)
    scores = three_by_three(hidden, third.weight, third.bias).exp()
    return (scores[:, :1] * one + scores[:, 1:] * other) / scores.sum(dim=1, keepdim=True)


def test_it_is_the_formula() -> None:
    x, sapf = noise(2, 4, 9, 11), ScaleAwareFusion(4, nn.BatchNorm2d)
    shaken(sapf)
    sapf.gamma.data.fill_(0.25)
    near, middle, far = (normed(three_by_three(x, sapf.conv.weight, dilation=reach), norm) for reach, norm in zip((1, 2, 4), sapf.norms, strict=True))
    blend = (0.25 * fused(fused(near, middle, sapf.first), far, sapf.second) + 0.75 * x).clamp(min=0)
    project, norm, _ = sapf.project
    torch.testing.assert_close(sapf(x), normed(pointwise(blend, project), norm).clamp(min=0), rtol=1e-4, atol=1e-4)


def test_it_starts_with_nothing_of_the_pyramid() -> None:
    x, sapf = noise(2, 4, 9, 11), ScaleAwareFusion(4, nn.BatchNorm2d).eval()
    before = sapf(x)
    nn.init.ones_(sapf.conv.weight)
    torch.testing.assert_close(sapf(x), before)


def test_with_equal_scores_the_pair_gives_its_mean() -> None:
    one, other, pair = noise(1, 4, 3, 5), noise(1, 4, 3, 5, seed=1), PairFusion(4)
    nn.init.zeros_(pair.weigh[-1].weight)
    nn.init.zeros_(pair.weigh[-1].bias)
    torch.testing.assert_close(pair(one, other), (one + other) / 2)
