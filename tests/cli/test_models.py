"""`segkit models`: every part is listed, with its cost and what its class says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from segkit.cli import main
from segkit.config import validate_run
from segkit.models import COMBINATIONS, ENCODERS, MODELS, build_encoder
from segkit.models.bottlenecks import BOTTLENECKS
from segkit.models.catalogue import SETTINGS, SettingEntry, describe_encoder, describe_model, describe_parts
from segkit.models.gates import GATES
from segkit.models.upsampling import UPSAMPLINGS


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["models", "--json"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return dict(json.loads(told.out))


def test_all_that_is_registered_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    parts = listed(capsys)
    names = {kind: [entry["name"] for entry in entries] for kind, entries in parts.items()}
    assert names == {
        "encoders": list(ENCODERS),
        "skips": [*GATES, "gpg"],
        "bottlenecks": list(BOTTLENECKS),
        "upsamplings": list(UPSAMPLINGS),
        "models": [*MODELS, *COMBINATIONS],
        "settings": ["deep_supervision", "stem", "stem", "output_stride", "output_stride", "norm", "norm"],
    }
    assert parts["encoders"][0] == {
        "name": "plain",
        "parameters": 4_716_192,
        "multiply_adds": parts["encoders"][0]["multiply_adds"],
        "widths": [32, 64, 128, 256, 512],
        "strides": [1, 2, 4, 8, 16],
        "answers": "",
        "source": "Ronneberger 2015, https://arxiv.org/abs/1505.04597",
    }


def test_the_tables_are_plain_text_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segkit.models.catalogue.ENCODERS", {name: ENCODERS[name] for name in ("plain", "cbam_resnet18")})
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (cbam,) = [line for line in lines if line.startswith("cbam_resnet18 ")]
    assert "11,264,336" in cbam
    assert "64/2 64/4 128/8 256/16 512/32" in cbam
    assert "He 2016, https://arxiv.org/abs/1512.03385; Woo 2018, https://arxiv.org/abs/1807.06521" in cbam
    assert any(line.split()[:3] == ["output_stride", "8", "3:"] and "Chen 2017, https://arxiv.org/abs/1706.05587" in line for line in lines)
    assert "\x1b" not in "".join(lines)
    assert lines[-1] == "3  no stage gathers context at several scales"


def test_on_a_terminal_a_table_is_drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from segkit.cli import tables

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    tables.print_table("two parts", ("name", "source"), [("one", "Hu [2018]"), ("two", "Hu [2018]")], once=("source",))
    out = capsys.readouterr().out
    assert "┃" in out
    assert out.count("Hu [2018]") == 1                               # brackets are no markup; what the row above says is not said again


@pytest.mark.parametrize(
    ("gate", "parameters", "multiply_adds"),
    [
        ("none", 0, 0),
        ("se", 2 * (32 * 2 + 64 * 4 + 128 * 8 + 256 * 16), 2 * (32 * 2 + 64 * 4 + 128 * 8 + 256 * 16)),                     # C -> C/16 -> C, once for a picture
        ("cbam", 2 * 5440 + 4 * 98, 2 * 2 * 5440 + 98 * (256**2 + 128**2 + 64**2 + 32**2)),                             # for mean and maximum; 7x7 on two maps
    ],
)
def test_what_a_gate_costs_is_worked_by_hand(gate: str, parameters: int, multiply_adds: int) -> None:
    with torch.device("meta"):
        entry = next(entry for entry in describe_parts("skip") if entry.name == gate)
    assert (entry.extra_parameters, entry.extra_multiply_adds) == (parameters, multiply_adds)


class SilentGate(nn.Module):
    """Says neither what it answers nor its source."""

    def __init__(self, skip_channels: int, deep_channels: int, factor: int) -> None:
        super().__init__()
        self.weight = nn.Conv2d(skip_channels, skip_channels, 1, groups=skip_channels, bias=False)

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        return self.weight(skip)


def test_a_gate_of_ones_own_appears_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GATES, "silent", SilentGate)
    with torch.device("meta"):
        entry = next(entry for entry in describe_parts("skip") if entry.name == "silent")
    assert entry.extra_parameters == 32 + 64 + 128 + 256
    assert (entry.answers, entry.source) == ("", "")


def test_a_combination_says_what_its_parts_say() -> None:
    with torch.device("meta"):
        entry = describe_model("cpfnet")
    assert entry.parts == {"encoder": "resnet34", "skip": "gpg", "bottleneck": "sapf"}
    assert "1: every stage is guided by all deeper ones" in entry.answers
    assert "3: every position chooses among three reaches" in entry.answers
    assert entry.source.count("Feng 2020") == 1


@pytest.mark.parametrize("entry", SETTINGS, ids=lambda entry: f"{entry.name}={entry.value}")
def test_a_further_setting_is_one_and_not_the_default(entry: SettingEntry) -> None:
    chosen, default = (validate_run({"model": {"encoder": "resnet18", **more}}, "test").model for more in ({entry.name: yaml.safe_load(entry.value)}, {}))
    assert getattr(chosen, entry.name) != getattr(default, entry.name)
    assert "https://" in entry.source


def test_an_encoder_says_its_maps() -> None:
    with torch.device("meta"):
        entry, encoder = describe_encoder("se_resnet50"), build_encoder("se_resnet50")
    assert (entry.widths, entry.strides) == (encoder.widths, encoder.strides) == ((64, 256, 512, 1024, 2048), (2, 4, 8, 16, 32))
    assert entry.parameters == 28_071_976 - 2048 * 1000 - 1000             # the published network without its classifier
