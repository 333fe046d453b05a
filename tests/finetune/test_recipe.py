"""Settings, their reasons, YAML: there and back."""

from __future__ import annotations

from typing import Any

import pytest

from segkit.config import parse_yaml
from segkit.errors import SettingsError
from segkit.finetune.recipe import Recipe, Setting, flow


def recipe() -> Recipe:
    settings = (
        Setting("description", "nerve: in ultrasound"),
        Setting("preprocess.resize", {"kind": "long_side", "pixels": 128}, "objects are large"),
        Setting("train.patch", [128, 96], "because " + "of many reasons " * 10),
        Setting("train.minutes", 10.0),
    )
    return Recipe(("first", "second"), settings)


@pytest.mark.parametrize(
    "value",
    [1, -2.5, 1e-5, 2e-3, True, False, None, "plain words", "no", "Off", "~", "a: b", "# none", " lead", "x, y", "äö", "1", "2e3", "#ff0000", "",
     [1, [2.5, "a, b"]], {"a b": 1, "null": None, "c": {"d": [True]}}, "C:\\weights", 'say "x"', "line\nbreak"],
)  # fmt: skip
def test_every_value_comes_back(value: Any) -> None:
    assert parse_yaml(f"key: {flow(value)}", "here") == {"key": value}


def test_the_file_holds_the_settings_and_the_reasons() -> None:
    text = recipe().to_yaml()
    tree = parse_yaml(text, "here")
    assert tree["preprocess"] == {"resize": {"kind": "long_side", "pixels": 128}}
    assert tree["train"] == {"patch": [128, 96], "minutes": 10.0}
    assert tree["description"] == "nerve: in ultrasound"
    lines = text.splitlines()
    assert lines[:2] == ["# first", "# second"]
    assert "  resize: {kind: long_side, pixels: 128}  # objects are large" in lines
    assert lines[lines.index("  patch: [128, 96]") - 1].startswith("  # because of many")


def test_an_override_stands_where_the_setting_stood() -> None:
    changed = recipe().with_overrides(["train.minutes=3", "train.batch_size=2"])
    assert [(setting.key, setting.value) for setting in changed.settings[2:]] == [("train.patch", [128, 96]), ("train.minutes", 3), ("train.batch_size", 2)]
    assert changed.settings[3].reason == "given with --set"


def test_a_part_of_a_group_is_changed_in_the_group() -> None:
    changed = recipe().with_overrides(["preprocess.resize.pixels=192"])
    assert changed["preprocess.resize"] == {"kind": "long_side", "pixels": 192}
    assert recipe()["preprocess.resize"]["pixels"] == 128


def test_a_group_takes_the_place_of_all_that_was_in_it() -> None:
    changed = recipe().with_overrides(["train={steps: 5}", "train.seed=3"])
    assert parse_yaml(changed.to_yaml(), "here")["train"] == {"steps": 5, "seed": 3}


def test_what_is_no_override_is_refused() -> None:
    with pytest.raises(SettingsError, match="expected a.b=value"):
        recipe().with_overrides(["train.minutes"])
