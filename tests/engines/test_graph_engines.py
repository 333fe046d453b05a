"""OpenVINO and ONNX Runtime: the same logits as torch's, and a plain word where they can't do what it can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.engines import ENGINES, Engine, TorchEngine, build_engine
from segkit.engines.extras import EXTRAS
from segkit.errors import DeviceError, MissingExtraError, SettingsError
from segkit.models import build_model

GRAPH_ENGINES = {"openvino": "openvino", "onnxruntime": "onnx"}
"""Engine -> its extra."""

NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {"feature_scale": 16},
    "attention gate": {"feature_scale": 16, "skip": "attention"},
    "sapf": {"feature_scale": 16, "bottleneck": "sapf"},
    "transformer": {"feature_scale": 16, "bottleneck": "transformer"},
    "resnet18 with cbam": {"encoder": "resnet18", "skip": "cbam", "upsampling": "deconv", "num_classes": 3},
    "shufflenet": {"encoder": "shufflenet_v2_x1_0"},
    "mobilenet with gpg": {"encoder": "mobilenet_v2", "skip": "gpg"},
}


def network_of(name: str) -> nn.Module:
    """One whose batch norms have seen something."""
    torch.manual_seed(0)
    network = build_model("unet", **NETWORKS[name])
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 3, 64, 64) + 1)
    return network.eval()


def engine_of(name: str, network: nn.Module, **options: Any) -> Engine:
    """Skips the test where the engine's packages are missing."""
    for package in EXTRAS[GRAPH_ENGINES[name]]:
        pytest.importorskip(package)
    return build_engine(name, network, **options)


def off(found: Tensor, right: Tensor) -> float:
    """Largest difference as a share of the largest logit."""
    return float((found - right).abs().max() / right.abs().max())


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_an_engine_scores_pictures_of_any_size_as_torch_does(name: str, kind: str) -> None:
    network = network_of(kind)
    engine, torch_engine = engine_of(name, network, precision="fp32"), TorchEngine(network, "cpu", "fp32")
    for shape in ((1, 3, 33, 47), (3, 3, 70, 52), (1, 3, 5, 47)):   # the last is too low to be mirrored
        picture = torch.randn(shape) + 1
        logits, right = engine(picture), torch_engine(picture)
        assert logits.dtype == torch.float32
        assert logits.shape == right.shape
        assert off(logits, right) < 1e-3


def blocks(count: int, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(N, 3, h, w) pictures of bright blocks of 8x8 pixels in noise, and the blocks, (N, h, w)."""
    truth = torch.rand(count, 1, shape[0] // 8, shape[1] // 8).gt(0.5).float().repeat_interleave(8, -1).repeat_interleave(8, -2)
    return truth + 0.1 * torch.randn(count, 3, *shape), truth[:, 0].long()


def test_openvino_draws_nearly_the_same_masks_in_bfloat16() -> None:
    for package in EXTRAS["openvino"]:
        pytest.importorskip(package)
    torch.manual_seed(0)
    network = build_model("unet", feature_scale=16, decoder_batchnorm=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(30):
        picture, truth = blocks(4, (32, 48))
        optimizer.zero_grad()
        F.cross_entropy(network(picture), truth).backward()
        optimizer.step()
    try:
        engine = build_engine("openvino", network, precision="bf16")
    except DeviceError as error:
        pytest.skip(str(error))
    picture, truth = blocks(2, (64, 96))
    logits, right = engine(picture), TorchEngine(network, "cpu", "fp32")(picture)
    assert engine.precision == "bf16"
    assert off(logits, right) > 1e-4                                # it is bfloat16
    assert (right.argmax(dim=1) == truth).float().mean() > 0.9      # it was trained: an untrained one's logits lie too close together
    assert (logits.argmax(dim=1) == right.argmax(dim=1)).float().mean() > 0.99


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_a_batch_does_not_overwrite_the_logits_of_the_one_before(name: str) -> None:
    engine = engine_of(name, network_of("plain"), precision="fp32")
    first = engine(torch.zeros(1, 3, 16, 16))
    kept = first.clone()
    engine(torch.ones(1, 3, 16, 16))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_an_engine_says_what_it_is(name: str) -> None:
    engine = engine_of(name, network_of("plain"), precision="fp32")
    assert (engine.name, str(engine.device), engine.precision, engine.along_slices) == (name, "cpu", "fp32", False)
    assert engine.grown((33, 48)) == (48, 48)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_slices_of_a_volume_are_scored_one_by_one(name: str) -> None:
    engine = engine_of(name, network_of("plain"), precision="fp32")
    slices = torch.randn(3, 3, 16, 16)
    logits = torch.cat(list(engine.score_volume(lambda: iter(slices.split(2)))))
    torch.testing.assert_close(logits, engine(slices), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_attention_can_not_be_seen_in_a_graph(name: str) -> None:
    assert engine_of(name, network_of("plain")).attention_paths == ()
    engine = engine_of(name, network_of("attention gate"))
    with pytest.raises(SettingsError, match=f"the engine {name} can't show what the network pays attention to; choose the engine torch"):
        _ = engine.attention_paths
    with pytest.raises(SettingsError, match=f"the engine {name} can't show"):
        engine.watch_attention()


@pytest.mark.parametrize("name", GRAPH_ENGINES)
def test_what_an_engine_has_not_is_refused_before_anything_is_compiled(name: str) -> None:
    with pytest.raises(SettingsError, match=f"the engine {name} scores slices one by one, and this network looks along them"):
        build_engine(name, build_model("unet", feature_scale=16, bottleneck="slice_gru"))
    with pytest.raises(DeviceError, match=f"the engine {name} runs on the CPU, 'cuda' was asked for"):
        build_engine(name, nn.Conv2d(1, 1, 1), "cuda")
    with pytest.raises(DeviceError, match="fp16 needs a GPU"):
        build_engine(name, nn.Conv2d(1, 1, 1), precision="fp16")


def test_onnxruntime_has_no_bfloat16_and_takes_float32_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segkit.engines.hardware.has_amx", lambda: True)
    with pytest.raises(DeviceError, match="the engine onnxruntime computes in fp32 on this processor, not in bf16"):
        engine_of("onnxruntime", nn.Conv2d(1, 1, 1), precision="bf16")
    assert engine_of("onnxruntime", nn.Conv2d(1, 1, 1)).precision == "fp32"


def test_openvino_refuses_bfloat16_on_a_processor_without(monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr("segkit.engines.openvino_engine._core", Core)
    with pytest.raises(DeviceError, match="the engine openvino computes in fp32 on this processor, not in bf16"):
        build_engine("openvino", nn.Conv2d(1, 1, 1), precision="bf16")


@pytest.mark.parametrize(("name", "package"), [("openvino", "openvino"), ("openvino", "onnx"), ("onnxruntime", "onnxruntime"), ("onnxruntime", "onnx")])
def test_without_its_package_an_engine_names_the_extra(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = GRAPH_ENGINES[name]
    if package == "onnx":                                           # which is asked for last
        pytest.importorskip(name)
    monkeypatch.setitem(sys.modules, package, None)                 # as if it were not installed
    with pytest.raises(MissingExtraError, match=rf'this engine needs {package} .*: pip install "segkit\[{extra}\]"'):
        build_engine(name, nn.Conv2d(1, 1, 1), precision="fp32")


def test_every_engine_but_torchs_runs_graphs() -> None:
    assert set(ENGINES) == {"torch", *GRAPH_ENGINES}


def test_openvino_reports_nothing_to_its_maker(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    code = "from segkit.engines.openvino_engine import _core; import sys; _core(); print(sorted(n for n in sys.modules if 'openvino_telemetry' in n))"
    environment = {"HOME": str(tmp_path), "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}   # no CI variable, which would silence it too
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.strip() == "['openvino_telemetry']"           # which is None: no module of it was loaded
    assert list(tmp_path.iterdir()) == []                           # where it keeps whom it reports as
