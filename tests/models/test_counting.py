"""What a network costs, worked by hand, published, and counted in two ways."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segkit.models import build_classifier, build_model
from segkit.models.bottlenecks.transformer import TransformerLayer
from segkit.models.counting import Layer, count_multiply_adds, count_parameters, peak_bytes, trace_layers, training_peak_bytes

FLOAT = 4
"""Bytes."""


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Conv2d(3, 5, 3, padding=1), (1, 3, 33, 47), 33 * 47 * 5 * 3 * 9),
        (nn.Conv2d(3, 5, 3, padding=1), (2, 3, 33, 47), 2 * 33 * 47 * 5 * 3 * 9),
        (nn.Conv2d(4, 6, 3, stride=2, dilation=2, groups=2), (1, 4, 33, 47), 15 * 22 * 6 * 2 * 9),      # (33 - 5) / 2 + 1 = 15, (47 - 5) / 2 + 1 = 22
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 7), 5 * 7 * 4 * 6 * 4),
        (nn.Linear(7, 5, bias=False), (2, 3, 7), 2 * 3 * 7 * 5),
        (nn.BatchNorm2d(3), (1, 3, 5, 7), 0),
    ],
    ids=str,
)
def test_a_layer_does_what_is_counted_by_hand(module: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    assert count_multiply_adds(module, shape) == expected
    assert trace_layers(module, shape)[0].multiply_adds == expected


class SelfAttention(nn.Module):
    """(B, N, C) -> the same; no weights, so that only the two products of attention are there."""

    def forward(self, tokens: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(tokens[:, None], tokens[:, None], tokens[:, None])[:, 0]


def test_attention_does_two_products_of_all_pairs() -> None:
    assert count_multiply_adds(SelfAttention(), (1, 11, 16)) == 2 * 11 * 11 * 16


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [("resnet18", 11_689_512, 1.81), ("resnet50", 25_557_032, 4.09), ("resnext50_32x4d", 25_028_904, 4.23), ("wide_resnet50_2", 68_883_240, 11.40)],
)
def test_classifiers_cost_what_is_published(name: str, parameters: int, multiply_adds: float) -> None:
    with torch.device("meta"):
        network = build_classifier(name)
        assert count_parameters(network) == parameters
        assert count_multiply_adds(network, (1, 3, 224, 224)) / 1e9 == pytest.approx(multiply_adds, abs=0.005)


PARTS: list[dict[str, Any]] = [
    {},
    {"skip": "attention", "upsampling": "deconv"},
    {"bottleneck": "transformer"},
    {"bottleneck": "slice_gru"},
    {"settings": "cpfnet", "deep_supervision": True},
    {"settings": "unetplusplus", "encoder": "cbam_resnet18", "norm": "group"},
]


@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_it_agrees_with_the_counter_of_torch_module_by_module(parts: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = build_model(**{"settings": "unet", **parts})
        layers = trace_layers(network, (1, 3, 33, 47))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.eval()(torch.zeros(1, 3, 33, 47))
    theirs = {name.partition(".")[2]: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items() if name != "Global"}
    assert {layer.name: layer.multiply_adds for layer in layers if layer.multiply_adds} == {name: count for name, count in theirs.items() if count}


@pytest.mark.parametrize("parts", PARTS[:4], ids=str)
def test_a_network_of_shapes_costs_what_the_network_with_values_costs(parts: dict[str, Any]) -> None:
    small, shape = {"settings": "unet", "feature_scale": 16, **parts}, (2, 3, 33, 47)
    network = build_model(**small)
    with torch.device("meta"):
        empty = build_model(**small)
        assert next(empty.parameters()).is_meta
        assert trace_layers(empty, shape) == trace_layers(network, shape)
        assert peak_bytes(empty, shape) == peak_bytes(network, shape)
        assert training_peak_bytes(empty, shape) == training_peak_bytes(network, shape)


class Twice(nn.Module):
    """Calls one layer twice, and lends another's weight to a convolution of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleList([nn.Conv2d(1, 1, 3, padding=1, bias=False)])
        self.lent = nn.Conv2d(1, 1, 1, bias=False)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.inner[0](self.inner[0](x)), F.conv2d(x, self.lent.weight)]


def test_layers_are_the_modules_with_what_is_in_them() -> None:
    assert trace_layers(Twice(), (1, 1, 5, 7)) == [
        Layer("", "Twice", 0, ((1, 1, 5, 7), (1, 1, 5, 7)), 9 + 1 + 6, 2 * 35 * 9 + 35),
        Layer("inner.0", "Conv2d", 1, ((1, 1, 5, 7),), 9, 2 * 35 * 9),       # the list around it is no layer
        Layer("lent", "Conv2d", 1, (), 1, 0),                                # the convolution was the outer module's
        Layer("unused", "Linear", 1, (), 6, 0),
    ]


def test_parts_of_the_whole_add_up() -> None:
    with torch.device("meta"):
        layers = trace_layers(build_model("unet", encoder="resnet18", skip="cbam", deep_supervision=True), (1, 3, 33, 47))
    outermost = [layer for layer in layers if layer.depth == 1]
    assert sum(layer.parameters for layer in outermost) == layers[0].parameters
    assert sum(layer.multiply_adds for layer in outermost) == layers[0].multiply_adds
    assert layers[0].outputs == ((1, 2, 33, 47),)


def test_what_is_alive_at_one_time_is_worked_by_hand() -> None:
    chain = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 2, 1))
    pixels = 5 * 7
    assert peak_bytes(chain, (1, 1, 5, 7)) == FLOAT * pixels * (1 + 4 + 8)     # the picture is held by who gave it; at the third map the first is gone
    assert peak_bytes(nn.ReLU(inplace=True), (1, 1, 5, 7)) == FLOAT * pixels
    assert peak_bytes(nn.Flatten(), (1, 1, 5, 7)) == FLOAT * pixels            # a view


def test_training_keeps_the_maps_and_adds_the_gradients() -> None:
    chain = nn.Sequential(*(nn.Conv2d(1, 1, 1, bias=False) for _ in range(9)))
    maps, shape = 10, (1, 1, 33, 47)
    needed = training_peak_bytes(chain, shape) / (FLOAT * 33 * 47)
    assert maps + 1 < needed < maps + 3                                        # and the gradient that comes in, and the one that goes on
    assert peak_bytes(chain, shape) == FLOAT * 33 * 47 * 3                     # the picture, what a layer reads, what it writes


def test_attention_holds_its_result_and_a_number_for_each_query_but_no_scores_of_pairs() -> None:
    tokens, width = 301, 16
    expected = FLOAT * tokens * (width + width + 1)
    assert expected < FLOAT * tokens * tokens
    for device in ("cpu", "meta"):
        with torch.device(device):
            attention = nn.Sequential(nn.Identity(), SelfAttention())
            attention.register_parameter("unused", nn.Parameter(torch.zeros(1)))         # says where
            assert peak_bytes(attention, (1, tokens, width)) == expected


@pytest.mark.parametrize("shape", [(1, 301, 64), (2, 517, 48)])
def test_a_transformer_of_shapes_takes_what_one_with_values_takes(shape: tuple[int, ...]) -> None:
    """Where it is the scores of all pairs that would weigh most."""
    layer = TransformerLayer(shape[-1])
    with torch.device("meta"):
        empty = TransformerLayer(shape[-1])
        assert peak_bytes(empty, shape) == peak_bytes(layer, shape)
        assert training_peak_bytes(empty, shape) == training_peak_bytes(layer, shape)


class Choosy(nn.Module):
    """Attention of two heads, or of one over keys of half the width of its values, with further options."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.weight, self.options = nn.Parameter(torch.ones(1)), options

    def forward(self, tokens: Tensor) -> Tensor:
        options = dict(self.options)
        if options.get("attn_mask"):
            options["attn_mask"] = tokens.new_zeros(tokens.shape[1], tokens.shape[1])
        heads = tokens if options.pop("no_heads", False) else tokens.unflatten(2, (2, -1)).transpose(1, 2)
        keys = heads[..., : options.pop("key_width", heads.shape[-1])]
        grouped = slice(0, 1) if options.get("enable_gqa") else slice(None)
        return F.scaled_dot_product_attention(keys * self.weight, keys[:, grouped], heads[:, grouped], **options)


OPTIONS: list[dict[str, Any]] = [
    {"is_causal": True},
    {"scale": 0.5},
    {"attn_mask": True},
    {"enable_gqa": True},
    {"dropout_p": 0.1},
    {"no_heads": True},
    {"key_width": 4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_attention_of_any_kind_on_shapes_takes_what_it_takes_on_values(options: dict[str, Any]) -> None:
    shape, real = (1, 301, 16), Choosy(**options)
    with torch.device("meta"):
        empty = Choosy(**options)
        assert peak_bytes(empty, shape) == peak_bytes(real, shape)
        assert count_multiply_adds(empty, shape) == count_multiply_adds(real, shape)


def test_the_network_is_left_as_it_was() -> None:
    network = build_model("unet", feature_scale=16, deep_supervision=True)
    network.encoder.eval()
    before, modes = copy.deepcopy(network.state_dict()), [part.training for part in network.modules()]
    with torch.inference_mode():
        assert trace_layers(network, (1, 3, 33, 47))[0].multiply_adds > 0
    peak_bytes(network, (1, 3, 33, 47))
    training_peak_bytes(network, (1, 3, 33, 47))
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_a_fault_in_the_network_leaves_no_hooks_and_modes_behind() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1))
    with pytest.raises(RuntimeError, match="expected input"):
        trace_layers(network, (1, 5, 33, 47))
    assert network.training
    assert not network._forward_hooks
