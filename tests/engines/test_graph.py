"""Networks as graphs: what they are known by, and the sizes that they take."""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from segkit.engines.graph import export_graph, graph_key, grow
from segkit.errors import SettingsError
from segkit.models import build_model
from segkit.models.blocks import pad_to_multiple


class Scaled(nn.Module):
    """(B, C, H, W) -> the same, times a number that is neither a weight nor torch's."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.factor = factor
        self.shape_of = self.conv.forward                           # its repr holds an address
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.factor


def test_a_copy_of_a_network_has_the_same_key() -> None:
    network = Scaled(2)
    assert graph_key(copy.deepcopy(network)) == graph_key(network)
    assert graph_key(network.train()) == graph_key(network.eval())
    assert len(graph_key(network)) == 64


def test_a_weight_a_setting_or_another_wiring_changes_the_key() -> None:
    network = Scaled(2)
    keys = {graph_key(network)}
    network.factor = 3
    keys.add(graph_key(network))
    with torch.no_grad():
        network.conv.weight += 1e-6
    keys.add(graph_key(network))
    network.unsaved[1] = 1
    keys.add(graph_key(network))
    network.add_module("more", nn.ReLU())
    keys.add(graph_key(network))
    assert len(keys) == 5


def test_networks_that_share_all_weights_but_not_their_plan_have_different_keys() -> None:
    torch.manual_seed(0)
    one, other = build_model("unet", feature_scale=16, skip="scse"), build_model("unet", feature_scale=16, skip="scse_max")
    other.load_state_dict(one.state_dict())
    assert graph_key(one) != graph_key(other)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """A file with a network in it."""
    path = tmp_path / "written_network.py"
    path.write_text("from torch import nn\nclass Net(nn.Conv2d):\n    pass\n", encoding="utf-8")
    yield path
    sys.modules.pop("written_network", None)


def test_an_edit_of_the_code_changes_the_key(written: Path) -> None:
    spec = importlib.util.spec_from_file_location("written_network", written)
    assert spec is not None and spec.loader is not None
    module = sys.modules["written_network"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.Net(1, 1, 1)
    before = graph_key(network)
    written.write_text(written.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    assert graph_key(network) != before


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (5, 63), (1, 1), (17, 16)])
def test_a_picture_grows_as_the_networks_grow_it(shape: tuple[int, int]) -> None:
    picture = torch.rand(2, 3, *shape)
    right = pad_to_multiple(picture, 16)
    assert torch.equal(grow(picture, (right.shape[-2], right.shape[-1])), right)


class Spectrum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(self.conv(x)).real


def test_a_network_beyond_words_is_refused_and_nothing_printed_as_data(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(SettingsError, match="can't be written as a graph .*fft.*; choose the engine torch"):
        export_graph(Spectrum())
    assert capfd.readouterr().out == ""                             # torch prints the graph as far as it came


def test_a_graph_leaves_the_network_as_it_was() -> None:
    pytest.importorskip("onnx")
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).train()
    export_graph(network)
    assert network.training
    assert isinstance(network[1], nn.BatchNorm2d)
