"""Engines: the same logits, faster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

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


class Half(nn.Module):
    """(B, C, H, W) -> (B, 1, H / 2, W / 2): the mean over channels of every other pixel."""

    draws_attention = True

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] == 1:
            raise RuntimeError("too narrow")
        return x.mean(dim=1, keepdim=True)[..., ::2, ::2]


class Attentive(nn.Module):
    """Asks `spatial` twice, the second time about half of what it was given, and `idle` never."""

    multiple = 16

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.ModuleDict({"spatial": Half()})
        self.idle = Half()

    def forward(self, x: Tensor) -> Tensor:
        self.part["spatial"](x)
        self.part["spatial"](x / 2)
        return x


def hooks(engine: TorchEngine) -> int:
    return sum(len(module._forward_hooks) for module in engine._network.modules())


def test_attention_is_seen_while_a_batch_is_scored_and_the_network_left_as_it_was() -> None:
    engine, batch = TorchEngine(Attentive(), "cpu", "fp32"), torch.rand(2, 3, 4, 6)
    assert engine.attention_paths == ("part.spatial", "idle")
    with engine.watch_attention() as seen:
        engine(batch)
    assert list(seen) == ["part.spatial"]
    torch.testing.assert_close(seen["part.spatial"], batch[..., ::2, ::2].mean(dim=1, keepdim=True) / 2)
    assert hooks(engine) == 0


def test_a_batch_that_fails_leaves_no_hook_behind() -> None:
    engine = TorchEngine(Attentive(), "cpu", "fp32")
    with pytest.raises(RuntimeError, match="too narrow"), engine.watch_attention():
        engine(torch.rand(1, 3, 4, 1))
    assert hooks(engine) == 0


def test_attention_comes_back_as_float32() -> None:
    engine = TorchEngine(Attentive(), "cpu", "bf16")
    with engine.watch_attention() as seen:
        engine(torch.rand(1, 3, 4, 6))
    (weights,) = seen.values()
    assert weights.dtype == torch.float32


def test_a_network_without_attention_has_none_to_see() -> None:
    engine = TorchEngine(nn.Conv2d(1, 1, 1), "cpu", "fp32")
    assert engine.attention_paths == ()
    with engine.watch_attention() as seen:
        engine(torch.rand(1, 1, 4, 4))
    assert seen == {}


def test_a_network_grows_pictures_to_its_multiple() -> None:
    assert TorchEngine(Attentive(), "cpu").grown((33, 48)) == (48, 48)
    assert TorchEngine(nn.Conv2d(1, 1, 1), "cpu").grown((33, 47)) == (33, 47)


def test_attention_of_what_another_thread_scores_is_not_seen() -> None:
    engine, batch = TorchEngine(Attentive(), "cpu", "fp32"), torch.rand(2, 3, 4, 6)
    with engine.watch_attention() as seen, ThreadPoolExecutor(1) as other:
        engine(batch)
        other.submit(engine, batch / 2).result()
    torch.testing.assert_close(seen["part.spatial"], batch[..., ::2, ::2].mean(dim=1, keepdim=True) / 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")
def test_two_threads_on_a_gpu_score_as_the_processor_does() -> None:
    network, pictures = trained(), torch.randn(8, 3, 33, 47).split(2)
    on_gpu, here = TorchEngine(network, "cuda", "fp32"), TorchEngine(network, "cpu", "fp32")
    assert on_gpu.in_flight == 2
    with ThreadPoolExecutor(2) as threads:
        for found, picture in zip(threads.map(on_gpu, pictures), pictures, strict=True):
            torch.testing.assert_close(found, here(picture), rtol=1e-2, atol=1e-2)
