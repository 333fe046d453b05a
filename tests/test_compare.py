"""What a setting is worth: the table, the tests, and the walk from the command line."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from PIL import Image as Pillow
from toys import toy_settings, write_discs

from segkit.cli import main
from segkit.cli.compare import table
from segkit.compare import (
    Comparison,
    Cost,
    Counts,
    Line,
    Score,
    Variant,
    case_means,
    cases_to_score,
    class_mean,
    compare,
    holm,
    paired_test,
    parse_vary,
    plan_variants,
    remarks,
    require_models,
    tabulate,
    variant_name,
)
from segkit.config import RunConfig
from segkit.dataset import Case
from segkit.errors import SettingsError, WeightsError
from segkit.train import Outcome, Report, Silence


def configure(folder: Path, manifest: Path, change: Callable[[dict[str, Any]], None] = lambda tree: None, **train: Any) -> Path:
    """A YAML file of a run as short as can be."""
    tree = toy_settings(manifest, **{"steps": 1, "validations": 1, **train})
    change(tree)
    (folder / "toy.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder / "toy.yaml"


def command(config: Path, *more: str) -> list[str]:
    return ["compare", str(config), "-o", str(config.parent / "out"), "--seeds", "1", "-q", *more]


def test_settings_are_combined_and_named() -> None:
    varied = parse_vary(["model.skip=none,se", "train.patch=[32, 32]"])
    assert varied == [{"model.skip": "none", "train.patch": [32, 32]}, {"model.skip": "se", "train.patch": [32, 32]}]
    assert variant_name(varied[1]) == "skip=se,patch=32x32"


def test_whole_networks_are_varied_and_their_names_can_be_read() -> None:
    varied = parse_vary(["model={name: cpfnet},{name: unet, encoder: resnet34, deep_supervision: true}", "train.minutes=null"])
    assert [variant_name(changes) for changes in varied] == ["model=cpfnet,minutes=null", "model=unet,encoder=resnet34,deep_supervision=true,minutes=null"]


@pytest.mark.parametrize("values", ["1,'1'", "a/b,a-b", "se,SE"])
def test_values_that_would_share_a_folder_are_refused(values: str) -> None:
    with pytest.raises(SettingsError, match=r"--vary: .* and .* would share the folder description=.*; compare them in two calls"):
        plan_variants(parse_vary([f"description={values}"]), lambda changes, seed: RunConfig())


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["model.skip"], r"^--vary 'model\.skip': expected A.B=VALUE,VALUE, for"),
        (["model.skip="], r"^--vary 'model\.skip=': expected A.B=VALUE,VALUE, for"),
        ([""], "^--vary '': expected A.B=VALUE,VALUE, for"),
        (["=none"], "^--vary '=none': expected A.B=VALUE,VALUE, for"),
        ([" =none"], "^--vary ' =none': expected A.B=VALUE,VALUE, for"),
        (["model..skip=se"], r"^--vary 'model\.\.skip=se': expected A.B=VALUE,VALUE, for"),
        (["model.skip=[a"], r"^--vary 'model\.skip=\[a': line 1: .*; expected A.B=VALUE,VALUE, for"),
        (["model.skip=a,,b"], r"^--vary 'model\.skip=a,,b': line 1: .*; expected A.B=VALUE,VALUE, for"),
        (["model.skip=se,se"], "given twice"),
        (["model.skip=se", "model.skip=none"], "given twice"),
        (["train.seed=1,2"], "--seeds N says how many"),
    ],
)
def test_what_can_not_be_varied_is_refused(texts: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_vary(texts)


def score(variant: str, seed: int, case: str, kind: str, dice: float) -> Score:
    """Of a class that is there, and found unless its Dice is 0."""
    return Score(variant, seed, case, kind, dice, prediction_px=0 if dice == 0 else 9, truth_px=9)


def spurious(variant: str, seed: int, case: str, kind: str) -> Score:
    return Score(variant, seed, case, kind, 0.0, prediction_px=5, truth_px=0)


def absent(variant: str, seed: int, case: str, kind: str) -> Score:
    return Score(variant, seed, case, kind, math.nan, prediction_px=0, truth_px=0)


def test_the_mean_is_over_classes_then_cases_and_leaves_out_what_was_not_there() -> None:
    scores = [score("a", 0, "x", "one", 0.5), score("a", 0, "y", "one", 0.7), score("a", 0, "x", "two", 1.0), absent("a", 0, "y", "two")]
    assert class_mean(scores) == pytest.approx((0.6 + 1.0) / 2)
    assert case_means(scores, "a") == {"x": 0.75, "y": 0.7}


COSTS = {"plain": Cost(10, 5, 1.0), "gated": Cost(12, 4, 1.5)}


def test_what_one_variant_found_where_nothing_is_changes_no_mean_and_is_told() -> None:
    plain = [score("plain", 0, "x", "disc", 0.5), spurious("plain", 0, "x", "rare"), score("plain", 0, "y", "disc", 0.0), absent("plain", 0, "y", "rare")]
    gated = [score("gated", 0, "x", "disc", 0.5), absent("gated", 0, "x", "rare"), score("gated", 0, "y", "disc", 0.0), absent("gated", 0, "y", "rare")]
    lines = tabulate([*plain, *gated], COSTS, "plain")
    assert [line.seed_dice for line in lines] == [(0.25,), (0.25,)]     # of disc alone, also where rare has a 0 in place of no number
    assert [line.class_dice["disc"] for line in lines] == [0.25, 0.25]
    assert all(math.isnan(line.class_dice["rare"]) for line in lines)
    assert lines[1].difference == 0
    assert [line.counts for line in lines] == [Counts(4, left_out=2, missed=1, spurious=1), Counts(4, left_out=2, missed=1, spurious=0)]
    (told,) = [note for note in remarks(lines, [], "test") if note.startswith("pairs")]
    assert told == (
        "pairs of case and class, all seeds together: 4 each; left out of the means, because the truth does not hold the class: 2 each; "
        "found there all the same (spurious): plain 1, gated 0; there and not found (missed, Dice 0): 1 each"
    )


def test_where_all_that_is_there_is_found_nothing_is_told_of_empty_masks() -> None:
    lines = tabulate([score("plain", 0, "x", "disc", 0.5), score("gated", 0, "x", "disc", 0.6)], COSTS, "plain")
    assert [note for note in remarks(lines, [], "test") if note.startswith("pairs")] == []


def test_eight_better_cases_are_significant_and_five_are_too_few() -> None:
    worse = {str(case): 0.5 for case in range(8)}
    better = {str(case): 0.5 + 0.01 * (case + 1) for case in range(8)}
    difference, p_value, cases = paired_test(worse, better)
    assert cases == 8
    assert difference == pytest.approx(0.045)
    assert p_value == pytest.approx(2 / 2**8)                          # all signs alike: two of 256 arrangements
    few = dict(list(worse.items())[:5])
    assert paired_test(few, better) == pytest.approx((0.03, math.nan, 5), nan_ok=True)
    assert paired_test(few, few) == pytest.approx((0.0, math.nan, 5), nan_ok=True)              # too few, also where nothing differs
    assert paired_test(worse, worse) == (0.0, 1.0, 8)
    assert paired_test(worse, {"other": 0.1}) == pytest.approx((math.nan, math.nan, 0), nan_ok=True)


@pytest.mark.parametrize(("cases", "told"), [(1, "there is 1"), (5, "there are 5"), (6, None)])
def test_a_p_that_is_missing_is_explained(cases: int, told: str | None) -> None:
    scores = [score(name, 0, str(case), "disc", 0.5 + (0.01 * case if name == "gated" else 0)) for name in COSTS for case in range(cases)]
    plain, gated = tabulate(scores, COSTS, "plain")
    assert (plain.paired_cases, gated.paired_cases) == (None, cases)
    assert math.isnan(gated.p_value) == (told is not None)
    assert remarks([plain, gated], scores, "test") == (() if told is None else (f"p needs at least 6 cases that both have; {told}",))
    assert remarks([plain], scores, "test") == ()                                       # nothing to set it against


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ({("plain", 0): "xy", ("plain", 1): "xy", ("gated", 0): "xy", ("gated", 1): "xy"}, "all were scored on the validation cases, which also chose"),
        ({("plain", 0): "xy", ("plain", 1): "yz", ("gated", 0): "xy", ("gated", 1): "yz"}, "each seed was scored on its own validation cases, which"),
        ({("plain", 0): "xy", ("plain", 1): "yz", ("gated", 0): "x", ("gated", 1): "y"}, "each run was scored on its own validation cases, which"),
    ],
)
def test_scores_of_validation_cases_are_told_as_such(cases: Mapping[tuple[str, int], str], words: str) -> None:
    scores = [score(variant, seed, case, "disc", 0.5) for (variant, seed), names in cases.items() for case in names]
    failed = [score("failed", 0, "elsewhere", "disc", 0.5)]             # with its second seed: it has no line
    lines = tabulate(scores, COSTS, "plain")
    note, *_ = remarks(lines, [*scores, *failed], None)
    assert note.startswith(words)
    assert note.endswith("; --split NAME scores the same unseen cases of a manifest")
    assert not any("validation" in note for note in remarks(lines, [*scores, *failed], "test"))


def test_the_seed_draws_the_validation_cases_unless_a_split_of_the_manifest_holds_them(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path)

    def drawn(**data: Any) -> list[list[Case]]:
        tree = toy_settings(manifest)
        tree["data"] |= data
        return [cases_to_score(RunConfig.model_validate({**tree, "train": {**tree["train"], "seed": seed}}), None) for seed in range(4)]

    assert any(cases != drawn()[0] for cases in drawn())
    assert all(cases == drawn(split="train", validation_split="test")[0] for cases in drawn(split="train", validation_split="test"))


def test_holm_multiplies_by_the_tests_that_are_left_and_never_falls() -> None:
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": math.nan}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06, "d": math.nan}, nan_ok=True)
    assert holm({"a": 0.9}) == {"a": 0.9}


def test_the_table_sets_every_variant_against_the_first() -> None:
    reached = {"plain": 0.5, "gated": 0.6}
    scores = [score(name, seed, str(case), "disc", reached[name] + 0.1 * seed) for name in reached for seed in (0, 1) for case in range(7)]
    plain, gated = tabulate(scores, COSTS, "plain")
    assert plain.seed_dice == pytest.approx((0.5, 0.6))
    assert math.isnan(plain.difference)
    assert (gated.mean, gated.difference, gated.spread) == pytest.approx((0.65, 0.1, 0.1 / math.sqrt(2)))
    assert gated.p_value == pytest.approx(2 / 2**7)
    assert (plain.cost, gated.cost) == tuple(COSTS.values())
    (alone,) = tabulate(scores, {"gated": COSTS["gated"]}, "plain")     # what it would be set against failed
    assert math.isnan(alone.difference)
    assert alone.seed_dice == gated.seed_dice


def test_a_class_that_was_in_no_scored_case_is_null_in_the_json_and_a_dash_in_the_table() -> None:
    line = Line("a", Cost(10, 5, 1.25), (0.5, math.nan), {"there": 0.5, "absent": math.nan}, math.nan, math.nan, 5, Counts(4, 2, 1, 0))
    comparison = Comparison([Variant("a", {"model.skip": "se"}, lambda seed: RunConfig())], range(2), "test", [line])
    told = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert told["variants"] == [
        {
            "variant": "a",
            "settings": {"model.skip": "se"},
            "mean_dice": None,
            "spread": None,
            "difference": None,
            "p_value": None,
            "parameters": 10,
            "steps": 5,
            "minutes": 1.25,
            "paired_cases": 5,
            "pairs": 4,
            "left_out": 2,
            "missed": 1,
            "spurious": 0,
            "seed_dice": [0.5, None],
            "class_dice": {"there": 0.5, "absent": None},
            "failed": None,
        }
    ]
    assert (told["seeds"], told["scored_on"]) == ([0, 1], "test")
    assert table(comparison).splitlines()[1].split() == ["a", "–", "–", "–", "–", "10", "5", "1.2"]


def test_compare_trains_scores_and_draws_and_a_second_call_trains_nothing_anew(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(tmp_path, discs, steps=2)
    line = [*command(config), "--vary", "model.skip=none,se", "--seeds", "2", "--split", "test", "--json"]
    assert main(line) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    plain, gated = told["variants"]
    assert "p needs at least 6 cases that both have; there are 2" in told["notes"]
    assert [f"segkit: {note}" for note in told["notes"]] == printed.err.splitlines()[:-1]
    assert (plain["variant"], gated["settings"]) == ("skip=none", {"model.skip": "se"})
    assert (told["scored_on"], told["seeds"], plain["steps"]) == ("test", [0, 1], 2)
    assert gated["parameters"] > plain["parameters"]
    assert plain["minutes"] > 0
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == told
    with (tmp_path / "out" / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2                                       # variants, seeds, test pictures
    assert Pillow.open(tmp_path / "out" / "compare.png").size == (640, 420)
    model = tmp_path / "out" / "skip=se" / "seed1" / "model.safetensors"
    written = model.stat().st_mtime_ns
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")                           # the same pictures by another path, loaded in another way
    assert main([*line, "--data", os.path.relpath(discs), "--set", "train.workers=0", "--set", "train.cache_mb=1"]) == 0
    assert model.stat().st_mtime_ns == written
    assert json.loads(capsys.readouterr().out) == told
    assert main([*line, "--set", "train.steps=3"]) == 2
    assert "holds a run with other settings for train.steps; choose another folder" in capsys.readouterr().err


@pytest.fixture
def finished(disc_run: Path, discs: Path, tmp_path: Path) -> tuple[list[str], Path]:
    """A comparison of one variant whose run is there already: the command, and the folder of the run."""
    config = configure(tmp_path, discs, steps=40, validations=2, batch_size=4, learning_rate=1e-2)
    place = tmp_path / "out" / "skip=none" / "seed0"
    shutil.copytree(disc_run, place)
    return command(config, "--vary", "model.skip=none"), place


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def test_a_finished_run_is_scored_and_not_trained(finished: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    line, place = finished
    rewrite(place / "run.json", lambda facts: facts["outcome"].update(best=None))       # as where no validation mask held anything
    before = (place / "run.json").read_text()
    assert main(line) == 0
    told = capsys.readouterr()
    assert "skip=none" in told.out
    assert "segkit: all were scored on the validation cases, which also chose the best weights; --split NAME" in told.err
    assert (place / "run.json").read_text() == before


def test_an_empty_truth_is_left_out_of_the_means_and_its_disc_told_as_spurious(
    finished: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_discs(tmp_path / "emptied")
    Pillow.new("L", (48, 48)).save(tmp_path / "emptied" / "masks" / "06.png")
    assert main([*finished[0], "--data", str(manifest), "--split", "test", "--json"]) == 0
    told = capsys.readouterr()
    (line,) = json.loads(told.out)["variants"]
    with (tmp_path / "out" / "cases.csv").open(newline="", encoding="utf-8") as file:
        emptied, whole = csv.DictReader(file)
    assert (emptied["truth_px"], emptied["dice"]) == ("0", "0.0")
    assert (line["pairs"], line["left_out"], line["missed"], line["spurious"]) == (2, 1, 0, 1)
    assert line["mean_dice"] == line["class_dice"]["disc"] == float(whole["dice"])
    assert "because the truth does not hold the class: skip=none 1; found there all the same (spurious): skip=none 1\n" in told.err
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["notes"] == json.loads(told.out)["notes"] != []
    (row,) = csv.DictReader((tmp_path / "out" / "compare.csv").open(encoding="utf-8"))
    assert (row["pairs"], row["left_out"], row["missed"], row["spurious"]) == ("2", "1", "0", "1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts["settings"]["train"].update(colour=3), "of another segkit (its run.json: run.train.colour is not a setting of TrainSettings"),
        (lambda facts: facts["data"].update(training=["other.png"]), "that was trained on other pictures; choose another folder"),
        (lambda facts: facts["settings"]["train"].update(minutes=3, patience=2), "with other settings for train.minutes, train.patience; choose"),
        (lambda facts: facts["settings"]["predict"].update(tta=True), "with other settings for predict.tta; choose"),
    ],
)
def test_a_finished_run_of_something_else_is_refused_in_words(
    finished: tuple[list[str], Path], capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], None], words: str
) -> None:
    line, place = finished
    rewrite(place / "run.json", change)
    assert main(line) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert f"{place}: holds a run {words}" in told


def test_weights_that_a_finished_run_began_with_are_found_from_anywhere(finished: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    line, place = finished
    begun = [*line, "--set", f"train.start_from={place / 'a' / 'w.pth'}"]                  # gone since, and not needed any more
    rewrite(place / "run.json", lambda facts: facts["settings"]["train"].update(start_from="w.pth"))
    rewrite(place / "run.json", lambda facts: facts.update(directory=str(place / "a")))
    assert main(begun) == 0
    rewrite(place / "run.json", lambda facts: facts.update(directory=str(place / "b")))
    assert main(begun) == 2
    assert "holds a run with other settings for train.start_from; choose" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_with_other_patience_but_not_with_another_network(
    finished: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    line, place = finished
    rewrite(place / "run.json", lambda facts: facts.pop("outcome"))
    assert main([*line, "--set", "model.feature_scale=8"]) == 2
    assert "holds a run with other settings for model.feature_scale; choose" in capsys.readouterr().err
    assert main([*line, "--set", "train.patience=9"]) == 0             # its last step was made: nothing is left to do


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_a_damaged_record_is_told_with_its_name(finished: tuple[list[str], Path], capsys: pytest.CaptureFixture[str], content: str) -> None:
    line, place = finished
    (place / "run.json").write_text(content)
    assert main(line) == 2
    assert f"{place / 'run.json'}: is damaged (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts.update(outcome=None), "outcome is null"),
        (lambda facts: facts["outcome"].pop("steps"), "without outcome.steps"),
        (lambda facts: facts["outcome"].update(reason="finished", minutes="3"), 'outcome.minutes is "3"'),
        (lambda facts: facts.update(settings=[1, 2]), "settings is [1, 2]"),
        (lambda facts: facts.update(data=None), "data is null"),
        (lambda facts: facts["data"].pop("training"), "without data.training"),
        (lambda facts: facts["data"].update(training=8), "data.training is 8"),
        (lambda facts: facts.update(directory=[]), "directory is []"),
    ],
)
def test_a_record_of_another_shape_is_told_in_one_line(
    finished: tuple[list[str], Path], capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], None], words: str
) -> None:
    line, place = finished
    rewrite(place / "run.json", change)
    assert main(line) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told == f"segkit: {place / 'run.json'}: is damaged ({words}); remove the folder to train that run again"


# What is told before the first hour of training.


@pytest.mark.parametrize("kept", [None, 0, 1000])
def test_a_finished_run_whose_model_is_gone_or_cut_short_is_told_before_another_is_trained(
    finished: tuple[list[str], Path], capsys: pytest.CaptureFixture[str], kept: int | None
) -> None:
    line, place = finished
    model = place / "model.safetensors"
    if kept is None:
        model.unlink()
    else:
        model.write_bytes(model.read_bytes()[:kept])
    assert main([*line[:-1], "model.skip=se,none"]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"segkit: {place if kept is None else model}: ")
    assert told.endswith(f"; remove {place} to train that run again")
    assert not (place.parent.parent / "skip=se").exists()


def test_all_runs_whose_models_are_gone_are_told_together(tmp_path: Path) -> None:
    jobs = [SimpleNamespace(place=tmp_path / name, is_finished=name != "c") for name in "abc"]
    with pytest.raises(WeightsError, match=r"a: no such .*; .*b: no such .*; remove \S+a, \S+b to train these runs again"):
        require_models(jobs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--vary", "model.skip=none,cbma"], 2, "did you mean cbam"),
        (["--vary", "train.pretrained=null,nowhere.pth"], 1, "nowhere.pth: no such weights file"),
        (["--vary", "train.pretrained=null,imagenet"], 2, "torchvision has no weights for plain"),
        (["--vary", "model={feature_scale: 16},{encoder: resnet18}", "--set", "train.batch_size=1"], 2, "no training step can be made of 1 patch of 32x32"),
        (["--vary", "model.bottleneck=none,slice_gru"], 2, "looks along the slices of volumes, the training data are single pictures"),
        (["--vary", "train.device=cpu,abacus"], 2, "device 'abacus' is not a device"),
        (["--vary", "model.skip=none", "--split", "tset"], 2, "no row has split 'tset'; there are: test, train"),
        (["--vary", "model.skip=none", "--split", "train"], 1, "--split train: 4 of the 6 cases are trained on, or others of their groups"),
        (["--vary", "data.split=train,null", "--split", "test"], 1, "2 of the 2 cases are trained on, or others of their groups are, first 06.png of"),
    ],
)
def test_what_is_wrong_with_the_last_variant_is_told_before_any_is_trained(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command(configure(tmp_path, discs), *more)) == code
    (told,) = capsys.readouterr().err.splitlines()
    assert words in told
    assert not (tmp_path / "out").exists()


def test_a_manifest_without_splits_has_none_to_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_discs(tmp_path)
    manifest.write_text("\n".join(f"{image},{mask}" for image, mask, *_ in (line.split(",") for line in manifest.read_text().splitlines())))
    assert main(command(configure(tmp_path, manifest), "--vary", "model.skip=none", "--split", "test")) == 2
    assert f"{manifest}: no row has split 'test'; there are: none" in capsys.readouterr().err


def test_a_picture_to_score_that_is_not_there_is_told_before_any_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_discs(tmp_path)
    (tmp_path / "masks" / "07.png").unlink()
    assert main(command(configure(tmp_path, manifest), "--vary", "model.skip=none", "--split", "test")) == 1
    assert "1 of 4 files is not there" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_split_needs_a_manifest(discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def in_folders(tree: dict[str, Any]) -> None:
        tree["data"] |= {"manifest": None, "images": str(discs.parent / "images"), "masks": str(discs.parent / "masks")}

    assert main(command(configure(tmp_path, discs, in_folders), "--vary", "model.skip=none", "--split", "test")) == 2
    assert "needs a manifest" in capsys.readouterr().err


# What happens on the way.


def test_pictures_of_one_name_in_two_folders_are_two_cases(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "images" / "07.png").rename(tmp_path / "more" / "06.png")
    manifest.write_text(manifest.read_text().replace("images/07.png", "more/06.png"))
    assert main(command(configure(tmp_path, manifest), "--vary", "model.skip=none", "--split", "test")) == 0
    with (tmp_path / "out" / "cases.csv").open(newline="", encoding="utf-8") as file:
        assert [row["case"] for row in csv.DictReader(file)] == [str(tmp_path / "images" / "06.png"), str(tmp_path / "more" / "06.png")]


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss whose Dice weighs 3 or more is no number."""
    from segkit.train import run

    class Diverged(torch.nn.Module):
        def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            return logits.sum() * math.nan

    usual = run.build_loss
    monkeypatch.setattr(run, "build_loss", lambda settings: Diverged() if settings.dice >= 3 else usual(settings))


def test_a_variant_that_fails_is_told_in_the_table_and_the_others_go_on(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], diverging: None
) -> None:
    config = configure(tmp_path, discs)
    line = ["compare", str(config), "-o", str(tmp_path / "out"), "--seeds", "2", "--vary", "loss.dice=3,1", "--split", "test"]
    assert main(line) == 3
    told = capsys.readouterr()
    notes = [note for note in told.err.splitlines() if note.startswith(("1 of", "2 of", "3 of", "4 of", "failed", "left out"))]
    assert notes[0] == "1 of 4: dice=3, seed 0"
    assert notes[1].startswith("failed: the loss became nan at step 0")
    assert notes[2:4] == ["2 of 4: dice=1, seed 0", "3 of 4: dice=3, seed 1"]
    assert notes[4].startswith("left out: dice=3 failed with seed 0: the loss became nan")
    assert notes[5] == "4 of 4: dice=1, seed 1"
    first, second = told.out.splitlines()[1:]
    assert first.startswith("dice=3   failed with seed 0: the loss became nan at step 0")
    assert second.split()[0] == "dice=1"
    failed, gone = json.loads((tmp_path / "out" / "compare.json").read_text())["variants"]
    assert failed["failed"].startswith("seed 0: the loss became nan")
    assert "mean_dice" not in failed
    assert (gone["failed"], gone["difference"], len(gone["seed_dice"])) == (None, None, 2)
    rows = {row["variant"]: row for row in csv.DictReader((tmp_path / "out" / "compare.csv").open(encoding="utf-8"))}
    assert rows["dice=3"]["failed"].startswith("seed 0: the loss became nan")
    assert (rows["dice=3"]["mean_dice"], rows["dice=1"]["failed"]) == ("", "")


def test_where_all_fail_it_is_exit_code_1_and_the_table_says_why(discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], diverging: None) -> None:
    assert main(command(configure(tmp_path, discs), "--vary", "loss.dice=3,4")) == 1
    assert [row.split(maxsplit=1)[1][:18] for row in capsys.readouterr().out.splitlines()[1:]] == ["failed with seed 0"] * 2
    assert not (tmp_path / "out" / "compare.png").exists()


class Stopper(Silence):
    """Sends this process a signal after a step."""

    def stepped(self, report: Report) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_interrupted_comparison_goes_on_to_the_same_scores(discs: Path, tmp_path: Path) -> None:
    def settings(changes: Mapping[str, Any], seed: int) -> RunConfig:
        tree = toy_settings(discs, steps=2, validations=1, seed=seed)
        return RunConfig.model_validate({**tree, "model": {"feature_scale": 16, "skip": changes["model.skip"]}})

    variants, watchers = plan_variants(parse_vary(["model.skip=none,se"]), settings), iter([Silence(), Silence(), Stopper()])
    stopped = compare(variants, [0], tmp_path / "out", split="test", watching=lambda: nullcontext(next(watchers)))
    assert stopped.interrupted is not None
    assert (stopped.interrupted.signal, stopped.interrupted.steps, stopped.lines) == (signal.SIGTERM, 1, ())
    assert (tmp_path / "out" / "skip=se" / "seed0" / "state.pt").exists()
    assert not (tmp_path / "out" / "compare.csv").exists()
    resumed = compare(variants, [0], tmp_path / "out", split="test")
    whole = compare(variants, [0], tmp_path / "whole", split="test")
    timeless = [[replace(line, cost=replace(line.cost, minutes=0.0)) for line in one.lines] for one in (resumed, whole)]
    assert [line.seed_dice for line in timeless[0]] == [line.seed_dice for line in timeless[1]]
    assert [line.cost for line in timeless[0]] == [line.cost for line in timeless[1]]


def test_a_signal_in_the_last_step_of_a_run_ends_the_comparison_too(discs: Path, tmp_path: Path) -> None:
    def settings(changes: Mapping[str, Any], seed: int) -> RunConfig:
        tree = toy_settings(discs, steps=1, validations=1, seed=seed)
        return RunConfig.model_validate({**tree, "model": {"feature_scale": 16, "skip": changes["model.skip"]}})

    watchers = iter([Silence(), Stopper()])                             # for the look ahead, and the first run
    stopped = compare(plan_variants(parse_vary(["model.skip=none,se"]), settings), [0], tmp_path, split="test", watching=lambda: nullcontext(next(watchers)))
    assert stopped.interrupted is not None
    assert (stopped.interrupted.reason, stopped.interrupted.signal) == ("finished", signal.SIGTERM)
    assert not (tmp_path / "skip=se").exists()


@pytest.mark.parametrize("told", ['{"outcome": null}', '{"outcome": {"reason": "finished"}}', "[]", "{"])
def test_a_damaged_account_of_a_run_is_named(discs: Path, tmp_path: Path, told: str) -> None:
    (tmp_path / "skip=none" / "seed0").mkdir(parents=True)
    (tmp_path / "skip=none" / "seed0" / "run.json").write_text(told, encoding="utf-8")
    (tmp_path / "skip=none" / "seed0" / "state.pt").write_bytes(b"")

    def settings(changes: Mapping[str, Any], seed: int) -> RunConfig:
        return RunConfig.model_validate(toy_settings(discs, steps=1, validations=1, seed=seed))

    with pytest.raises(SettingsError, match=r"run\.json: is damaged .*; remove the folder to train that run again"):
        compare(plan_variants(parse_vary(["model.skip=none"]), settings), [0], tmp_path, split="test")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_comparison_says_how_to_go_on(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    ended = Comparison([], [0], None, interrupted=Outcome("interrupted", math.nan, 3, 0.1, number))
    monkeypatch.setattr("segkit.compare.compare", lambda *given, **more: ended)
    line = command(configure(tmp_path, discs), "--vary", "model.skip=none, se")
    assert main(line) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"stopped; what is finished is kept, go on with: segkit compare {' '.join(line[1:-1])} 'model.skip=none, se'\n"


def test_each_run_is_drawn_anew(discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segkit.cli import progress

    seen: list[progress.TrainingProgress] = []
    entered, left = progress.TrainingProgress.__enter__, progress.TrainingProgress.__exit__

    def enter(self: progress.TrainingProgress) -> progress.TrainingProgress:
        assert [one for one in seen if one is self] == []
        return entered(self)

    def leave(self: progress.TrainingProgress, *why: Any) -> None:
        seen.append(self)
        left(self, *why)

    monkeypatch.setattr(progress.TrainingProgress, "__enter__", enter)
    monkeypatch.setattr(progress.TrainingProgress, "__exit__", leave)
    line = command(configure(tmp_path, discs), "--vary", "model.skip=none,se")
    assert main([word for word in line if word != "-q"]) == 0
    assert len(seen) == 3                                               # one for what is looked at beforehand
