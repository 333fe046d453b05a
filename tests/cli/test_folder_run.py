"""`segkit predict` over folders, as it is typed: go on, start anew, divide, put together, stop."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import pytest
from PIL import Image as Pillow
from toys import disc

from segkit.cli import main
from segkit.io import atomic


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six, of which one is empty."""
    for number in range(6):
        path = tmp_path / "in" / f"ward{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(disc(number, (33, 47))[0]).save(path)
    (tmp_path / "in" / "ward0" / "2.png").write_bytes(b"")
    return tmp_path / "in"


class Typed:
    def __init__(self, model: Path, pictures: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.given = ["predict", str(pictures), "-r", "-m", str(model), "-o", str(out), "--precision", "fp32"]
        self._capsys = capsys
        self.told: list[str] = []

    def __call__(self, *options: str) -> int:
        return self.say(*self.given, *options)

    def say(self, *words: str) -> int:
        code = main(words)
        self.told = self._capsys.readouterr().err.splitlines()
        return code


@pytest.fixture
def segkit(disc_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(disc_run, pictures, tmp_path / "out", capsys)


def rows(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return sorted(Path(row.get("file") or row["path"]).name for row in csv.DictReader(file))


def test_a_run_goes_on_where_it_was(segkit: Typed, pictures: Path, tmp_path: Path) -> None:
    assert segkit() == 3
    assert segkit.told[-1].startswith("6 files: 5 ok, 1 failed -> ")
    Pillow.fromarray(disc(2)[0]).save(pictures / "ward0" / "2.png")
    assert segkit("--resume") == 0
    assert segkit.told[-1].startswith("6 files: 1 ok, 5 were done already (cpu, fp32, torch); table: ")
    assert segkit("--resume") == 0
    assert segkit.told[-1].startswith("6 files: 0 ok, 6 were done already")
    assert rows(tmp_path / "out" / "results.csv") == [f"{number}.png" for number in range(6)]
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (told["state"], told["files"], told["done"], told["failed"], told["skipped"]) == ("finished", 6, 0, 0, 6)


def test_masks_that_come_to_lie_beside_the_pictures_change_no_run(segkit: Typed, pictures: Path, tmp_path: Path) -> None:
    (pictures / "ward0" / "2.png").unlink()
    parts = [("--num-parts", "2", "--part-id", str(number)) for number in range(2)]
    assert segkit(*parts[0]) == 0
    for picture in sorted(pictures.rglob("*.png")):
        picture.with_name(f"{picture.stem}_mask.png").write_bytes(picture.read_bytes())
    assert segkit(*parts[1]) == 0
    assert segkit.told[0].startswith("5 files are masks by their names (0_mask.png …): left out")
    assert segkit(*parts[0], "--resume") == 0
    assert ": 0 ok, " in segkit.told[-1]
    assert segkit.say("merge", str(tmp_path / "out")) == 0
    assert rows(tmp_path / "out" / "results.csv") == ["0.png", "1.png", "3.png", "4.png", "5.png"]
    assert segkit("--resume") == 0
    assert segkit.told[-1].startswith("5 files: 0 ok, 5 were done already")


def test_resume_with_other_settings_is_refused_and_overwrite_starts_anew(segkit: Typed) -> None:
    segkit()
    assert segkit("--resume", "--tile", "16") == 2
    assert "holds masks of another model or of other settings" in segkit.told[-1]
    assert segkit("--overwrite", "--tile", "16") == 3
    assert segkit("--resume", "--overwrite") == 2
    assert "give one of the two" in segkit.told[-1]


def test_the_first_bad_file_ends_the_run_where_that_is_asked_for(segkit: Typed, tmp_path: Path) -> None:
    assert segkit("--on-error", "stop") == 1
    assert rows(tmp_path / "out" / "failures.csv") == ["2.png"]
    assert "0.png" in rows(tmp_path / "out" / "results.csv")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_parts_are_put_together(segkit: Typed, tmp_path: Path, workers: str) -> None:
    out = tmp_path / "out"
    assert segkit.say("merge", str(out)) == 2
    assert "run segkit predict with --num-parts first" in segkit.told[-1]
    codes = {segkit("--num-parts", "2", "--part-id", number, "--workers", workers) for number in ("0", "1")}
    assert codes == {0, 3}
    assert segkit.told[0] == "part 1 of 2 of 6 files"
    assert segkit.told[-1].endswith(f"when all parts are done: segkit merge {out}")
    assert segkit.say("merge", str(out)) == 3
    assert segkit.told[-1] == f"2 parts, complete: 5 ok, 1 failed -> {out / 'failures.csv'}; table: {out / 'results.csv'}"
    assert rows(out / "results.csv") == ["0.png", "1.png", "3.png", "4.png", "5.png"]
    assert json.loads((out / "run.json").read_text())["labels"] == {"background": 0, "disc": 255}


def test_a_full_disk_says_how_to_go_on(segkit: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = atomic._commit

    def full(temporary: Path, target: Path) -> None:
        if target.name == "3.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        commit(temporary, target)

    monkeypatch.setattr(atomic, "_commit", full)
    assert segkit() == 1
    assert segkit.told[-2].startswith("stopped; what is finished is kept, when there is room again go on with: segkit predict ")
    assert segkit.told[-2].endswith(" --resume")
    assert "3.png: not written: the disk is full" in segkit.told[-1]
    monkeypatch.setattr(atomic, "_commit", commit)
    assert segkit("--resume") == 3
    assert len(rows(tmp_path / "out" / "results.csv")) == 5


@pytest.mark.parametrize("patience", ["inf", "nan", "1e12"])
def test_patience_has_an_end(segkit: Typed, tmp_path: Path, patience: str) -> None:
    assert segkit("--patience", patience) == 2
    assert "a number of seconds up to 2,592,000 is expected, which is a month" in segkit.told[-1]
    assert not (tmp_path / "out").exists()


def test_many_failures_are_told_in_the_table(segkit: Typed, pictures: Path, tmp_path: Path) -> None:
    for number in range(30):
        (pictures / f"bad{number:02d}.png").write_bytes(b"")
    assert segkit() == 3
    assert sum("[E_EMPTY]" in line for line in segkit.told) == 20
    assert "segkit: … and 11 more" in segkit.told
    assert len(rows(tmp_path / "out" / "failures.csv")) == 31
