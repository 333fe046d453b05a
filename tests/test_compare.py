"""What a setting is worth: the table, the tests, and the walk from the command line."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import yaml
from PIL import Image as Pillow
from toys import toy_settings

from segkit.cli import main
from segkit.compare import Score, case_means, class_mean, holm, paired_test, parse_vary, tabulate, variant_name
from segkit.errors import SettingsError


def test_settings_are_combined_and_named() -> None:
    varied = parse_vary(["model.skip=none,se", "train.patch=[32, 32]"])
    assert varied == [{"model.skip": "none", "train.patch": [32, 32]}, {"model.skip": "se", "train.patch": [32, 32]}]
    assert variant_name(varied[1]) == "skip=se,patch=-32,-32-"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["model.skip"], "expected A.B=VALUE,VALUE"),
        (["model.skip="], "expected A.B=VALUE,VALUE"),
        (["model.skip=se,se"], "given twice"),
        (["model.skip=se", "model.skip=none"], "given twice"),
    ],
)
def test_what_can_not_be_varied_is_refused(texts: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_vary(texts)


def test_the_mean_is_over_classes_then_cases_and_leaves_out_what_was_not_there() -> None:
    scores = [Score("a", 0, "x", "one", 0.5), Score("a", 0, "y", "one", 0.7), Score("a", 0, "x", "two", 1.0), Score("a", 0, "y", "two", math.nan)]
    assert class_mean(scores) == pytest.approx((0.6 + 1.0) / 2)
    assert case_means(scores, "a") == {"x": 0.75, "y": 0.7}


def test_eight_better_cases_are_significant_and_five_are_too_few() -> None:
    worse = {str(case): 0.5 for case in range(8)}
    better = {str(case): 0.5 + 0.01 * (case + 1) for case in range(8)}
    difference, p_value = paired_test(worse, better)
    assert difference == pytest.approx(0.045)
    assert p_value == pytest.approx(2 / 2**8)                          # all signs alike: two of 256 arrangements
    assert math.isnan(paired_test(dict(list(worse.items())[:5]), better)[1])
    assert paired_test(worse, worse) == (0.0, 1.0)
    assert math.isnan(paired_test(worse, {"other": 0.1})[0])


def test_holm_multiplies_by_the_tests_that_are_left_and_never_falls() -> None:
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": math.nan}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06, "d": math.nan}, nan_ok=True)
    assert holm({"a": 0.9}) == {"a": 0.9}


def test_the_table_sets_every_variant_against_the_first() -> None:
    reached = {"plain": 0.5, "gated": 0.6}
    scores = [Score(name, seed, str(case), "disc", reached[name] + 0.1 * seed) for name in reached for seed in (0, 1) for case in range(7)]
    plain, gated = tabulate(scores, {"plain": 10, "gated": 12}, {"plain": 5, "gated": 4})
    assert plain.seed_dice == pytest.approx((0.5, 0.6))
    assert math.isnan(plain.difference)
    assert (gated.mean, gated.difference, gated.spread) == pytest.approx((0.65, 0.1, 0.1 / math.sqrt(2)))
    assert gated.p_value == pytest.approx(2 / 2**7)
    assert (gated.parameters, gated.steps) == (12, 4)


def test_compare_trains_scores_and_draws_and_a_second_call_trains_nothing_anew(discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump(toy_settings(discs, steps=2, validations=1)), encoding="utf-8")
    line = ["compare", str(config), "-o", str(tmp_path / "out"), "--vary", "model.skip=none,se", "--seeds", "2", "--split", "test", "--json", "-q"]
    assert main(line) == 0
    told = json.loads(capsys.readouterr().out)
    assert [variant["variant"] for variant in told["variants"]] == ["skip=none", "skip=se"]
    assert told["scored_on"] == "test"
    assert told["variants"][1]["parameters"] > told["variants"][0]["parameters"]
    with (tmp_path / "out" / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2                                       # variants, seeds, test pictures
    assert Pillow.open(tmp_path / "out" / "compare.png").size == (640, 420)
    model = tmp_path / "out" / "skip=se" / "seed1" / "model.safetensors"
    written = model.stat().st_mtime_ns
    assert main(line) == 0
    assert model.stat().st_mtime_ns == written
    assert json.loads(capsys.readouterr().out) == told
    assert main([*line, "--set", "train.steps=3"]) == 2
    assert "holds a finished run with other settings" in capsys.readouterr().err


def test_a_wrong_value_is_told_before_any_training(discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump(toy_settings(discs)), encoding="utf-8")
    assert main(["compare", str(config), "-o", str(tmp_path / "out"), "--vary", "model.skip=none,cbma"]) == 2
    assert "did you mean cbam" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_split_needs_a_manifest(discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = toy_settings(discs, steps=1, validations=1)
    tree["data"] = {**tree["data"], "manifest": None, "images": str(discs.parent / "images"), "masks": str(discs.parent / "masks")}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert main(["compare", str(tmp_path / "toy.yaml"), "-o", str(tmp_path / "out"), "--vary", "model.skip=none", "--seeds", "1", "--split", "test"]) == 2
    assert "needs a manifest" in capsys.readouterr().err
