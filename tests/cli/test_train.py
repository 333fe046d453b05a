"""`segkit train`, as it is typed."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from toys import toy_settings, write_discs

from segkit.checkpoint import load_model
from segkit.cli import main


def config(folder: Path, manifest: Path, **train: Any) -> Path:
    tree = toy_settings(manifest, **train)
    (folder / "discs.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder / "discs.yaml"


def test_a_config_and_a_manifest_become_a_model(tmp_path: Path, discs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = config(tmp_path, Path("elsewhere.csv"))
    assert main(["train", str(given), "--data", str(discs), "-o", str(tmp_path / "run"), "--set", "train.steps=3", "--set", "train.validations=1"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "4 pairs to train on, 2 to validate on" in told.err
    assert re.search(r"finished after 3 steps, .* best validation Dice [\d.]+; model: .*model\.safetensors", told.err)
    assert load_model(tmp_path / "run").run.train.steps == 3


def test_json_is_alone_on_stdout_and_quiet_is_quiet(tmp_path: Path, discs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = config(tmp_path, discs, steps=2, validations=1)
    assert main(["train", str(given), "-o", str(tmp_path / "run"), "--json", "-q"]) == 0
    told = capsys.readouterr()
    outcome = json.loads(told.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert (outcome["reason"], outcome["steps"], outcome["model"]) == ("finished", 2, str(tmp_path / "run" / "model.safetensors"))
    assert "step" not in told.err


def test_without_a_score_the_json_stays_strict(tmp_path: Path, discs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import segkit.train
    from segkit.train import Outcome

    monkeypatch.setattr(segkit.train, "train", lambda *given, **more: Outcome("finished", -float("inf"), 3, 0.1))
    for extra in (["--json"], []):
        assert main(["train", str(config(tmp_path, discs)), "-o", str(tmp_path / "run"), *extra]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["best_dice"] is None
    assert "best validation Dice -; model" in told.err


def test_what_it_begins_with_is_told_and_quiet_or_not_stands_in_the_record(
    tmp_path: Path, discs: Path, disc_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", str(config(tmp_path, discs, steps=1, validations=1)), "--set", f"train.pretrained={disc_run}", "-o"]
    assert main([*given, str(tmp_path / "loud")]) == 0
    assert main([*given, str(tmp_path / "quiet"), "-q"]) == 0
    loud, quiet = (json.loads((tmp_path / name / "run.json").read_text())["weights"] for name in ("loud", "quiet"))
    assert loud == quiet
    assert re.match(rf"{re.escape(str(disc_run))}: (\d+) of the encoder's \1 tensors loaded$", loud[0])
    assert all(line in capsys.readouterr().err.splitlines() for line in loud[:1])


def test_an_existing_run_is_refused_and_a_missing_one_not_resumed(tmp_path: Path, discs: Path, disc_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = str(config(tmp_path, discs))
    assert main(["train", given, "-o", str(disc_run)]) == 2
    assert main(["train", given, "-o", str(tmp_path / "run"), "--resume"]) == 2
    assert main(["train", given, "-o", given]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "holds a run already; continue it with --resume" in first
    assert "holds nothing to resume" in second
    assert "is a file" in third


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.lerning_rate=1", "segkit: --set train.lerning_rate=1: train.lerning_rate is not a setting: did you mean train.learning_rate?"),
        ("train.learning_rate=10", "--set train.learning_rate=10: train.learning_rate can't be 10: Input should be less than or equal to 1"),
        ("augment.right_angles=0.5", "augment.right_angles is 0.5, but train.patch is 32x48"),
        ("train.device=abacus", "device 'abacus' is not a device"),
        ("train={patch: [16, 16], batch_size: 1}", "no training step can be made of 1 patch of 16x16: "),
        ("train.steps", "expected a.b=value"),
    ],
)
def test_a_wrong_setting_is_exit_code_2_and_one_line(tmp_path: Path, discs: Path, capsys: pytest.CaptureFixture[str], change: str, message: str) -> None:
    given = config(tmp_path, discs, patch=[32, 48])
    assert main(["train", str(given), "-o", str(tmp_path / "run"), "--set", change]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run" / "run.json").exists()


def test_data_that_can_not_be_used_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_discs(tmp_path)
    (tmp_path / "images" / "00.png").unlink()
    assert main(["train", str(config(tmp_path, manifest)), "-o", str(tmp_path / "run"), "-q"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("segkit: ")
    assert "00.png" in line


def test_weights_that_would_execute_code_are_refused(tmp_path: Path, discs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Path("a path is no tensor")}, tmp_path / "w.pth")
    assert main(["train", str(config(tmp_path, discs)), "-o", str(tmp_path / "run"), "-q", "--set", f"train.start_from={tmp_path / 'w.pth'}"]) == 1
    assert "needs code to be executed to be read, so it was not" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_and_it_says_how_to_go_on(tmp_path: Path, discs: Path, number: int, code: int) -> None:
    given = config(tmp_path, discs, steps=100_000, validations=100_000)
    command = ["train", str(given), "-o", str(tmp_path / "my run")]
    process = subprocess.Popen([sys.executable, "-m", "segkit", *command], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "validation Dice" in line:                              # it is under way
            break
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait() == code
    advice = re.search(r"stopped at step (\d+); go on with: segkit (.*)$", rest, re.MULTILINE)
    assert advice is not None
    assert shlex.split(advice.group(2)) == [*command, "--resume"]
    assert "Traceback" not in rest
    assert torch.load(tmp_path / "my run" / "state.pt", weights_only=True)["numbers"]["step"] == int(advice.group(1))
