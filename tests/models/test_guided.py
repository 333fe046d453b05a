"""Global pyramid guidance and the decoder that adds it, against their formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from formulas import noise, normed, pointwise, shaken, stretched, three_by_three
from torch import Tensor, nn

from segkit.models import build_model
from segkit.models.decoder import plan_steps
from segkit.models.guided import GlobalPyramidGuidance, GuidedDecoder, GuidedStage

WIDTHS = (2, 3, 4, 5, 6)


def pyramid() -> list[Tensor]:
    """Maps of five stages, the finest of 32×48."""
    return [noise(2, width, 32 // 2**stage, 48 // 2**stage, seed=stage) for stage, width in enumerate(WIDTHS)]


def squeezed(x: Tensor, block: Any) -> Tensor:
    conv, norm, _ = block
    return normed(three_by_three(x, conv.weight), norm).clamp(min=0)


def separable(x: Tensor, block: Any, dilation: int) -> Tensor:
    """Each channel by itself at that dilation, then all of them at each position."""
    depthwise, norm, mix, last, _ = block
    alone = torch.diag_embed(depthwise.weight[:, 0].permute(1, 2, 0)).permute(2, 3, 0, 1)      # (C, C, 3, 3), zeros but for a channel with itself
    return normed(pointwise(normed(three_by_three(x, alone, dilation=dilation), norm), mix), last).clamp(min=0)


def test_guidance_is_the_formula() -> None:
    maps, guide = pyramid()[2:], GlobalPyramidGuidance(WIDTHS[2:], nn.BatchNorm2d)
    shaken(guide)
    same_size = [stretched(squeezed(x, block), factor, corners=True) for x, block, factor in zip(maps, guide.squeeze, (1, 2, 4), strict=True)]
    together = torch.cat(same_size, dim=1)
    branches = [separable(together, block, dilation) for block, dilation in zip(guide.branches, (1, 2, 4), strict=True)]
    conv, norm = guide.fuse
    expected = normed(pointwise(torch.cat(branches, dim=1), conv), norm)                        # no ReLU: that comes behind the sum
    torch.testing.assert_close(guide(maps), expected, rtol=1e-3, atol=1e-3 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("upsampling", ["bilinear", "deconv"])
def test_a_stage_is_a_convolution_a_way_up_and_a_mixture(upsampling: str) -> None:
    x, stage = noise(2, 4, 3, 5), GuidedStage(4, 3, 2, upsampling, nn.BatchNorm2d)
    shaken(stage)
    before, up, (conv, norm, _) = stage
    larger = stretched(squeezed(x, before), 2, corners=True) if upsampling == "bilinear" else up(squeezed(x, before))
    torch.testing.assert_close(stage(x), normed(pointwise(larger, conv), norm).clamp(min=0), rtol=1e-4, atol=1e-4)


def test_guidance_is_added_and_then_only_the_sum_is_rectified() -> None:
    maps, deepest = pyramid(), noise(2, 6, 2, 3, seed=9)
    decoder = GuidedDecoder(plan_steps(WIDTHS, (2, 4, 8, 16, 32), (1,) * 5), "bilinear", nn.BatchNorm2d)
    shaken(decoder)
    assert [[branch[0].dilation[0] for branch in guide.branches] for guide in decoder.guidance] == [[1, 2], [1, 2, 4], [1, 2, 4, 8]]
    fourth, third, second, first, last = decoder.stages
    x4 = (fourth(deepest) + decoder.guidance[0](maps[3:])).clamp(min=0)
    x3 = (third(x4) + decoder.guidance[1](maps[2:])).clamp(min=0)
    x2 = (second(x3) + decoder.guidance[2](maps[1:])).clamp(min=0)
    x1 = (first(x2) + maps[0]).clamp(min=0)
    for one, expected in zip(decoder(maps, deepest), [last(x1), x1, x2, x3, x4], strict=True):
        torch.testing.assert_close(one, expected)


def test_guidance_sees_the_encoders_own_last_map_and_the_way_up_begins_with_the_bottlenecks() -> None:
    network = build_model("unet", feature_scale=16, skip="gpg", bottleneck="sapf").eval()
    seen: dict[str, Any] = {}
    network.encoder.register_forward_hook(lambda module, given, maps: seen.update(encoder=maps[-1].clone()))
    network.bottleneck.register_forward_hook(lambda module, given, x: seen.update(bottleneck=x))
    for number, guide in enumerate(network.decoder.guidance):
        guide.register_forward_pre_hook(lambda module, given, number=number: seen.update({f"guide {number}": given[0][-1]}))
    network.decoder.stages[0].register_forward_pre_hook(lambda module, given: seen.update(stage=given[0]))
    network(noise(1, 3, 33, 47))
    assert not torch.equal(seen["encoder"], seen["bottleneck"])
    assert torch.equal(seen["stage"], seen["bottleneck"])
    assert all(torch.equal(seen[f"guide {number}"], seen["encoder"]) for number in range(3))
