"""What every network promises: one contract, over every skip with every bottleneck, and each other choice beside some of them.

Every combination of all choices is built by the tests marked `full`, which run only where they are asked for.
"""

from __future__ import annotations

import itertools
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.checkpoint import Card, fit_weights, load_model, save_model
from segkit.config import validate_run
from segkit.engines import TorchEngine
from segkit.errors import SettingsError
from segkit.models import COMBINATIONS, ENCODERS, MODELS, build_model
from segkit.models.bottlenecks import BOTTLENECKS
from segkit.models.gates import GATES
from segkit.models.upsampling import UPSAMPLINGS

SKIPS = [*GATES, "gpg"]
SMALL: dict[str, Any] = {"encoder": "plain", "feature_scale": 16}
PARTS = [  # every skip with every bottleneck; upsampling and heads change from one to the next, so that each meets each
    {**SMALL, "skip": skip, "bottleneck": bottleneck, "upsampling": list(UPSAMPLINGS)[(row + column) % 2], "deep_supervision": (row + column // 2) % 2 == 0}
    for (row, skip), (column, bottleneck) in itertools.product(enumerate(SKIPS), enumerate(BOTTLENECKS))
]
PARTS += [{**SMALL, "batchnorm": False, "upsampling": upsampling} for upsampling in UPSAMPLINGS] + [{**SMALL, "decoder_batchnorm": True}]
PARTS += [{"encoder": "resnet18", "skip": skip} for skip in SKIPS]
PARTS += [{"encoder": "resnet18", "bottleneck": bottleneck, "deep_supervision": True} for bottleneck in BOTTLENECKS]
PARTS += [{"encoder": "resnet18", "stem": "deep", "norm": "group", "output_stride": 8}]
PARTS += [{"encoder": "resnet18", "stem": "full", "norm": "instance", "skip": "attention"}]
PARTS += [{"encoder": "resnet18", "output_stride": 16, "norm": "group", "skip": "gpg", "bottleneck": "sapf", "upsampling": "deconv"}]
PARTS += [{"encoder": encoder, "skip": "cbam"} for encoder in ("se_resnet18", "cbam_resnet18", "mobilenet_v2", "shufflenet_v2_x1_0", "ghostnet")]
PARTS += [{"name": "unetplusplus", **SMALL, "upsampling": "deconv"}]
PARTS += [{"name": "unetplusplus", **SMALL, "bottleneck": bottleneck} for bottleneck in BOTTLENECKS if bottleneck != "none"]
PARTS += [{"name": "unetplusplus", **SMALL, "encoder": "resnet18", "feature_scale": None, "deep_supervision": True}]
PARTS += [{"name": name} for name in COMBINATIONS]

HEAVY = [name for name in ENCODERS if name not in ("plain", "resnet18")]


def spell(parts: dict[str, Any]) -> str:
    return "-".join(str(value) for value in parts.values() if value is not False)


def build(parts: dict[str, Any], **more: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(**{"settings": parts.get("name", "unet"), **{key: value for key, value in parts.items() if key != "name"}, **more})


@pytest.fixture(scope="module", params=PARTS, ids=spell)
def parts(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


@pytest.fixture(scope="module")
def network(parts: dict[str, Any]) -> nn.Module:
    return awake(build(parts, in_channels=2, num_classes=3))


def awake(network: nn.Module) -> nn.Module:
    """Changes parts that begin at 0, and so would let nothing before them learn in the first step; and gives small hidden layers units that are on."""
    for name, parameter in network.named_parameters():
        if name.endswith(("gamma", "weigh.weight", "weigh.bias")) and not parameter.any():
            nn.init.normal_(parameter, 0.5, 0.1)
        elif name.endswith("squeeze.weight"):
            parameter.data.abs_()
    return network


@pytest.fixture(scope="module")
def picture() -> Tensor:
    return torch.randn(2, 2, 33, 47, generator=torch.Generator().manual_seed(0))


def test_it_trains_a_step_and_every_parameter_learns(network: nn.Module, picture: Tensor) -> None:
    logits = network.train()(torch.stack([picture, -picture], dim=1))                      # two runs of two slices
    finest, *coarser = logits if isinstance(logits, list) else [logits]
    assert finest.shape == (4, 3, 33, 47)
    loss = F.cross_entropy(finest, torch.randint(0, 3, (4, 33, 47))) + sum(one.square().mean() for one in coarser)
    loss.backward()
    assert not idle(network)
    network.zero_grad(set_to_none=True)


def idle(network: nn.Module) -> list[str]:
    """Parameters that have learned nothing; a bias right before a norm, which takes every mean away, has nothing to learn."""
    norms = (nn.BatchNorm2d, nn.GroupNorm)
    blocks = [(name, list(block.named_children())) for name, block in network.named_modules() if isinstance(block, nn.Sequential)]
    before_a_norm = {f"{name}.{child}.bias" for name, children in blocks for (child, _), (_, then) in pairwise(children) if isinstance(then, norms)}
    grads = {name: parameter.grad for name, parameter in network.named_parameters() if name not in before_a_norm}
    return [name for name, grad in grads.items() if grad is None or not grad.any()]


def test_the_engine_scores_any_size_as_the_network_does(network: nn.Module, picture: Tensor) -> None:
    with torch.no_grad():
        expected = network.eval()(picture)
    assert expected.shape == (2, 3, 33, 47)
    engine = TorchEngine(network, "cpu", "fp32")
    torch.testing.assert_close(engine(picture), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert engine(picture[:1, :, :5, :31]).shape == (1, 3, 5, 31)
    assert engine(picture.repeat(1, 1, 2, 2)[:1, :, :50, :79]).shape == (1, 3, 50, 79)


def test_it_is_saved_and_comes_back(parts: dict[str, Any], network: nn.Module, tmp_path: Path) -> None:
    settings = {"model": parts, "preprocess": {"channels": 2}, "data": {"labels": {"background": 0, "one": 1, "two": 2}}}
    save_model(tmp_path / "model.safetensors", validate_run(settings, "test"), network.state_dict(), Card())
    file = load_model(tmp_path / "model.safetensors")
    again = build_model(file.run.model)
    fit_weights(again, file.weights, "test")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())


def test_it_becomes_a_traced_graph(network: nn.Module, picture: Tensor) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the graph holds for one size: that is what tracing is
        graph = torch.jit.trace(network.eval(), picture, check_trace=False)
        other = picture.flip(-1) + 0.5
        torch.testing.assert_close(graph(other), network(other), rtol=1e-4, atol=1e-4)


@pytest.mark.full
@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
@pytest.mark.parametrize("skip", [*SKIPS, "unetplusplus"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_combination_builds_and_trains_on_any_size(encoder: str, skip: str, bottleneck: str) -> None:
    """Thousands of networks, without values, for about an hour: ``pytest -m full tests/models/test_contract.py``.

    U-Net++ stands among the skips: it takes their place.
    """
    parts = {"settings": "unetplusplus"} if skip == "unetplusplus" else {"settings": "unet", "skip": skip}
    for upsampling, deep_supervision in itertools.product(UPSAMPLINGS, (False, True)):
        with torch.device("meta"):
            network = build_model(**parts, encoder=encoder, bottleneck=bottleneck, upsampling=upsampling, deep_supervision=deep_supervision, num_classes=3)
            logits = network.train()(torch.zeros(2, 3, 33, 47))
        sizes = [tuple(one.shape) for one in logits] if deep_supervision else [tuple(logits.shape)]
        assert sizes[0] == (2, 3, 33, 47), (upsampling, deep_supervision)
        assert sizes == sorted(sizes, reverse=True), (upsampling, sizes)
        assert (len(sizes) > 1) == deep_supervision


@pytest.mark.parametrize("encoder", HEAVY)
@pytest.mark.parametrize("name", list(MODELS))
def test_every_encoder_builds_into_every_architecture(name: str, encoder: str) -> None:
    with torch.device("meta"):
        network = build_model(name, encoder=encoder, in_channels=5, num_classes=7).eval()
        assert network(torch.zeros(1, 5, 33, 47)).shape == (1, 7, 33, 47)


@pytest.mark.parametrize("norm", ["group", "instance"])
@pytest.mark.parametrize("parts", [{"settings": "cpfnet"}, {"settings": "unet", "skip": "attention"}, {"settings": "unetplusplus"}], ids=spell)
def test_the_norm_of_a_network_is_that_of_all_its_parts(parts: dict[str, Any], norm: str) -> None:
    with torch.device("meta"):
        batch, other = (build_model(**{"encoder": "resnet18", "bottleneck": "sapf", "norm": kind, **parts}) for kind in ("batch", norm))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in batch.modules()) == sum(isinstance(module, nn.GroupNorm) for module in other.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in other.modules())
    assert {name: value.shape for name, value in other.named_parameters()} == {name: value.shape for name, value in batch.named_parameters()}


def test_a_combination_is_its_parts_and_they_can_be_exchanged() -> None:
    with torch.device("meta"):
        named, spelled = build_model("cpfnet"), build_model("unet", encoder="resnet34", skip="gpg", bottleneck="sapf")
        other = build_model("cpfnet", encoder="resnet18")
    assert {key: value.shape for key, value in named.state_dict().items()} == {key: value.shape for key, value in spelled.state_dict().items()}
    assert len(other.state_dict()) < len(named.state_dict())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"skip": "cbma"}, "no skip is called 'cbma'; did you mean cbam"),
        ({"bottleneck": "sapff"}, "did you mean sapf"),
        ({"upsampling": "nearest"}, "no upsampling is called 'nearest'; there are: bilinear, deconv"),
        ({"encoder": "resnet34", "feature_scale": 2}, "feature_scale is a setting of the plain encoder"),
        ({"stem": "full"}, "stem is a setting of ResNets"),
        ({"skip": "gpg", "decoder_widths": (1, 2, 3, 4)}, "leave decoder_"),
        ({"decoder_widths": (8, 0, 8, 8)}, "at least 1"),
        ({"decoder_widths": (8, 8, 8, 8, 8)}, "has 5 numbers, this encoder takes 4 steps up"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        build_model("unet", **options)
