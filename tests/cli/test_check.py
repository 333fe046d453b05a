"""`segkit check` as it is typed: exit codes, what is printed where, the copy, the page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from segkit.cli import main


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    """Six noisy pictures with boxes; masks/3.png is drawn in 0 and 1."""
    for seed in range(6):
        drawn = np.zeros((33, 47), np.uint8)
        drawn[5:15, 8 + seed : 20] = 1 if seed == 3 else 255
        for folder, pixels in (("images", np.random.default_rng(seed).integers(0, 200, (33, 47)).astype(np.uint8)), ("masks", drawn)):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(pixels).save(tmp_path / "set" / folder / f"{seed}.png")
    return tmp_path / "set"


def check(*arguments: object) -> int:
    return main(["check", *map(str, arguments), "--workers", "0"])


def test_a_fault_is_exit_code_1_and_is_told_on_stdout(discs, capsys):
    assert check(discs) == 1
    told = capsys.readouterr()
    assert told.err == ""
    assert f"{discs}: a folder of pictures and a folder of masks" in told.out
    assert "6 pairs; 6 groups" in told.out
    assert "error: mixed-values\n  1 of 6 masks are drawn in 0 and 1" in told.out
    assert "files: masks/3.png" in told.out
    assert "the names are guessed; to name them: --labels background=0,foreground=255" in told.out
    assert told.out.splitlines()[-1] == "1 error, 0 warnings, 0 notes: not fit for training as it is; --fix OUT writes a copy that is"


def test_a_set_that_is_fit_is_exit_code_0(discs, capsys):
    for folder in ("images", "masks"):
        (discs / folder / "3.png").unlink()
    assert check(discs) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 errors, 0 warnings, 0 notes: ready to train on"


def test_what_a_copy_does_not_mend_is_named_instead_of_promised(discs, capsys):
    for seed in range(6):
        Pillow.fromarray(np.zeros((33, 47), np.uint8)).save(discs / f"masks/{seed}.png")
    assert check(discs) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "1 error, 0 warnings, 0 notes: not fit for training as it is; first mend no-foreground"
    assert "  masks: 0 in every pixel of all, and nothing else" in lines
    assert "255" not in "".join(line for line in lines if "intensity" not in line)


def test_one_is_one(tmp_path, capsys):
    for folder, pixels in (("images", np.arange(64, dtype=np.uint8)), ("masks", 255 * (np.arange(64) == 27).astype(np.uint8))):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Pillow.fromarray(pixels.reshape(8, 8)).save(tmp_path / "set" / folder / "a.png")
    assert check(tmp_path / "set", "--fix", tmp_path / "copy") == 0
    told = capsys.readouterr()
    assert "  1 pair; 1 group; splits: 1 without a split" in told.out
    assert "; 1 piece, median 1 px" in told.out
    assert ": 1 pair, 0 left out" in told.err


def test_json_is_one_line_with_all_names(discs, capsys):
    assert check(discs, "--json") == 1
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert [(finding["code"], finding["files"]) for finding in found["findings"]] == [("mixed-values", ["masks/3.png"])]
    assert found["measurements"]["classes"][1]["name"] == "foreground"
    assert "fixed" not in found


def test_fix_and_sheet_write_what_they_say(discs, tmp_path, capsys):
    assert check(discs, "--fix", tmp_path / "copy", "--sheet", tmp_path / "page.png") == 0
    told = capsys.readouterr().err
    assert "6 pairs, 0 left out" in told
    assert f"outlines of 6 pictures: {tmp_path / 'page.png'}" in told
    assert (tmp_path / "page.png").exists()
    assert check(tmp_path / "copy") == 0


def test_of_a_large_set_it_is_said_how_many_pictures_the_page_shows(discs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("segkit.check.sheet.PICTURES", 4)
    check(discs, "--sheet", tmp_path / "page.png")
    assert capsys.readouterr().err == f"outlines of 4 of 6 pictures: {tmp_path / 'page.png'}\n"


def test_pairs_that_are_left_out_are_exit_code_3_and_are_named(discs, tmp_path, capsys):
    (discs / "images/2.png").write_bytes(b"")
    assert check(discs, "--fix", tmp_path / "copy", "--json") == 3
    fixed = json.loads(capsys.readouterr().out)["fixed"]
    assert (fixed["written"], list(fixed["left_out"])) == (5, ["images/2.png"])
    assert check(discs, "--fix", tmp_path / "again") == 3
    assert "left out: images/2.png: " in capsys.readouterr().err


def test_labels_and_a_threshold_are_heeded(discs, capsys):
    assert check(discs, "--labels", "background=0,cell=255", "--mask-threshold", "0.5") == 0
    assert "0 background, 255 cell, told apart at 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mask-threshold", "5"], "needs two labels"),
        (["--labels", "a"], "--labels a: 'a' is no NAME=VALUE"),
        (["--sheet", "page.jpg"], "--sheet page.jpg: the page is a PNG; name it page.png"),
        (["--fix", "OWN"], "is there already, and not empty"),
    ],
)
def test_what_can_not_be_done_is_exit_code_2(discs, capsys, arguments, words):
    assert check(discs, *(str(discs) if part == "OWN" else part for part in arguments)) == 2
    assert words in capsys.readouterr().err


def test_nothing_to_check_is_one_line(tmp_path, capsys):
    assert check(tmp_path) == 1
    assert capsys.readouterr().err == (
        f"segkit: {tmp_path}: holds no pictures; segkit takes images/ with masks/, masks with a suffix (a_mask.png), nnU-Net, Decathlon, "
        "or a CSV with the columns image and mask\n"
    )


def test_processes_are_used_and_torch_is_not_loaded(discs):
    run = subprocess.run([sys.executable, "-X", "importtime", "-m", "segkit", "check", str(discs)], capture_output=True, text=True, timeout=120)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in run.stderr.splitlines()}
    assert run.returncode == 1
    assert "segkit" in loaded
    assert loaded & {"torch", "monai", "albumentations"} == set()
