"""`segkit summary`: of a config or a model, the layers and what they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from segkit.checkpoint import Card, save_model
from segkit.cli import main
from segkit.config import validate_run
from segkit.models import build_model

SETTINGS: dict[str, Any] = {
    "data": {"labels": {"background": 0, "one": 1, "two": 2}},
    "preprocess": {"channels": 1},
    "model": {"encoder": "resnet18", "skip": "cbam"},
    "train": {"patch": [32, 64], "batch_size": 2},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    return tmp_path / "run.yaml"


def summarise(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["summary", *arguments, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_channels_and_classes_follow_from_the_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = summarise(capsys, str(config), "--size", "33x47", "--depth", "1")
    network = build_model("unet", encoder="resnet18", skip="cbam", in_channels=1, num_classes=3)
    assert told["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert told["weights"] == sum(tensor.nbytes for tensor in network.state_dict().values())
    assert told["shape"] == [1, 1, 33, 47]
    assert told["training_shape"] == [2, 1, 1, 32, 64]
    assert [layer["name"] for layer in told["layers"]] == ["encoder", "bottleneck", "decoder", "head"]
    assert told["layers"][-1]["outputs"] == [[1, 3, 64, 64]]                   # padded to the multiple of 32; the network crops behind it


def test_the_size_that_a_picture_is_padded_to_is_told_where_it_differs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    titles = []
    for size in ("33x47", "64x33", "64x96"):
        assert main(["summary", str(config), "--size", size, "--depth", "1"]) == 0
        titles.append(capsys.readouterr().out.splitlines()[0].partition(", ")[2])
    assert titles == [
        "a picture of 1x33x47, padded to 64x64 for the network",
        "a picture of 1x64x33, padded to 64x64 for the network",
        "a picture of 1x64x96",
    ]
    assert summarise(capsys, str(config), "--size", "33x47")["padded_shape"] == [1, 1, 64, 64]


def test_memory_is_that_of_the_padded_picture(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that it was made from is held all along; itself it is let go by the time that most is held."""
    small, padded = (summarise(capsys, str(config), "--size", size) for size in ("33x47", "64x64"))
    assert small["peak"] == padded["peak"] - 4 * 64 * 64 + 4 * 33 * 47
    assert small["multiply_adds"] == padded["multiply_adds"]


def test_depth_opens_the_modules(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [[layer["name"] for layer in summarise(capsys, str(config), "--size", "32x32", "--depth", depth)["layers"]] for depth in ("2", "3")]
    assert "decoder.0" in names[0]
    assert "decoder.0.gate" not in names[0]
    assert "decoder.0.gate" in names[1]


def test_the_table_ends_with_the_totals(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(config), "--size", "32x64", "--set", "model.skip=none", "--set", "model.deep_supervision=true"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == f"UNet of {config}, a picture of 1x32x64"
    (encoder,) = [line for line in lines if line.startswith("encoder ")]
    assert encoder.split()[1:5] == ["ResNet", "64x16x32", "to", "512x1x2"]
    assert next(line for line in lines if line.startswith("side_heads.0 ")).split()[2:5] == ["not", "in", "prediction"]
    assert [line.split("  ")[0] for line in lines[-6:-1]] == ["parameters", "multiply-adds", "weights", "forward pass", "training step"]
    assert "for 2 patches of 32x64: maps, gradients, weights and their running mean, adamw" in out


def test_a_model_a_run_folder_and_a_built_in_name_are_summarised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {**SETTINGS, "model": {"feature_scale": 16}}
    run = validate_run(settings, "test")
    save_model(tmp_path / "model.safetensors", run, build_model(run.model).state_dict(), Card())
    file, folder = (summarise(capsys, str(path), "--size", "32x32") for path in (tmp_path / "model.safetensors", tmp_path))
    assert {**file, "source": ""} == {**folder, "source": ""}
    assert file["layers"][0]["outputs"][0] == [1, 4, 32, 32]
    assert summarise(capsys, "fundus-vessels", "--size", "32x32")["parameters"] == 1_943_106      # feature_scale 4, deconvolution, batch norm


@pytest.mark.parametrize(("name", "architecture"), [("unet", "unet"), ("UNet", "unet"), ("CPFNet", "cpfnet")])
def test_an_architecture_is_summarised_with_its_defaults(name: str, architecture: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = summarise(capsys, name, "--size", "33x47", "--depth", "1")
    network = build_model(architecture)
    assert told["source"] == name
    assert told["shape"] == [1, 3, 33, 47]
    assert told["parameters"] == sum(parameter.numel() for parameter in network.parameters())


def test_a_run_that_is_called_as_an_architecture_is_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    run = validate_run({"model": {"feature_scale": 16}}, "test")
    save_model(Path("unet") / "model.safetensors", run, build_model(run.model).state_dict(), Card())
    assert summarise(capsys, "unet", "--size", "32x32")["layers"][0]["outputs"][0] == [1, 4, 32, 32]


def test_training_costs_more_with_what_must_be_remembered(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def training(*overrides: str) -> int:
        return int(summarise(capsys, str(config), "--size", "32x32", *(part for override in overrides for part in ("--set", override)))["training"])

    parameters = summarise(capsys, str(config), "--size", "32x32")["parameters"]
    adamw, sgd, bare = training(), training("train.optimizer=sgd"), training("train.optimizer=sgd", "train.momentum=0")
    assert adamw - sgd == sgd - bare == 4 * parameters
    assert training("train.batch_size=4") > adamw


def test_runs_of_slices_are_what_a_slice_gru_trains_on(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(config), "--size", "32x32", "--set", "model.bottleneck=slice_gru", "--set", "train.slices=3"]) == 0
    assert "for 2 runs of 3 slices of 32x64" in capsys.readouterr().out
    assert main(["summary", str(config), "--size", "32x32", "--set", "model={bottleneck: slice_gru}", "--set", "train.batch_size=1"]) == 0
    assert "for 1 run of 8 slices of 32x64" in capsys.readouterr().out


@pytest.mark.parametrize("bottleneck", ["transformer", "sapf"])
def test_the_largest_size_can_be_counted(config: Path, bottleneck: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Positions on the transformer's map: 2**15 x 2**15, and their pairs: 2**60."""
    told = summarise(capsys, str(config), "--size", "1048576x1048576", "--set", f"model.bottleneck={bottleneck}")
    assert told["peak"] > 2**40
    assert (told["multiply_adds"] > 2 * 2**60 * 512) == (bottleneck == "transformer")


WANTED = "give a CONFIG (.yaml), a model.safetensors, the folder of a run, or a name: fundus-vessels, unet, unetplusplus, cpfnet"
NO_SIZES = ("512", "0x512", "0x0", "-1x5", "5", "5x5x5", "large", "", "1048577x5", "99999999999x9999999999", f"5x{'9' * 5000}")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        *((["run.yaml", "--size", size], 2, f"--size {size}: expected rows and columns, each from 1 to 1,048,576, as in 512x512") for size in NO_SIZES),
        (["run.yaml", "--set", "train.patch=[99999999, 99999999]"], 2, "a training step of 2 patches of 99999999x99999999 is beyond counting; lower"),
        (["run.yaml", "--set", "model.skip=cbma"], 2, "did you mean cbam"),
        (["run.yaml", "--set", "train.batch_size=1", "--set", "train.patch=[32, 32]"], 2, "no training step can be made of 1 patch of 32x32"),
        (["fundus-vessels", "--set", "model.skip=cbam"], 2, "--set model.skip=cbam: goes with a CONFIG (.yaml); fundus-vessels is a model"),
        (["cpfnet", "--set", "model.skip=cbam"], 2, "--set model.skip=cbam: goes with a CONFIG (.yaml); cpfnet is shown with its defaults; for others write "),
        (["nothing.yaml"], 1, f"nothing.yaml: is no file or folder, and no name; {WANTED}"),
        (["nowhere/nothing.yaml"], 1, f"nowhere/nothing.yaml: is no file or folder, and no name; {WANTED}"),
        (["runn.yaml"], 1, "runn.yaml: is no file or folder, and no name; did you mean run.yaml?"),
        (["imagenett"], 1, f"imagenett: is no file or folder, and no name; {WANTED}"),
        (["imagenett", "--set", "model.skip=cbam"], 1, f"imagenett: is no file or folder, and no name; {WANTED}"),
        (["U-Nett"], 1, "U-Nett: is no file or folder, and no name; did you mean unet?"),
        (["fundus_vessels"], 1, "fundus_vessels: is no file or folder, and no name; did you mean fundus-vessels?"),
        ([""], 2, f"CONFIG|MODEL|ARCHITECTURE is empty; {WANTED}"),
        (["README.md"], 1, "README.md: is a text"),
        (["README.md"], 1, "expected a model.safetensors of segkit train; if it is a CONFIG, let its name end in .yaml"),
        (["empty"], 1, "empty: is a folder without model.safetensors"),
    ],
)
def test_what_can_not_be_summarised_is_one_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(config.parent)
    Path("README.md").write_text("# Words, and no settings", encoding="utf-8")
    Path("empty").mkdir()
    assert main(["summary", *arguments]) == code
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert words in line
