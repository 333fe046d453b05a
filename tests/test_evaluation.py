"""Predictions against the truth: what is paired, what the values mean, what comes out, from Python and from the command line."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image as Pillow

from segkit.cli.evaluate import evaluate as command
from segkit.errors import MaskValuesError, PairingError, SettingsError, ShapeError, VanishedError
from segkit.evaluation import evaluate, evaluate_pairs, save
from segkit.labels import Labels, Mask
from segkit.metrics import ScoreSettings

VESSELS = Labels(("background", "vessel"), (0, 255))
ORGANS = Labels(("background", "nerve", "vessel"), (0, 1, 2))

HALF = ("##..", ".##.")
"""Two masks of two pixels that share one: dice 0.5."""


def draw(*rows: str, value: int = 255) -> NDArray[np.uint8]:
    """# is the value; a digit is itself; everything else 0."""
    return np.array([[value if letter == "#" else int(letter) if letter.isdigit() else 0 for letter in row] for row in rows], np.uint8)


def write(path: Path, values: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(values).save(path)
    return path


def folders(root: Path, **cases: tuple[str, str]) -> tuple[Path, Path]:
    """Folders of predictions and truths, 0 and 255, one row each."""
    for name, (prediction, truth) in cases.items():
        write(root / "out" / f"{name}.png", draw(prediction))
        write(root / "masks" / f"{name}.png", draw(truth))
    return root / "out", root / "masks"


def volume(path: Path, values: NDArray[np.uint8], zooms: tuple[float, float, float]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = nib.Nifti1Image(values, np.diag([*zooms, 1.0]))
    nib.save(picture, path)
    return path


def masks(prediction: str, truth: str, labels: Labels = VESSELS, spacing_mm: tuple[float, ...] | None = None) -> tuple[Mask, Mask]:
    return Mask(labels.encode(draw(prediction)), labels), Mask(labels.encode(draw(truth)), labels, spacing_mm)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


# Means, and what they leave out.


def test_the_mean_of_a_class_is_over_its_cases() -> None:
    found = evaluate_pairs([("a", *masks(*HALF)), ("b", *masks("##..", "##.."))])
    assert found.classes["vessel"].means["dice"] == 0.75
    assert found.classes["vessel"].cases == 2


def test_the_mean_is_over_the_means_of_the_classes() -> None:
    pair = masks("110022", "011022", ORGANS)
    found = evaluate_pairs([("a", *pair)], metrics=("dice",))
    assert {name: summary.means["dice"] for name, summary in found.classes.items()} == {"nerve": 0.5, "vessel": 1.0}
    assert found.means == {"dice": 0.75}


def test_cases_empty_on_both_sides_are_left_out_and_counted() -> None:
    found = evaluate_pairs([("a", *masks(*HALF)), ("b", *masks("....", "...."))])
    assert found.classes["vessel"].means["dice"] == 0.5
    assert (found.classes["vessel"].cases, found.classes["vessel"].left_out) == (2, 1)


def test_missed_and_spurious_objects_count_as_0_and_are_counted() -> None:
    found = evaluate_pairs([("a", *masks("##..", "##..")), ("b", *masks("....", "##..")), ("c", *masks("#...", "...."))])
    vessel = found.classes["vessel"]
    assert vessel.means["dice"] == pytest.approx(1 / 3)
    assert (vessel.left_out, vessel.missed, vessel.spurious) == (0, 1, 1)
    assert vessel.means["hd95"] == 0  # of the one case that has a distance


def test_only_the_metrics_that_were_asked_for_are_computed() -> None:
    found = evaluate_pairs([("a", *masks(*HALF))], metrics=("dice",))
    assert found.to_json()["mean"] == {"dice": 0.5}


def test_distances_are_in_mm_where_the_spacing_is_known() -> None:
    prediction, truth = masks("#..#", "#...", spacing_mm=(1.0, 0.5))
    in_mm = evaluate_pairs([("a", prediction, truth)])
    in_px = evaluate_pairs([("a", *masks("#..#", "#..."))])
    assert (in_mm.unit, in_mm.means["assd"]) == ("mm", 0.5)
    assert (in_px.unit, in_px.means["assd"]) == ("px", 1.0)


def test_millimetres_and_pixels_are_not_averaged() -> None:
    found = evaluate_pairs([("a", *masks(*HALF)), ("b", *masks(*HALF, spacing_mm=(1.0, 1.0)))], metrics=("dice", "hd95", "nsd"))
    assert found.unit == "mixed"
    assert math.isnan(found.means["hd95"]) and math.isnan(found.means["nsd"])  # a tolerance of 2 px is not one of 2 mm
    assert found.means["dice"] == 0.5
    assert any("no mean" in warning for warning in found.warnings)


def test_a_class_that_is_nowhere_is_named_and_left_out_of_the_mean() -> None:
    found = evaluate_pairs([("a", *masks("11..", "11..", ORGANS))])
    assert found.means["dice"] == 1
    assert found.warnings == ("vessel stands in no truth and in no prediction: it is left out of the means",)


def test_predictions_that_are_all_empty_are_named() -> None:
    found = evaluate_pairs([("a", *masks("....", "##..")), ("b", *masks("....", "...."))])
    assert found.warnings == ("every prediction of vessel is empty",)


def test_truths_that_are_nearly_all_empty_are_named() -> None:
    found = evaluate_pairs([("a", *masks(*HALF)), *((f"{number}", *masks("....", "....")) for number in range(10))])
    assert found.warnings == ("10 of 11 truth masks hold no object at all: the scores rest on few cases",)


def test_under_rules_that_leave_nothing_out_the_warnings_say_what_the_scores_are_worth() -> None:
    settings = ScoreSettings(empty="perfect")
    nowhere = evaluate_pairs([("a", *masks("11..", "11..", ORGANS))], settings=settings)
    assert nowhere.means["dice"] == 1
    assert nowhere.warnings == ("vessel stands in no truth and in no prediction: its scores are those of empty masks",)
    rare = evaluate_pairs([("a", *masks(*HALF)), *((f"{number}", *masks("....", "....")) for number in range(10))], settings=settings)
    assert rare.means["dice"] == pytest.approx(10.5 / 11)
    assert rare.warnings == ("10 of 11 truth masks hold no object at all: the scores are mostly those of empty masks",)


def test_the_json_is_strict_and_says_how_empty_masks_count() -> None:
    written = evaluate_pairs([("a", *masks("....", "##.."))]).to_json()
    json.dumps(written, allow_nan=False)
    assert written["mean"]["hd95"] is None
    assert written["classes"]["vessel"]["missed"] == 1
    assert written["cases"][0] == {
        "case": "a",
        "unit": "px",
        "spacing_mm": None,
        "classes": {"vessel": {"dice": 0, "iou": 0, "precision": None, "recall": 0, "hd95": None, "assd": None, "prediction_px": 0, "truth_px": 2}},
    }
    assert "left out" in written["empty_masks"]


def test_masks_of_two_sizes_are_refused_by_name() -> None:
    with pytest.raises(ShapeError, match="03: the prediction is 1x4, the truth 1x5; masks are never resized"):
        evaluate_pairs([("03", *masks("....", "....."))])


def test_masks_of_other_classes_are_refused() -> None:
    prediction, truth = masks("11", "11", ORGANS)[0], masks("##", "##", VESSELS)[1]
    with pytest.raises(SettingsError, match="a: its classes are background, nerve, vessel, the first truth's are background, vessel"):
        evaluate_pairs([("a", prediction, truth)])


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(PairingError, match="there is no pair"):
        evaluate_pairs([])


# Which files belong together.


def test_a_folder_scored_against_itself_is_perfect(tmp_path: Path) -> None:
    out, _ = folders(tmp_path, a=HALF, b=("####", "####"))
    found = evaluate(out, out)
    assert found.means == {"dice": 1, "iou": 1, "precision": 1, "recall": 1, "hd95": 0, "assd": 0}


def test_files_are_paired_by_name_below_their_folders_whatever_their_ending(tmp_path: Path) -> None:
    write(tmp_path / "out" / "left" / "01.png", draw(HALF[0]))
    write(tmp_path / "out" / "right" / "01.png", draw("####"))
    write(tmp_path / "masks" / "left" / "01.tif", draw(HALF[1]))
    write(tmp_path / "masks" / "right" / "01.bmp", draw("####"))
    found = evaluate(tmp_path / "out", tmp_path / "masks")
    assert [(case.case, case.classes["255"].scores["dice"]) for case in found.cases] == [("left/01", 0.5), ("right/01", 1)]


@pytest.mark.parametrize("below", ["images/a/", "a/", ""])
def test_the_prediction_of_a_manifest_row_is_found_from_whichever_folder_it_was_made(tmp_path: Path, below: str) -> None:
    write(tmp_path / "data" / "images" / "a" / "01.png", draw("1234"))
    write(tmp_path / "data" / "masks" / "01.png", draw(HALF[1]))
    write(tmp_path / "out" / f"{below}01.png", draw(HALF[0]))
    manifest = tmp_path / "data" / "manifest.csv"
    manifest.write_text("image,mask,split\nimages/a/01.png,masks/01.png,test\n")
    assert evaluate(tmp_path / "out", manifest, labels=VESSELS).means["dice"] == 0.5


def test_a_split_of_a_manifest_is_scored_alone(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF, b=("####", "####"))
    manifest = tmp_path / "set.csv"
    manifest.write_text(f"image,mask,split\n{truth.name}/a.png,{truth.name}/a.png,test\n{truth.name}/b.png,{truth.name}/b.png,train\n")
    assert [case.case for case in evaluate(out, manifest, split="test").cases] == ["masks/a"]
    with pytest.raises(SettingsError, match=r"no row has split 'val'; there are: test, train"):
        evaluate(out, manifest, split="val")


def test_a_split_of_a_folder_is_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    with pytest.raises(SettingsError, match="split 'test' goes with a manifest"):
        evaluate(out, truth, split="test")


def test_a_row_without_a_mask_is_refused(tmp_path: Path) -> None:
    out, _ = folders(tmp_path, a=HALF)
    manifest = tmp_path / "set.csv"
    manifest.write_text("image,mask\nmasks/a.png,\n")
    with pytest.raises(PairingError, match=r"a\.png.* has no mask"):
        evaluate(out, manifest)


def test_a_missing_prediction_is_refused_by_name(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF, b=HALF)
    (out / "b.png").unlink()
    with pytest.raises(PairingError, match=r"1 of 2 truths have no prediction: b; .*--allow-missing"):
        evaluate(out, truth)


def test_missing_predictions_can_be_left_out_and_are_named(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF, b=HALF)
    (out / "b.png").unlink()
    found = evaluate(out, truth, labels=VESSELS, allow_missing=True)
    assert [case.case for case in found.cases] == ["a"]
    assert found.warnings == ("1 of 2 truths have no prediction and were not scored: b",)


def test_two_folders_without_one_common_name_are_refused_even_then(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    (out / "a.png").rename(out / "a_prediction.png")
    with pytest.raises(PairingError, match=r"looked for a, found a_prediction"):
        evaluate(out, truth, allow_missing=True)


def test_predictions_without_a_truth_are_named(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF, b=HALF)
    (truth / "b.png").unlink()
    write(out / "overlays" / "a.png", draw("1234"))  # segkit predict writes it
    assert evaluate(out, truth, labels=VESSELS).warnings == ("1 of 2 predictions have no truth and were not scored: b",)


def test_two_predictions_of_one_truth_are_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    write(out / "a.tif", draw("####"))
    with pytest.raises(PairingError, match=r"2 predictions, a\.png, a\.tif"):
        evaluate(out, truth)


def test_one_prediction_for_two_truths_is_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    write(truth / "a.tif", draw("####"))
    with pytest.raises(PairingError, match=r"a\.png: is by its name the prediction of two truths"):
        evaluate(out, truth)


def test_a_folder_without_masks_is_refused(tmp_path: Path) -> None:
    out, _ = folders(tmp_path, a=HALF)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PairingError, match="no truth to score against"):
        evaluate(out, tmp_path / "empty")


def test_files_of_two_sizes_are_refused_by_both_names(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=("##..", "##..."))
    with pytest.raises(ShapeError, match=r"out/a\.png is 1x4, its truth .*masks/a\.png is 1x5"):
        evaluate(out, truth)


def test_pictures_say_the_spacing_that_masks_cannot(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=("#..#", "#..."))
    (tmp_path / "images").mkdir()
    nib.save(nib.Nifti1Image(draw("1234").T, np.diag([0.5, 1.0, 1.0, 1.0])), tmp_path / "images" / "a.nii.gz")  # columns are 0.5 mm apart
    found = evaluate(out, truth, labels=VESSELS, images=tmp_path / "images")
    assert (found.unit, found.means["assd"]) == ("mm", 0.5)


def test_a_truth_without_its_picture_is_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    write(tmp_path / "images" / "b.png", draw("1234"))
    with pytest.raises(PairingError, match="has 0 pictures a for the truth"):
        evaluate(out, truth, images=tmp_path / "images")


def test_a_folder_of_pictures_beside_a_manifest_is_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    manifest = tmp_path / "set.csv"
    manifest.write_text("image,mask\nmasks/a.png,masks/a.png\n")
    with pytest.raises(SettingsError, match="a folder of pictures goes with a folder of masks"):
        evaluate(out, manifest, images=truth)


def test_folders_that_are_not_there_are_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    with pytest.raises(VanishedError, match="expected a folder of masks or a manifest"):
        evaluate(out, tmp_path / "nowhere")
    with pytest.raises(VanishedError, match="nowhere: no such file or folder"):
        evaluate(tmp_path / "nowhere", truth)
    with pytest.raises(SettingsError, match="is a file; name the folder"):
        evaluate(out / "a.png", truth)


# What the values mean.


def test_labels_are_those_that_predict_left_beside_its_masks(tmp_path: Path) -> None:
    write(tmp_path / "out" / "a.png", draw("7700"))
    write(tmp_path / "masks" / "a.png", draw("0770"))
    (tmp_path / "out" / "run.json").write_text(json.dumps({"labels": {"background": 0, "nerve": 7}, "ignore": None, "mask_threshold": None}))
    found = evaluate(tmp_path / "out", tmp_path / "masks")
    assert {name: summary.means["dice"] for name, summary in found.classes.items()} == {"nerve": 0.5}
    assert found.warnings == ()


def test_a_run_json_of_something_else_is_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    (out / "run.json").write_text("{")
    with pytest.raises(SettingsError, match=r"run\.json: is not the run\.json of segkit predict"):
        evaluate(out, truth)
    (out / "run.json").write_text("[]")
    with pytest.raises(SettingsError, match="remove it and give --labels"):
        evaluate(out, truth)
    (out / "run.json").write_text('{"settings": {"read": {"sheets": "all"}}}')
    with pytest.raises(SettingsError, match=r"settings\.read are not those"):
        evaluate(out, truth)


def test_values_0_and_255_or_0_to_k_need_no_labels_and_that_is_said(tmp_path: Path) -> None:
    write(tmp_path / "out" / "a.png", draw("0122"))
    write(tmp_path / "masks" / "a.png", draw("0112"))
    found = evaluate(tmp_path / "out", tmp_path / "masks")
    assert found.names == ("1", "2")
    assert found.warnings == ("the labels are taken from the values in the truth: 0, 1, 2 (--labels names them)",)


def test_other_values_need_labels(tmp_path: Path) -> None:
    write(tmp_path / "out" / "a.png", draw("..##", value=38))
    write(tmp_path / "masks" / "a.png", draw("..##", value=38))
    with pytest.raises(SettingsError, match="1 truth masks hold the values 0, 38: say what they mean, as in --labels"):
        evaluate(tmp_path / "out", tmp_path / "masks")


def test_a_prediction_with_a_value_that_no_label_names_is_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    write(out / "a.png", draw("0110"))
    with pytest.raises(MaskValuesError, match=r"out/a\.png: holds 1 value that no label names: 1 \(2 px\)"):
        evaluate(out, truth, labels=VESSELS)


def test_masks_that_are_not_clean_need_a_threshold(tmp_path: Path) -> None:
    write(tmp_path / "out" / "a.png", draw("##.."))
    truth = np.array([[3, 250, 201, 90]], np.uint8)
    write(tmp_path / "masks" / "a.png", truth)
    assert evaluate(tmp_path / "out", tmp_path / "masks", labels=VESSELS, mask_threshold=127).means["dice"] == 0.5


def test_ignored_pixels_are_not_scored(tmp_path: Path) -> None:
    write(tmp_path / "out" / "a.png", draw("1110"))
    write(tmp_path / "masks" / "a.png", draw("11##"))
    labels = Labels(("background", "nerve"), (0, 1), ignore=255)
    found = evaluate(tmp_path / "out", tmp_path / "masks", labels=labels)
    assert found.means["dice"] == 1
    assert found.cases[0].classes["nerve"].prediction_px == 2


# Volumes and spacing.


def test_a_volume_is_scored_as_one_case_in_its_own_millimetres(tmp_path: Path) -> None:
    truth = np.zeros((5, 7, 4), np.uint8)
    truth[1, 1, 1] = 1
    prediction = np.roll(truth, 2, axis=2)  # two slices of 3 mm further
    volume(tmp_path / "masks" / "v.nii.gz", truth, (1.0, 0.5, 3.0))
    volume(tmp_path / "out" / "v.nii.gz", prediction, (1.0, 0.5, 3.0))
    found = evaluate(tmp_path / "out", tmp_path / "masks")
    assert found.unit == "mm"
    assert found.means["hd95"] == pytest.approx(6.0)
    assert sorted(found.cases[0].spacing_mm or ()) == [0.5, 1.0, 3.0]


def test_a_volume_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    truth = (np.random.default_rng(0).random((5, 7, 4)) > 0.5).astype(np.uint8)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    turned = np.diag([-1.0, 1.0, 2.0, 1.0])
    turned[0, 3] = 4.0  # voxel 0 of the turned file is voxel 4 of the other
    for folder, values, grid in (("masks", truth, affine), ("out", truth[::-1], turned)):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(np.ascontiguousarray(values), grid), tmp_path / folder / "v.nii.gz")
    with pytest.raises(ShapeError, match="lies on another grid"):
        evaluate(tmp_path / "out", tmp_path / "masks")


def test_a_spacing_is_for_files_that_hold_none(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=("#..#", "#..."))
    found = evaluate(out, truth, labels=VESSELS, spacing_mm=(1.0, 0.5))
    assert (found.unit, found.means["assd"]) == ("mm", 0.5)
    volume(tmp_path / "v" / "a.nii.gz", np.eye(4, dtype=np.uint8)[None], (1.0, 1.0, 1.0))
    assert "1 of 1 cases hold a spacing of their own" in evaluate(tmp_path / "v", tmp_path / "v", spacing_mm=(9.0, 9.0, 9.0)).warnings[-1]


def test_a_spacing_of_another_number_of_axes_is_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    with pytest.raises(SettingsError, match="expected 2 numbers above 0"):
        evaluate(out, truth, spacing_mm=(1.0, 1.0, 1.0))


# The command line.


def test_the_command_prints_a_table_and_writes_both_files(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF, b=("####", "####"))
    done = run(out, truth, "--labels", "vessel=255")
    assert done.exit_code == 0, done.output
    assert "vessel" in done.stdout and "0.7500" in done.stdout and "hd95 px" in done.stdout and "2 cases." in done.stdout
    assert str(out / "evaluation.csv") in done.stderr
    rows = list(csv.DictReader((out / "evaluation.csv").open()))
    assert [(row["case"], row["class"], float(row["dice"]), row["unit"]) for row in rows] == [("a", "vessel", 0.5, "px"), ("b", "vessel", 1.0, "px")]
    assert json.loads((out / "evaluation.json").read_text())["mean"]["dice"] == 0.75


def test_a_second_run_scores_the_same(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    assert run(out, truth).stdout == run(out, truth).stdout


def test_with_json_stdout_holds_json_alone(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=("....", "##.."))
    done = run(out, truth, "--json", "--no-save")
    assert json.loads(done.stdout)["classes"]["255"]["missed"] == 1
    assert "every prediction of 255 is empty" in done.stderr
    assert not (out / "evaluation.csv").exists()


def test_the_files_can_go_elsewhere(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    assert run(out, truth, "-q", "--out", tmp_path / "scores").stdout == ""
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == ["evaluation.csv", "evaluation.json"]
    assert not (out / "evaluation.csv").exists()


def test_the_object_of_interest_may_be_the_0(tmp_path: Path) -> None:
    write(tmp_path / "out" / "a.png", 255 - draw(HALF[0]))
    write(tmp_path / "masks" / "a.png", 255 - draw(HALF[1]))
    done = run(tmp_path / "out", tmp_path / "masks", "--json", "--labels", "background=255,membrane=0")
    assert json.loads(done.stdout)["classes"]["membrane"]["dice"] == 0.5


def test_labels_may_be_colours(tmp_path: Path) -> None:
    red = np.zeros((2, 1, 4, 3), np.uint8)
    red[0, 0, :2, 0] = red[1, 0, 1:3, 0] = 255
    write(tmp_path / "out" / "a.png", red[0])
    write(tmp_path / "masks" / "a.png", red[1])
    done = run(tmp_path / "out", tmp_path / "masks", "--json", "--labels", "nerve=#ff0000")
    assert json.loads(done.stdout)["classes"]["nerve"]["dice"] == 0.5


@pytest.mark.parametrize("labels", ["vessel", "vessel=", "=1", "vessel=red", "vessel=-1", "vessel=1,vessel=2", ""])
def test_labels_that_make_no_sense_are_refused(tmp_path: Path, labels: str) -> None:
    out, truth = folders(tmp_path, a=HALF)
    error = run(out, truth, "--labels", labels).exception
    assert isinstance(error, SettingsError) and "is no NAME=VALUE" in str(error)


def test_a_label_on_the_value_of_the_background_is_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    error = run(out, truth, "--labels", "membrane=0").exception
    assert isinstance(error, SettingsError) and "add background=VALUE" in str(error)


def test_a_spacing_that_is_no_number_is_refused(tmp_path: Path) -> None:
    out, truth = folders(tmp_path, a=HALF)
    error = run(out, truth, "--spacing", "0.5x0.5").exception
    assert isinstance(error, SettingsError) and "as in 0.5,0.5" in str(error)


def test_save_returns_what_it_wrote(tmp_path: Path) -> None:
    evaluation = evaluate_pairs([("a", *masks(*HALF))], metrics=("dice",))
    table, whole = save(evaluation, tmp_path)
    assert table.read_text() == "case,class,dice,unit,prediction_px,truth_px\na,vessel,0.5,px,2,2\n"
    assert json.loads(whole.read_text()) == evaluation.to_json()
