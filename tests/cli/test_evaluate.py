"""`segkit evaluate`: which metrics, at which tolerance, under which rule for empty masks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from segkit.cli import main


def write(path: Path, values: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(values).save(path)


def rows(*drawn: str) -> NDArray[np.uint8]:
    return np.array([[int(letter) if letter.isdigit() else 0 for letter in row] for row in drawn], np.uint8)


def folders(root: Path, **cases: tuple[str, str]) -> tuple[str, str]:
    """One row a mask; a digit is the value of the pixel."""
    for name, (prediction, truth) in cases.items():
        write(root / "out" / f"{name}.png", rows(prediction))
        write(root / "masks" / f"{name}.png", rows(truth))
    return str(root / "out"), str(root / "masks")


def result(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["evaluate", *arguments, "--json", "--no-save"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_only_the_metrics_that_are_named_are_computed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = folders(tmp_path, a=("11..", ".11."))
    assert result(capsys, *pair, "--metrics", "recall, dice,recall")["mean"] == {"recall": 0.5, "dice": 0.5}
    assert list(result(capsys, *pair)["mean"]) == ["dice", "iou", "precision", "recall", "hd95", "assd"]
    assert {"nsd", "cldice", "ap50", "ap"} < set(result(capsys, *pair, "--metrics", "all")["mean"])


def test_an_unknown_metric_is_a_wrong_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *folders(tmp_path, a=("11..", ".11.")), "--metrics", "dice,jacard"]) == 2
    assert "metrics: jacard; choose among dice, iou" in capsys.readouterr().err


def test_the_tolerance_is_in_pixels_or_in_mm_and_stands_in_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (*folders(tmp_path, a=("1....", "...1.")), "--labels", "vessel=1", "--metrics", "nsd", "--tolerance", "1.5")
    in_pixels = result(capsys, *options)  # three pixels apart
    in_mm = result(capsys, *options, "--spacing", "0.5,0.5")  # 1.5 mm
    assert (in_pixels["mean"]["nsd"], in_pixels["tolerance"], in_pixels["unit"]) == (0, 1.5, "px")
    assert (in_mm["mean"]["nsd"], in_mm["tolerance"], in_mm["unit"]) == (1, 1.5, "mm")
    assert main(["evaluate", *options, "--no-save"]) == 0
    assert "nsd 1.5 px" in capsys.readouterr().out


def test_a_tolerance_without_a_metric_that_has_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = folders(tmp_path, a=("11..", ".11."))
    assert main(["evaluate", *pair, "--tolerance", "1"]) == 2
    assert "none of dice, iou, precision, recall, hd95, assd has a tolerance; add one that has, as in --metrics dice,nsd" in capsys.readouterr().err
    assert main(["evaluate", *pair, "--metrics", "nsd", "--tolerance", "nan"]) == 2
    assert "tolerance nan: expected a distance of 0 or more" in capsys.readouterr().err
    assert "tolerance" not in result(capsys, *pair)


@pytest.mark.parametrize(
    ("rule", "dice", "assd", "left_out", "said"),
    [
        ("leave-out", (1 + 0) / 2, 0, 1, "Both masks empty: in no mean"),
        ("perfect", (1 + 1 + 0) / 3, (0 + 0 + 3) / 3, 0, "Both masks empty: perfect"),
        ("worst", (1 + 0 + 0) / 3, (0 + 3 + 3) / 3, 0, "Both masks empty, missed or spurious"),
    ],
)
def test_the_rule_for_empty_masks_decides_the_means_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str, dice: float, assd: float, left_out: int, said: str
) -> None:
    options = (*folders(tmp_path, a=("11..", "11.."), b=("....", "...."), c=("....", "11..")), "--empty", rule)  # the diagonal is 3 pixels
    found = result(capsys, *options)
    assert found["mean"]["dice"] == pytest.approx(dice)
    assert found["mean"]["assd"] == pytest.approx(assd)
    summary = found["classes"]["1"]
    assert (summary["both_empty"], summary["left_out"], summary["missed"], summary["spurious"]) == (1, left_out, 1, 0)
    assert found["empty_rule"] == rule and ("left out of its means" in found["empty_masks"]) == (rule == "leave-out")
    assert main(["evaluate", *options, "--no-save"]) == 0
    assert said in capsys.readouterr().out


def test_masks_can_number_their_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = folders(tmp_path, a=("1122..", "3344.."), b=("1111..", "2233.."))  # one whole where two halves are: one of them is found
    found = result(capsys, *pair, "--objects", "--metrics", "ap50,dice")
    assert found["mean"] == {"ap50": (1 + 1 / 2) / 2, "dice": 1}
    assert list(found["classes"]) == ["object"]
    assert found["cases"][0]["classes"]["object"]["truth_px"] == 4


def test_numbers_of_objects_beyond_a_byte_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "out" / "a.png", np.array([[256, 256, 512, 512]], np.uint16))
    write(tmp_path / "masks" / "a.png", np.array([[1, 1, 2, 2]], np.uint16))
    assert result(capsys, str(tmp_path / "out"), str(tmp_path / "masks"), "--objects", "--metrics", "ap")["mean"] == {"ap": 1}


def test_numbers_of_objects_have_no_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = folders(tmp_path, a=("1122..", "3344.."))
    for option in (("--labels", "cell=1"), ("--mask-threshold", "1")):
        assert main(["evaluate", *pair, "--objects", *option]) == 2
        assert "have neither labels nor a mask threshold" in capsys.readouterr().err


def test_a_table_of_many_metrics_is_wide_rather_than_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *folders(tmp_path, a=("11..", ".11.")), "--metrics", "all", "--no-save"]) == 0
    table = capsys.readouterr().out
    assert all(title in table for title in ("precision", "hd95 px", "nsd 2 px", "cldice", "both empty", "spurious"))
    assert table.count("0.5000") == 10  # dice, precision, recall, assd and cldice, of the class and of the mean


def test_every_metric_has_its_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, truth = folders(tmp_path, a=("11..", ".11."))
    assert main(["evaluate", out, truth, "--metrics", "ap50,nsd", "-q"]) == 0
    assert capsys.readouterr().out == ""
    row = next(csv.DictReader((tmp_path / "out" / "evaluation.csv").open()))
    assert (list(row)[2:4], row["ap50"], row["nsd"]) == (["ap50", "nsd"], "0.0", "1.0")
