"""Model files: there and back, and nothing executed on the way."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from segkit.checkpoint import BUILT_IN, Card, fit_weights, load_model, read_weights, save_model
from segkit.config import RunConfig
from segkit.errors import SettingsError, VanishedError, WeightsError
from segkit.models import build_model

RUN = RunConfig.model_validate(
    {"model": {"feature_scale": 32}, "data": {"manifest": "/home/somebody/patients.csv", "labels": {"background": 0, "vessel": 255}}}
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, RUN, build_model(RUN.model).state_dict(), Card("phantoms", "abc", {"validation": {"vessel": 0.5}}, 7, "any use"))
    return path


class Evil:
    """A pickle that would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('executed')",))


def test_a_model_file_holds_all_that_went_in(model: Path) -> None:
    file = load_model(model)
    assert file.run.model == RUN.model
    assert file.run.data.labels == RUN.data.labels
    assert file.card == Card("phantoms", "abc", {"validation": {"vessel": 0.5}}, 7, "any use")
    fit_weights(build_model(file.run.model), file.weights, "model")


def test_a_model_file_does_not_tell_where_the_data_lay(model: Path) -> None:
    assert b"somebody" not in model.read_bytes()


def test_a_run_folder_stands_for_its_model(model: Path) -> None:
    assert load_model(model.parent).card.steps == 7


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_model_has_a_card_and_is_small(name: str) -> None:
    file = load_model(name)
    fit_weights(build_model(file.run.model), file.weights, name)
    assert "research" in file.card.licence.lower()
    assert file.card.trained_on
    assert file.card.scores["test"]
    assert BUILT_IN[name].stat().st_size <= 8e6


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(VanishedError, match="no such model file.*fundus-vessels"):
        load_model("fundus-vesels")


@pytest.mark.parametrize("given", [None, b"model.safetensors", 7])
def test_what_names_no_model_is_refused(given: Any) -> None:
    with pytest.raises(SettingsError, match="is no model; give a .safetensors file of segkit train, its folder, or a built-in name: fundus-vessels"):
        load_model(given)


def test_a_cut_off_model_file_is_refused(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is a damaged safetensors file"):
        load_model(model)


def test_an_empty_model_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").touch()
    with pytest.raises(WeightsError, match="is empty"):
        load_model(tmp_path / "m.safetensors")


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(WeightsError, match="needs code to be executed to be read, so it was not"):
        read_weights(path)
    with pytest.raises(WeightsError, match="is a PyTorch file"):
        load_model(path)
    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(WeightsError):
        read_weights(path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    weights = build_model(RUN.model).state_dict()
    weights["head.bias"][0] = float("nan")
    save_model(tmp_path / "m.safetensors", RUN, weights, Card())
    with pytest.raises(WeightsError, match=r"head\.bias holds NaN or infinity; the training"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "without segkit's card"),
        ("not json", "its card can't be read"),
        (json.dumps({"format": 99, "run": {}, "card": {}}), "was written in format 99"),
        (json.dumps({"format": 1, "run": {"model": {"colour": 3}}, "card": {}}), "does not fit this segkit.*colour is not a setting"),
        (json.dumps({"format": 1, "run": {}, "card": {"age": 3}}), "does not fit this segkit"),
    ],
)
def test_a_card_that_can_not_be_read_is_refused(tmp_path: Path, metadata: str | None, message: str) -> None:
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, None if metadata is None else {"segkit": metadata})
    with pytest.raises(WeightsError, match=message):
        load_model(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_bare_weights_come_back(tmp_path: Path, suffix: str) -> None:
    weights, path = {"a": torch.arange(3.0)}, tmp_path / f"w{suffix}"
    torch.save(weights, path) if suffix == ".pth" else safetensors.torch.save_file(weights, path)
    read, report = read_weights(path)
    assert torch.equal(read["a"], weights["a"])
    assert report == []


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net"])
def test_wrapped_weights_are_unwrapped_and_it_is_told(tmp_path: Path, wrapper: str) -> None:
    torch.save({"epoch": 3, wrapper: {"module.a": torch.zeros(1), "module.b": torch.ones(1)}}, tmp_path / "w.pth.tar")
    weights, report = read_weights(tmp_path / "w.pth.tar")
    assert list(weights) == ["a", "b"]
    assert report == [f"took the weights under {wrapper!r}", "took 'module.' off every key"]


def test_stacked_prefixes_come_off_one_by_one(tmp_path: Path) -> None:
    torch.save({"_orig_mod.module.a": torch.zeros(1)}, tmp_path / "w.pth")
    weights, report = read_weights(tmp_path / "w.pth")
    assert list(weights) == ["a"]
    assert report == ["took '_orig_mod.' off every key", "took 'module.' off every key"]


def test_a_prefix_stays_where_only_some_keys_have_it(tmp_path: Path) -> None:
    torch.save({"module.a": torch.zeros(1), "b": torch.ones(1)}, tmp_path / "w.pth")
    assert list(read_weights(tmp_path / "w.pth")[0]) == ["module.a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [({"epoch": 3, "a": torch.zeros(1)}, "holds no state dict: epoch is not weights"), ({}, "holds no state dict: nothing"), ([1, 2], "holds a list")],
)
def test_a_file_without_weights_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.filterwarnings("error")                                              # PyTorch's own words about protocols stay out of sight
def test_a_pickle_protocol_that_is_not_read_is_no_code(tmp_path: Path, protocol: int) -> None:
    torch.save({"a": torch.arange(3.0), "words" * 60: torch.zeros(1)}, tmp_path / "w.pth", pickle_protocol=protocol)
    if protocol == 3:                                                             # it differs from 2 in nothing that tensors need
        assert torch.equal(read_weights(tmp_path / "w.pth")[0]["a"], torch.arange(3.0))
    else:
        with pytest.raises(WeightsError, match=r"is damaged, or its pickle protocol is not 2.*save it again: torch\.save\(weights, path\)"):
            read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty; expected a state dict"),
        (pickle.dumps({"a": 1}, protocol=4), "is a pickle, which is not read"),
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page; expected"),
        ("gewicht: 3, größe: 4\n".encode(), "is a text; expected"),
        ((600).to_bytes(8, "little") + b'{"a": {"dtype": "F32"', r"is a damaged safetensors file \("),
        (b"\x93\x00\x01" * 9, r"is not a safetensors file, or is damaged \("),
    ],
)
def test_what_is_no_weights_file_is_told_by_what_it_is(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=found):
        read_weights(tmp_path / "w.pth")


def test_a_torch_file_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(1000.0)}, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    place = content.find(torch.arange(500.0, 502).numpy().tobytes())
    content[place] ^= 1
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pth: \S*data/0 in it has another checksum than it says: it is damaged"):
        read_weights(tmp_path / "w.pth")


def test_numbers_that_float32_does_not_hold_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.tensor([1e300], dtype=torch.float64)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="a holds NaN or infinity"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_program_is_no_weights(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Identity()), tmp_path / "w.pt")
    warnings.simplefilter("error")                                                # pytest puts it back behind each test
    with pytest.raises(WeightsError, match=r"is a TorchScript archive, which is a program; expected a state dict .*save model\.state_dict\(\)$"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (torch.zeros(3).to_sparse(), "a is sparse"),
        (torch.zeros(3, dtype=torch.complex64), "a is complex64"),
        (torch.zeros(3, dtype=torch.float8_e4m3fn), "a is float8_e4m3fn"),
        (torch.zeros(3, device="meta"), r"a is empty of content \(meta\)"),
    ],
)
def test_tensors_that_are_no_dense_numbers_are_refused(tmp_path: Path, tensor: torch.Tensor, found: str) -> None:
    torch.save({"a": tensor}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=f"{found}; weights are dense numbers"):
        read_weights(tmp_path / "w.pth")


def test_a_truncated_torch_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:700])
    with pytest.raises(WeightsError, match="is a PyTorch file, or the cut-off start of one"):
        read_weights(tmp_path / "w.pth")


def test_weights_that_are_not_there_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(VanishedError, match="no such weights file"):
        read_weights(tmp_path / "w.pth")


def test_the_folder_of_a_run_stands_for_its_weights(model: Path, tmp_path: Path) -> None:
    assert read_weights(model.parent)[0].keys() == load_model(model).weights.keys()
    (tmp_path / "empty").mkdir()
    with pytest.raises(VanishedError, match=r"empty: is a folder without model\.safetensors"):
        read_weights(tmp_path / "empty")


def test_weights_of_another_network_get_an_exact_difference() -> None:
    network = build_model("unet", feature_scale=32, num_classes=2)
    weights = build_model("unet", feature_scale=32, num_classes=3).state_dict()
    del weights["decoder.0.up.conv.bias"]
    weights["extra"] = torch.zeros(1)
    with pytest.raises(WeightsError) as caught:
        fit_weights(network, weights, "w.pth")
    assert "2 of another shape: head.weight has (3, 2, 1, 1), wants (2, 2, 1, 1), head.bias has (3,), wants (2,)" in str(caught.value)
    assert "1 missing: decoder.0.up.conv.bias" in str(caught.value)
    assert "1 left over: extra" in str(caught.value)
