"""Which engine is taken when nobody says."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from segkit.engines import TorchEngine, Work, build_engine, choose_engine
from segkit.engines.choice import PAYS_FROM
from segkit.errors import SettingsError
from segkit.models import build_model

LONG = Work(pictures=PAYS_FROM)
NETWORK = nn.Conv2d(1, 1, 1)


@pytest.fixture
def with_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segkit.engines.choice.installed", lambda extra: extra == "openvino")


@pytest.mark.usefixtures("with_openvino")
@pytest.mark.parametrize(
    ("work", "expected"),
    [(LONG, "openvino"), (Work(PAYS_FROM - 1), "torch"), (Work(), "torch"), (Work(PAYS_FROM, attention=True), "torch")],
)
def test_openvino_is_taken_for_long_work_that_it_can_do(work: Work, expected: str) -> None:
    assert choose_engine("auto", NETWORK, "cpu", work) == expected


@pytest.mark.usefixtures("with_openvino")
def test_a_network_along_slices_is_left_to_torch() -> None:
    assert choose_engine("auto", build_model("unet", feature_scale=16, bottleneck="slice_gru"), "cpu", LONG) == "torch"


@pytest.mark.usefixtures("with_openvino")
def test_a_gpu_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segkit.engines.choice.choose_device", lambda wanted: torch.device("cuda"))
    assert choose_engine("auto", NETWORK, "auto", LONG) == "torch"


@pytest.mark.parametrize("package", ["openvino", "onnx"])
def test_torch_is_taken_where_the_extra_is_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert choose_engine("auto", NETWORK, "cpu", LONG) == "torch"


def test_an_engine_that_was_asked_for_is_never_exchanged() -> None:
    assert choose_engine("onnxruntime", NETWORK, "cpu", Work()) == "onnxruntime"
    assert choose_engine("torch", NETWORK, "cpu", LONG) == "torch"
    with pytest.raises(SettingsError, match="engine 'tensorrt' is not one of auto, torch, openvino, onnxruntime"):
        choose_engine("tensorrt", NETWORK, "cpu", LONG)


def test_a_single_picture_is_scored_by_torch() -> None:
    engine = build_engine("auto", NETWORK, "cpu", "fp32")
    assert isinstance(engine, TorchEngine)
    assert engine.name == "torch"
