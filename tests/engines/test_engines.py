"""Engines: the same logits, faster."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segkit.engines import TorchEngine, choose_device, choose_precision, fold_batch_norms
from segkit.errors import DeviceError
from segkit.models import build_model


def trained() -> nn.Module:
    """A network whose batch norms have seen something."""
    torch.manual_seed(0)
    network = build_model("unet", feature_scale=8)
    for _ in range(3):
        network(torch.randn(4, 3, 32, 32) * 2 + 1)
    return network.eval()


def test_folded_batch_norms_give_the_same_logits() -> None:
    network, picture = trained(), torch.randn(2, 3, 33, 47)
    with torch.no_grad():
        before = network(picture)
        after = fold_batch_norms(network)(picture)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_the_engine_scores_as_the_network_and_leaves_it_alone() -> None:
    network, picture = trained(), torch.randn(1, 3, 33, 47)
    engine = TorchEngine(network, "cpu", "fp32")
    with torch.no_grad():
        torch.testing.assert_close(engine(picture), network(picture), rtol=1e-4, atol=1e-4)
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_bfloat16_comes_back_as_float32_and_nearly_the_same() -> None:
    network, picture = trained(), torch.randn(1, 3, 32, 32)
    half, full = TorchEngine(network, "cpu", "bf16")(picture), TorchEngine(network, "cpu", "fp32")(picture)
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.05 * full.abs().mean()


@pytest.mark.parametrize(
    ("wanted", "message"), [("gpu", "is not a device"), ("cuda:99", "this torch sees"), ("vulkan", "is not supported"), ("meta", "is not supported")]
)
def test_a_device_that_is_not_there_is_refused(wanted: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        choose_device(wanted)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has MPS")
def test_mps_is_refused_where_there_is_none() -> None:
    with pytest.raises(DeviceError, match="this machine has none"):
        choose_device("mps")


def test_precisions_that_do_not_fit_are_refused() -> None:
    cpu = torch.device("cpu")
    with pytest.raises(DeviceError, match="is not one of auto"):
        choose_precision("double", cpu)
    with pytest.raises(DeviceError, match="fp16 needs a GPU"):
        choose_precision("fp16", cpu)


def test_bfloat16_is_chosen_on_a_cpu_with_amx_only(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for tiles, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("segkit.engines.hardware.has_amx", lambda tiles=tiles: tiles)
        assert choose_precision("auto", cpu) == expected
    assert choose_precision("bf16", cpu) == "bf16"
