"""Gates on the skips, against their formulas."""

from __future__ import annotations

import pytest
import torch
from formulas import noise, pointwise, shaken, stretched
from torch import Tensor

from segkit.models import build_model
from segkit.models.attention import CBAM, SqueezeExcitation
from segkit.models.gates import GATES, AttentionGate, SCSEGate, SCSEMaxGate


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


@pytest.mark.parametrize("kind", [SCSEGate, SCSEMaxGate])
def test_scse_is_the_sum_or_the_larger_of_both_ways(kind: type[SCSEGate]) -> None:
    skip, gate = noise(2, 32, 5, 7), kind(32, 64, 2)
    shaken(gate)
    hidden = (skip.sum(dim=(2, 3)) / 35 @ gate.channel.squeeze.weight.T).clamp(min=0)
    channels = skip * sigmoid(hidden @ gate.channel.excite.weight.T)[:, :, None, None]
    positions = skip * sigmoid(pointwise(skip, gate.spatial.conv))
    expected = torch.where(channels > positions, channels, positions) if kind is SCSEMaxGate else channels + positions
    torch.testing.assert_close(gate(skip, noise(2, 64, 2, 3)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_the_attention_gate_is_the_formula(factor: int) -> None:
    skip, deep, gate = noise(2, 6, 3 * factor, 5 * factor), noise(2, 4, 3, 5, seed=1), AttentionGate(6, 4, factor)
    shaken(gate)
    blocks = skip.unfold(2, factor, factor).unfold(3, factor, factor)                          # (B, C, 3, 5, factor, factor)
    hidden = pointwise(deep, gate.signal) + torch.einsum("bchwij,ocij->bohw", blocks, gate.skip.weight)
    weights = sigmoid(pointwise(hidden.clamp(min=0), gate.weigh.conv))                         # (B, 1, 3, 5)
    torch.testing.assert_close(gate(skip, deep), skip * stretched(weights, factor, corners=False), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "alone"), [("se", SqueezeExcitation), ("cbam", CBAM)])
def test_se_and_cbam_on_a_skip_are_what_they_are_in_an_encoder(name: str, alone: type[SqueezeExcitation | CBAM]) -> None:
    skip, gate, module = noise(2, 32, 5, 7), GATES[name](32, 64, 2), alone(32)
    module.load_state_dict(gate.state_dict())
    torch.testing.assert_close(gate(skip, noise(2, 64, 2, 3)), module(skip))


def test_without_a_gate_the_skip_goes_on_as_it_is() -> None:
    skip = noise(2, 32, 5, 7)
    assert GATES["none"](32, 64, 2)(skip, noise(2, 64, 2, 3)) is skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "start"), [("se", 1 / 2), ("cbam", 1 / 4), ("scse", 1), ("attention", 1 / 2)])
def test_a_skip_begins_neither_open_nor_shut_whatever_the_seed(name: str, start: float, seed: int) -> None:
    torch.manual_seed(seed)
    network = build_model("unet", skip=name, feature_scale=4, in_channels=1)          # as training finds it
    shares = []
    for stage in network.decoder:
        stage.gate.register_forward_hook(lambda gate, given, made: shares.append(float(made.sum() / given[0].sum())))
    with torch.no_grad():
        network(noise(2, 1, 64, 64))
    assert len(shares) == 4
    assert shares == pytest.approx([start] * 4, rel=0.25)
