"""`segkit finetune`, as it is typed, on tiny drawn sets."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from toys import disc, write_discs

from segkit.calibrate import calibrate, load_evidence
from segkit.checkpoint import load_model
from segkit.cli import main
from segkit.config import load_run
from segkit.errors import PairingError
from segkit.finetune import rules, smoke
from segkit.finetune.rules import network
from segkit.io import read_manifest
from segkit.train import Report, Silence

FEW = ["--set", "train.steps=4", "--set", "train.minutes=null", "--set", "train.validations=2", "--precision", "fp32", "--device", "cpu"]
SMALL = ["--set", "model={feature_scale: 16, decoder_batchnorm: true}"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks of a sixteenth of the width, and short trials."""
    monkeypatch.setattr(network, "PLAIN", ({"name": "unet", "feature_scale": 16, "decoder_batchnorm": True},))
    monkeypatch.setattr(rules, "choose_growth", lambda *given: 1.0)      # else a larger network is timed
    monkeypatch.setattr(smoke, "STEPS", 20)
    monkeypatch.setattr(smoke, "FEWEST_STEPS", 1000)                     # what the trial finds is tested where it lives
    yield


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sixteen discs, four of them the split test."""
    return write_discs(tmp_path_factory.mktemp("set") / "discs", count=16).parent


@pytest.fixture(scope="module")
def finished(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "choose_growth", lambda *given: 1.0)
        patch.setattr(smoke, "FEWEST_STEPS", 1000)
        assert main(["finetune", str(ready), "-o", str(folder), "--labels", "disc=255", *FEW, *SMALL, "-q"]) == 0
    return folder


def test_a_folder_becomes_a_model_with_its_score_on_cases_never_seen(finished: Path) -> None:
    names = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert names >= {"config.yaml", "manifest.csv", "splits.json", "check.json", "measurements.json", "settings.json", "smoke.json", "tuning.csv"}
    assert names >= {"model.safetensors", "run.json", "test/evaluation.csv", "test/evaluation.json", "finetune.json", "test/confidence.csv", "report.html"}
    assert {name for name in names if name.startswith("test/masks/")} == {f"test/masks/{number}.png" for number in range(12, 16)}
    splits = json.loads((finished / "splits.json").read_text())
    scored = {row["case"] for row in csv.DictReader((finished / "test" / "evaluation.csv").open())}
    assert scored == {Path(name).name for name in splits["test"]} == {"12.png", "13.png", "14.png", "15.png"}
    assert scored.isdisjoint(Path(name).name for name in [*splits["train"], *splits["val"]])


def test_of_what_is_scored_there_are_masks_and_how_sure_the_model_was(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ["predict", str(finished / "manifest.csv"), "--split", "test", "-m", str(finished), "-o", str(out), "-q"]
    assert main([*given, "--review", "2", "--device", "cpu", "--precision", "fp32", "--engine", "torch"]) == 0
    rows = list(csv.DictReader((finished / "test" / "confidence.csv").open()))
    predicted = [(Path(row["file"]).name, row["expected_dice"]) for row in csv.DictReader((out / "results.csv").open())]
    assert [(row["case"], f"{float(row['expected_dice']):.4f}") for row in rows] == predicted
    scores = {row["case"]: float(row["dice"] or 1) for row in csv.DictReader((finished / "test" / "evaluation.csv").open())}
    assert {row["case"]: pytest.approx(float(row["dice"])) for row in rows} == scores
    for name in scores:
        np.testing.assert_array_equal(Pillow.open(finished / "test" / "masks" / name), Pillow.open(out / name))
    told = json.loads((finished / "test" / "calibration.json").read_text())
    assert list(told) == ["scored_on", "cases", "temperature", "ece_before", "ece_after", "before", "after", "correlation"]
    line = load_model(finished).run.predict
    assert (told["scored_on"], told["cases"], told["temperature"]) == ("test", 4, line.temperature)
    for when in ("before", "after"):
        assert told[f"ece_{when}"] == pytest.approx(sum(share * abs(said - right) for said, right, share in told[when]))
        assert sum(share for _, _, share in told[when]) == pytest.approx(1)
    assert line.expected_dice is not None
    assert re.fullmatch(r"\d+ parts of 2 cases", line.expected_dice.learnt_from)


def test_names_stand_in_the_card_and_the_settings_do_the_same_again(finished: Path) -> None:
    run = load_run(finished / "config.yaml")
    card = load_model(finished).run
    assert card.data.labels == {"background": 0, "disc": 255}
    assert (card.train.steps, card.model, card.preprocess) == (4, run.model, run.preprocess)
    assert main(["train", str(finished / "config.yaml"), "-o", str(finished / "again"), "-q"]) == 0
    first, again = (json.loads((folder / "run.json").read_text()) for folder in (finished, finished / "again"))
    assert first["validations"][-1]["mean_dice"] == again["validations"][-1]["mean_dice"]
    assert first["data"] == again["data"]


def test_a_report_that_can_not_be_written_costs_neither_the_score_nor_the_model(ready: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, again = finished / "report.html", f"segkit report {finished}"
    page.rename(finished / "kept.html")
    page.mkdir()                                                         # is in the way
    try:
        for more, first in ([], "Scored on 4 cases that were never trained on:"), (["--json"], '{"model": '):
            assert main(["finetune", str(ready), "-o", str(finished), "--resume", "-q", *more]) == 3
            told = capsys.readouterr()
            assert told.out.startswith(first)
            assert told.err.splitlines()[-1].startswith(f"segkit: {page}: not written: ")
            assert told.err.endswith(f"the model is finished and scored, only its report is missing: when that is mended, write it with {again}\n")
    finally:
        page.rmdir()
        (finished / "kept.html").rename(page)
    assert main(["report", str(finished)]) == 0


def test_a_dry_run_prints_the_settings_and_trains_nothing(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["finetune", str(ready), "-o", str(tmp_path / "run"), "--dry-run", "--minutes", "3", "--set", "train.batch_size=5"]
    assert main(given) == 0
    told = capsys.readouterr()
    assert told.out == (tmp_path / "run" / "config.yaml").read_text()
    run = load_run(tmp_path / "run" / "config.yaml")
    assert (run.train.minutes, run.train.batch_size, run.train.patch) == (3, 5, (48, 48))
    assert "batch_size: 5" in told.out
    assert "# given with --set" in told.out
    assert "10 cases" not in told.err
    assert "as the data set says: 12 train, 4 test" in told.err
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert main(given) == 0                                              # nothing is in the way of another try


def test_without_splits_they_are_drawn_by_patient(ready: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in (ready / "manifest.csv").read_text().split()]
    text = "\n".join(f"{ready / row[0] if number else row[0]},{ready / row[1] if number else row[1]},{row[3]}" for number, row in enumerate(rows))
    (tmp_path / "all.csv").write_text(text, "utf-8")
    assert main(["finetune", str(tmp_path / "all.csv"), "-o", str(tmp_path / "run"), "--dry-run", "-q", "--test-split", "0.3"]) == 0
    told = list(csv.DictReader((tmp_path / "run" / "manifest.csv").open()))
    sides: dict[str, set[str]] = {}
    for row in told:
        sides.setdefault(row["group"], set()).add(row["split"])
    assert all(len(found) == 1 for found in sides.values())
    assert {side for found in sides.values() for side in found} == {"train", "val", "test"}


def test_a_model_goes_on_with_the_classes_that_it_knows(finished: Path, ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    given = ["finetune", str(ready), "-o", str(folder), "--from", str(finished), "--freeze", "encoder:0.5", "--patience", "3", "--labels", "disc=255", *FEW]
    assert main(given) == 0
    assert "disc             keeps its rows of the head" in capsys.readouterr().err
    run = load_run(folder / "config.yaml")
    assert (run.train.freeze, run.train.freeze_epochs, run.train.encoder_rate, run.train.patience) == ("encoder", 0.5, 0.3, 3)
    assert run.model == load_run(finished / "config.yaml").model
    assert json.loads((folder / "start.json").read_text())["classes"] == {"background": "background", "disc": "disc"}
    assert "tensors loaded" in json.loads((folder / "run.json").read_text())["weights"][0]


def test_a_class_that_is_new_starts_fresh_and_it_is_told(finished: Path, ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["finetune", str(ready), "-o", str(tmp_path / "run"), "--from", str(finished), "--labels", "tumour=255", "--dry-run"]
    assert main(given) == 0
    assert "tumour           starts fresh" in capsys.readouterr().err


def test_folds_become_one_model(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert main(["finetune", str(ready), "-o", str(folder), "--folds", "2", *FEW, *SMALL, "--json", "-q"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["scored_on"] == "4 cases that were never trained on"
    validating = [json.loads((folder / f"fold{number}" / "splits.json").read_text())["val"] for number in range(2)]
    assert len(set(validating[0]) & set(validating[1])) == 0
    assert len(validating[0]) + len(validating[1]) == 12
    assert load_model(folder).card.members == 2


def test_the_ensemble_is_as_sure_as_the_cases_of_all_folds_say(ready: Path, tmp_path: Path) -> None:
    rows = (ready / "manifest.csv").read_text().replace(",test,", ",train,")
    (tmp_path / "all.csv").write_text(rows.replace("images/", f"{ready}/images/").replace("masks/", f"{ready}/masks/"), "utf-8")
    folder = tmp_path / "run"
    assert main(["finetune", str(tmp_path / "all.csv"), "-o", str(folder), "--folds", "2", "--test-split", "0", *FEW, *SMALL, "-q"]) == 0
    cases = [case for number in range(2) for case in load_evidence(folder / f"fold{number}" / "evidence.npz")]
    predict = load_model(folder).run.predict
    assert (len(cases), calibrate(cases, predict).predict) == (16, predict)
    told = json.loads((folder / "test" / "calibration.json").read_text())
    assert (told["scored_on"], told["cases"]) == ("validation", 16)
    assert told["temperature"] == predict.temperature
    assert len(list((folder / "test" / "masks").iterdir())) == 16


class Stopping(Silence):
    """Asks this process to end after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def stepped(self, report: Report) -> None:
        if report.step == self._step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_is_stopped_says_how_to_go_on_and_does(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["finetune", str(ready), "-o", str(tmp_path / "run"), "--labels", "disc=255", *FEW, *SMALL, "-q"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segkit.cli.progress.training_watcher", lambda quiet: nullcontext(Stopping(3)))
        assert main(given) == 128 + signal.SIGTERM
    *_, line = capsys.readouterr().err.splitlines()
    assert line == f"stopped at step 3; go on with: segkit {shlex.join(given)} --resume"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segkit.finetune.run.choose", interrupt)
        assert main([*given, "--resume"]) == 130
    assert f"stopped; go on with: segkit {shlex.join(given)} --resume" in capsys.readouterr().err
    for more, message in ((["--folds", "3"], "now folds 3 instead of 0"), (["--dry-run"], "give one of the two")):
        assert main([*given, "--resume", *more]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert main(["finetune", str(ready), "-o", str(tmp_path / "run"), "--resume", "-q"]) == 0        # what is stored needs not be given again
    first = capsys.readouterr().out
    assert "Scored on 4 cases that were never trained on" in first
    assert main([*given, "--resume"]) == 0                                                           # and again, from its files
    assert capsys.readouterr().out == first
    with corrected(next(row.mask for row in read_manifest(tmp_path / "run/manifest.csv") if row.split == "test" and row.mask is not None)):
        assert main([*given, "--resume"]) == 0
        assert "Scored on 4 cases that were never trained on" in (anew := capsys.readouterr().out)
        assert anew != first


@contextmanager
def corrected(mask: Path) -> Iterator[None]:
    """Empty for a while."""
    before = mask.read_bytes()
    Pillow.fromarray(np.zeros_like(np.asarray(Pillow.open(mask)))).save(mask)
    try:
        yield
    finally:
        mask.write_bytes(before)


def interrupt(*given: object) -> None:
    raise KeyboardInterrupt


def away(*given: object) -> None:
    raise PairingError("the disk of the data set is not there")


def test_there_must_be_a_run_to_go_on_with(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", str(ready), "-o", str(tmp_path / "run"), "--resume", "-q"]) == 2
    assert "holds nothing to resume (no finetune.json); start without --resume" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("membrane=0,background=255", {"background": 255, "membrane": 0}),
        ("disc=255", {"background": 0, "disc": 255}),
        ("ground=0,disc=255", {"ground": 0, "disc": 255}),
    ],
)
def test_the_background_is_what_is_called_so_or_else_0(ready: Path, tmp_path: Path, labels: str, expected: dict[str, int]) -> None:
    assert main(["finetune", str(ready), "-o", str(tmp_path / "run"), "--labels", labels, "--dry-run", "-q"]) == 0
    assert list(load_run(tmp_path / "run" / "config.yaml").data.labels.items()) == list(expected.items())


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--freeze", "encoder"], 2, "give --from MODEL too"),
        (["--freeze", "head", "--from", "fundus-vessels"], 2, "--freeze head: expected encoder, or encoder:EPOCHS"),
        (["--labels", "a=1"], 2, "no mask holds a"),
        (["--folds", "40"], 2, "--folds 40: 6 groups (patients) can validate in turn"),
        (["--minutes", "0"], 2, "0.0 is not in the range x>0"),
        (["--minutes", "nan"], 2, "--minutes nan: expected a number above 0"),
        (["--minutes", "inf"], 2, "--minutes inf: expected a number above 0"),
        (["--val-split", "nan"], 2, "--val-split nan: expected a number above 0"),
        (["--from", "nowhere"], 1, "nowhere: no such model file"),
    ],
)
def test_what_can_not_be_done_is_one_line(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, message: str) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new" / "run", tmp_path / "empty"):
        assert main(["finetune", str(ready), "-o", str(folder), "-q", *more]) == code
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]                                   # there is nothing to go on with, and no trace
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_start_that_fails_leaves_what_was_there_but_nothing_to_go_on_with(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    given = ["finetune", str(ready), "-o", str(run), "-q"]
    assert main([*given, "--dry-run"]) == 0
    (run / "notes.txt").write_text("mine", "utf-8")
    before = {path.name for path in run.iterdir()}
    assert main([*given, "--labels", "a=1"]) == 2
    assert {path.name for path in run.iterdir()} == before - {"finetune.json"}
    assert main([*given, "--resume"]) == 2
    assert "holds nothing to resume" in capsys.readouterr().err


def test_a_preparation_that_fails_when_it_is_gone_on_with_can_be_gone_on_with_again(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["segkit.finetune.prepare"], "survey", interrupt)
        assert main(["finetune", str(ready), "-o", str(run), "-q"]) == 130
    assert [path.name for path in run.iterdir()] == ["finetune.json"]
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["segkit.finetune.prepare"], "survey", away)
        assert main(["finetune", str(ready), "-o", str(run), "-q", "--resume"]) == 1
    assert [path.name for path in run.iterdir()] == ["finetune.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.batchsize=3", "train.batchsize is not a setting: did you mean train.batch_size?"),
        ("train.lr=3", "train.lr is not a setting: did you mean train.learning_rate?"),
        ("learning_rate=3", "learning_rate is not a setting: did you mean train.learning_rate?"),
        ("train.learning_rate=3", "train.learning_rate can't be 3: Input should be less than or equal to 1"),
    ],
)
def test_a_wrong_setting_is_told_before_any_picture_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, change: str, message: str
) -> None:
    monkeypatch.setattr(sys.modules["segkit.finetune.prepare"], "survey", interrupt)
    for more in ([], ["--dry-run"]):
        assert main(["finetune", str(tmp_path), "-o", str(tmp_path / "run"), "--set", change, *more]) == 2
        assert capsys.readouterr().err == f"segkit: --set {change}: {message}\n"


def test_an_existing_run_is_left_alone(ready: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", str(ready), "-o", str(finished), "-q"]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_shuffled_masks_stop_it_before_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_discs(tmp_path / "discs", count=32).parent
    masks = sorted((folder / "masks").iterdir())
    contents = [path.read_bytes() for path in masks]
    for path, content in zip(masks, [*contents[7:], *contents[:7]], strict=True):
        path.write_bytes(content)
    assert main(["finetune", str(folder), "-o", str(tmp_path / "run"), *FEW, *SMALL, "-q"]) == 1
    assert "the masks do not follow what is on the pictures" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_failed_trial_stops_before_the_training(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "FEWEST_STEPS", 1)
    monkeypatch.setattr(smoke, "LITTLE", math.inf)                       # nothing is good enough
    assert main(["finetune", str(ready), "-o", str(tmp_path / "run"), *FEW, *SMALL, "-q"]) == 1
    assert "were not learnt by heart" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()
    assert main(["finetune", str(ready), "-o", str(tmp_path / "run"), *FEW, *SMALL, "-q", "--no-smoke-test"]) == 0


def test_masks_in_several_files_are_joined_in_a_copy_that_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(10):
        place = tmp_path / "set" / f"{number:02d}"
        picture, mask = disc(number)
        upper = np.where(np.arange(48)[:, None] < 24, mask, 0).astype(np.uint8)
        for name, pixels in ((f"images/{number:02d}.png", picture), ("masks/a.png", upper), ("masks/b.png", mask - upper)):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(pixels).save(place / name)
    for _ in range(2):                                                   # the copy of an earlier try is made anew
        assert main(["finetune", str(tmp_path / "set"), "-o", str(tmp_path / "run"), "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "written as plain pictures and masks to" in told
    assert ": 10 pairs, 0 left out" in told
    assert "a file for each object or part: they are written as one mask" in told
    assert "error: " not in told
    rows = list(csv.DictReader((tmp_path / "run" / "manifest.csv").open()))
    assert all(row["mask"].startswith("data/masks/") for row in rows)
    joined = np.array(Pillow.open(tmp_path / "run" / rows[0]["mask"]))
    assert any(np.array_equal(joined, disc(number)[1]) for number in range(10))


def test_pairs_that_are_left_out_are_told_and_many_with_values_of_no_class_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_discs(tmp_path / "discs", count=16).parent
    given = ["finetune", str(folder), "-o", str(tmp_path / "run"), "--labels", "disc=255", "--dry-run"]
    spoil(folder / "masks" / "00.png")
    assert main(given) == 0
    told = capsys.readouterr()
    notes = " ".join(told.err.split())
    assert "1 of 16 pairs is left out, first " in notes
    assert "its mask holds 7, which is no class; splits.json says it of each" in notes
    assert told.out.startswith("# discs: 15 cases; ")
    spoil(folder / "masks" / "02.png")
    assert main(given) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 16 pairs would be left out, as their masks hold 7, which is no class" in last
    assert "--labels background=0,disc=255,class_7=7" in last
    assert "--labels background=0,disc=255,ignore=7" in last


def spoil(mask: Path) -> None:
    """A pixel becomes 7."""
    pixels = np.array(Pillow.open(mask))
    pixels[0, 0] = 7
    Pillow.fromarray(pixels).save(mask)


def test_masks_of_one_value_are_told_as_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_discs(tmp_path / "discs", count=4).parent
    for mask in (folder / "masks").iterdir():
        Pillow.fromarray(np.zeros((48, 48), np.uint8)).save(mask)
    assert main(["finetune", str(folder), "-o", str(tmp_path / "run"), "-q"]) == 1
    assert "the masks hold 0 in every pixel, and nothing else; what is drawn needs another value" in capsys.readouterr().err


def test_a_setting_that_does_not_fit_the_pictures_is_refused_before_the_training(ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", str(ready), "-o", str(tmp_path / "run"), "--dry-run", "-q", "--set", "preprocess.channels=2"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"segkit: --set preprocess.channels=2 does not fit: .*has 1 channel \(grey\), the model takes 2 channels", told)
    assert not (tmp_path / "run").exists()
