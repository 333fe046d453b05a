"""The page about a run: what it says, that it says what it lacks, that no file name gets into its markup, that it needs no other file."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from segkit.cli import main
from segkit.errors import SettingsError, VanishedError
from segkit.report import write_report
from segkit.report.material import read_run

EVIL = "<svg onload=alert(1)>.png"
SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The elements of a page with their attributes, the text that is seen, and what is closed by the wrong end tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.faults += self.open

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.fixture(scope="module")
def page(finetuned: Path) -> Page:
    return Page(write_report(finetuned).read_text("utf-8"))


def test_the_first_sentence_is_the_score_its_interval_the_patients_and_the_rule(page: Page, finetuned: Path) -> None:
    rows = list(csv.DictReader((finetuned / "test" / "evaluation.csv").open()))
    dice = np.array([float(row["dice"]) for row in rows]).reshape(6, 2)                                  # two pictures of each patient
    drawn = np.random.default_rng(5).integers(0, 6, (20_000, 6))
    low, high = np.percentile(dice[drawn].mean(axis=(1, 2)), [2.5, 97.5])
    found = re.search(r"Dice (0\.\d+) \(95 % interval (0\.\d+) to (0\.\d+)\) on 12 cases of 6 patients that were never trained on\. A class that", page.text)
    assert found is not None
    assert float(found[1]) == pytest.approx(dice.mean(), abs=6e-4)
    assert [float(found[2]), float(found[3])] == pytest.approx([low, high], abs=0.02)


def test_the_page_stands_alone_and_runs_nothing(page: Page) -> None:
    assert page.faults == []
    assert {name for name, _ in page.elements} & {"script", "link", "iframe", "object", "base"} == set()
    for name, attributes in page.elements:
        assert not any(key.startswith("on") for key in attributes), name
        assert all(str(attributes[key]).startswith(start) for key, start in (("src", "data:image/jpeg;base64,"), ("href", "#")) if key in attributes)
        assert not any("//" in str(value) for key, value in attributes.items() if key != "src"), name
    policy = next(attributes for _, attributes in page.elements if attributes.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")


def test_the_style_loads_nothing_and_knows_night_and_narrow_screens(finetuned: Path) -> None:
    text = write_report(finetuned).read_text("utf-8")
    assert "url(" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text


def test_every_picture_says_in_words_what_it_shows(page: Page) -> None:
    pictures = [attributes for name, attributes in page.elements if name == "img"]
    assert len(pictures) == 3 * 11                                      # best, median, ten worst of twelve: the median is the sixth worst
    assert all(attributes["alt"] for attributes in pictures)
    assert all(attributes.get("role") == "img" for name, attributes in page.elements if name == "svg")


def test_a_file_name_is_text_and_no_markup(page: Page, finetuned: Path) -> None:
    assert EVIL in page.text
    assert EVIL not in (finetuned / "report.html").read_text("utf-8")


def test_a_class_and_findings_in_markup_are_text(copy: Callable[[], Path]) -> None:
    folder = copy()
    for path in [path for ending in ("json", "csv", "yaml") for path in folder.rglob(f"*.{ending}") if path.name != "manifest.csv"]:
        path.write_text(re.sub(r"\bdisc\b", SCRIPT, path.read_text("utf-8")), "utf-8")
    check = json.loads((folder / "check.json").read_text("utf-8"))
    found = {"severity": "error", "code": SCRIPT, "meaning": SCRIPT, "repair": SCRIPT, "files": [f"{SCRIPT}.png"], "fix": None}
    (folder / "check.json").write_text(json.dumps({**check, "findings": [found], "decided": [SCRIPT]}), "utf-8")
    text = write_report(folder).read_text("utf-8")
    page = Page(text)
    assert "<script" not in text
    assert page.faults == []
    assert page.text.count(SCRIPT) > 20
    assert f"{SCRIPT}.png" in page.text


@pytest.mark.parametrize(
    "words",
    [
        "48 cases of 24 patients",
        "iou: what both areas share",
        "Settings, and why",
        "pieces from",                                                   # tuning.csv
        "Read as table of pairs; rows of manifest.csv; masks: as told: 0 background, 255 disc.",
        "Before the training: ",                                          # how far it came in its seconds is the machine's matter
        "No patient stands on two sides",
        "Each dot is a case. Spearman's correlation is 1.00",
        "was 0.050 as trained and is 0.010 with its temperature of 1.50",
        "segkit predict -m",
        "not a medical device",
        "from set",
        "expected Dice 0.500",                                           # the case that was not moved
    ],
)
def test_what_the_files_say_is_on_the_page(page: Page, words: str) -> None:
    assert words in page.text


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("log.csv", "There is no log.csv"),
        ("settings.json", "There is no settings.json"),
        ("check.json", "There is no check.json"),
        ("measurements.json", "There is no measurements.json"),
        ("splits.json", "There is no splits.json"),
        ("smoke.json", "There is no smoke.json"),
        ("tuning.csv", "There is no tuning.csv"),
        ("run.json", "There is no run.json"),
        ("config.yaml", "config.yaml: no such file"),
        ("manifest.csv", "can't be found any more"),
        ("test/evaluation.json", "There is no test/evaluation.json"),
        ("test/calibration.json", "There is no test/calibration.json"),
        ("test/confidence.csv", "There is no test/confidence.csv"),
        ("test/masks/44.png", "It can't be drawn"),
    ],
)
def test_what_is_not_there_is_said_in_a_plain_line(copy: Callable[[], Path], file: str, line: str) -> None:
    folder = copy()
    (folder / file).unlink()
    page = Page(write_report(folder).read_text("utf-8"))
    assert line in page.text
    assert page.faults == []


def test_two_cases_of_one_name_are_not_drawn_with_each_others_masks(copy: Callable[[], Path]) -> None:
    folder = copy()
    rows = (folder / "manifest.csv").read_text("utf-8").splitlines()
    own = next(row for row in rows if "/41.png" in row).split(",")
    other = folder / "more" / "40.png"
    other.parent.mkdir()
    shutil.copy(folder / own[0], other)
    manifest = "\n".join(row.replace(own[0], "more/40.png") for row in rows) + "\n"
    (folder / "manifest.csv").write_text(manifest, "utf-8")
    for name in ("evaluation.json", "confidence.csv"):
        path = folder / "test" / name
        path.write_text(path.read_text("utf-8").replace("41.png", "40.png"), "utf-8")
    text = Page(write_report(folder).read_text("utf-8")).text
    assert text.count("several scored cases are called 40.png, and test/masks knows but their names") == 2
    assert "expected Dice 0.500" in text                                 # the others are there


def test_cases_are_told_apart_by_their_folders_and_masks_by_their_endings(copy: Callable[[], Path]) -> None:
    folder = copy()
    masks = folder / "test" / "masks"
    (masks / "images").mkdir()
    (masks / "40.png").rename(masks / "images" / "40.png.png")
    for name in ("evaluation.json", "confidence.csv"):
        path = folder / "test" / name
        path.write_text(path.read_text("utf-8").replace("40.png", "images/40.png"), "utf-8")
    text = Page(write_report(folder).read_text("utf-8")).text
    assert "images/40.png; expected Dice 0." in text
    assert "can't be" not in text


def test_without_any_foreground_there_is_no_best_score(disc_run: Path, tmp_path: Path) -> None:
    told = json.loads((disc_run / "run.json").read_text("utf-8"))
    (tmp_path / "run.json").write_text(json.dumps({**told, "outcome": {**told["outcome"], "best": None}}), "utf-8")
    text = Page(write_report(tmp_path).read_text("utf-8")).text
    assert "This run has no score: no validation mask held any foreground." in text
    (tmp_path / "run.json").write_text(json.dumps({key: value for key, value in told.items() if key != "outcome"}), "utf-8")
    text = Page(write_report(tmp_path).read_text("utf-8")).text
    assert "it did not come to its end" in text and "it has not ended" in text


def test_without_the_test_split_the_score_is_called_too_good(copy: Callable[[], Path]) -> None:
    folder = copy()
    splits = json.loads((folder / "splits.json").read_text("utf-8"))
    (folder / "splits.json").write_text(json.dumps({**splits, "val": splits["test"], "test": []}), "utf-8")
    config = folder / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("validation_split: val", "validation_split: test"), "utf-8")
    text = Page(write_report(folder).read_text("utf-8")).text
    assert "on 12 cases of 6 patients that validated. They were not trained on, but they also chose the best weights" in text
    assert "never trained on. A class" not in text


def test_folds_are_read_one_by_one(copy: Callable[[], Path]) -> None:
    folder = copy()
    for number in (0, 1, 10):
        (folder / f"fold{number}").mkdir()
        for name in ("config.yaml", "log.csv", "run.json", "tuning.csv", "splits.json"):
            text = (folder / name).read_text("utf-8")
            (folder / f"fold{number}" / name).write_text(text.replace("manifest: manifest.csv", "manifest: ../manifest.csv"), "utf-8")
    page = Page(write_report(folder).read_text("utf-8"))
    assert [training.folder.name for training in read_run(folder).trainings] == ["fold0", "fold1", "fold10"]
    assert "fold10: 32 cases to train on" in page.text
    assert "12 cases of 6 patients that were never trained on" in page.text


def test_a_run_of_segkit_train_has_curves_settings_and_its_validation_score(disc_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(disc_run, tmp_path / "run", ignore=shutil.ignore_patterns("state.pt", "model.safetensors"))
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    page = Page((folder / "report.html").read_text("utf-8"))
    assert re.search(r"Dice 0\.\d{3} on 2 validation cases\. They also chose the best weights, so that the score is somewhat too good", page.text)
    assert "There is no test/evaluation.json" in page.text
    assert "train.learning_rate" in page.text
    assert any(name == "polyline" for name, _ in page.elements)


def test_scores_come_back_as_they_were_written(finetuned: Path) -> None:
    path = finetuned / "test" / "evaluation.json"
    evaluation = read_run(finetuned).evaluation
    assert evaluation is not None
    assert json.loads(json.dumps(evaluation.to_json())) == json.loads(path.read_text("utf-8"))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match="it has neither run.json nor log.csv; name that of segkit finetune or segkit train"):
        write_report(tmp_path)
    with pytest.raises(VanishedError, match="no such folder; name the folder of a run"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(VanishedError, match="is a file; name the folder of a run"):
        write_report(tmp_path / "model.safetensors")
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("check.json", "{", "check.json: is not JSON"),
        ("test/evaluation.json", '{"cases": []}', "evaluation.json: is not what segkit evaluate writes"),
        ("test/confidence.csv", "case,dice\na.png,1\n", "confidence.csv: expected columns case, expected_dice, dice with numbers"),
    ],
)
def test_a_broken_file_is_named(copy: Callable[[], Path], file: str, text: str, words: str) -> None:
    folder = copy()
    (folder / file).write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=words):
        write_report(folder)


def test_scores_of_other_cases_than_the_manifest_has_are_not_mixed_up(copy: Callable[[], Path]) -> None:
    folder = copy()
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(line for line in manifest.read_text("utf-8").splitlines() if "/40.png" not in line) + "\n", "utf-8")
    text = Page(write_report(folder).read_text("utf-8")).text
    assert "its manifest names other cases than test/evaluation.json" in text
    assert "12 cases (whose they are is not known)" in text


def keep_cases(folder: Path, count: int) -> None:
    """A run that scored its first cases alone."""
    path = folder / "test" / "evaluation.json"
    told = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**told, "cases": told["cases"][:count]}), "utf-8")
    names = [case["case"] for case in told["cases"][count:]]
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(row for row in manifest.read_text("utf-8").splitlines() if not any(f"/{name}" in row for name in names)) + "\n", "utf-8")


def test_two_cases_of_one_patient_are_only_counted(copy: Callable[[], Path]) -> None:
    folder = copy()
    keep_cases(folder, 2)
    text = Page(write_report(folder).read_text("utf-8")).text
    assert "The scored cases" in text and "1 of 2" in text and "2 of 2" in text
    assert "median, worst" not in text and "2nd worst" not in text
    assert "Scored: 2 cases. That is too few to say where the model fails: it takes 12." in text
    assert "There is no interval: how much a score differs from patient to patient" in text
    assert "are too narrow" not in text and "with its 95 % interval, over" not in text


def test_why_no_step_was_taken_is_said(copy: Callable[[], Path]) -> None:
    folder = copy()
    header = "step,dice_before,dice_after,gain,standard_error,groups,decision\n"
    for groups, words in ((1, "with the pictures of 1 patient a gain may be chance, 3 are the least"), (3, "none gained more than it may vary by chance")):
        (folder / "tuning.csv").write_text(f"{header}mirror images,0.5,0.6,0.1,nan,{groups},left\n", "utf-8")
        assert f"No step was worth it: {words}. The model is used" in Page(write_report(folder).read_text("utf-8")).text


def test_mirror_images_that_were_kept_are_not_said_to_be_worth_it(copy: Callable[[], Path]) -> None:
    folder = copy()
    header = "step,dice_before,dice_after,gain,standard_error,groups,decision\n"
    (folder / "tuning.csv").write_text(f"{header}mirror images,0.5,0.499,-0.001,0.01,9,kept\n", "utf-8")
    text = Page(write_report(folder).read_text("utf-8")).text
    assert "No step was worth it: none gained more than it may vary by chance. No harm was seen of mirror images" in text


@pytest.mark.parametrize(("trouble", "is_sure"), [({}, True), ({"doubt": "warning: not certain"}, False), ({"fault": "learnt nothing"}, False)])
def test_the_trial_is_told_as_it_went(copy: Callable[[], Path], trouble: dict[str, str], is_sure: bool) -> None:
    folder = copy()
    path = folder / "smoke.json"
    told = {**json.loads(path.read_text("utf-8")), "told": "too slow to tell", "belonging": 7.0, "fault": None, "doubt": None}
    path.write_text(json.dumps({**told, **trouble}), "utf-8")
    text = Page(write_report(folder).read_text("utf-8")).text
    assert "Before the training: too slow to tell." in text
    assert ("7.0 standard errors" in text) == is_sure
    assert all(words in text for words in trouble.values())


def test_patients_that_nobody_named_are_not_said_to_be_apart(copy: Callable[[], Path]) -> None:
    folder = copy()
    path = folder / "splits.json"
    told = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**told, "groups": {name: str(Path(name).with_suffix("")) for name in told["groups"]}}), "utf-8")
    text = Page(write_report(folder).read_text("utf-8")).text
    assert "Whose the pictures are was not told" in text and "No patient stands" not in text


def test_a_temperature_of_two_cases_and_one_that_was_not_found_are_not_sold(copy: Callable[[], Path]) -> None:
    folder = copy()
    for name, change in (("run.json", {"data": {"training": ["a"], "validation": ["b", "c"]}}), ("test/calibration.json", {"temperature": 1.0})):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    text = Page(write_report(folder).read_text("utf-8")).text
    assert "were learnt from 2 cases: that is little to rely on" in text
    assert "No temperature was found that makes it better" in text


def test_a_folder_of_predictions_gets_no_report(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}", "utf-8")
    (tmp_path / "results.csv").write_text("file\n", "utf-8")
    with pytest.raises(SettingsError, match="holds the results of segkit predict, not a run"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
