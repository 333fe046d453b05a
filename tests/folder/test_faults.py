"""A folder of all that can be wrong: each bad file has its row, each odd one its mask, and nothing stops the run. Rows: see docs/faults.md."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from faults import REFUSED, TAKEN, dicom, grey, plan, png, png_by_hand
from pydicom.uid import DeflatedExplicitVRLittleEndian

from segkit.checkpoint import Card, save_model
from segkit.cli import main, progress
from segkit.config import RunConfig
from segkit.folder import Ledger, Result, ledger
from segkit.folder.ledger import Entry
from segkit.io import ReadSettings, Source, atomic, files, read_image, read_mask
from segkit.io import dicom as dicom_room
from segkit.io.apart import Reader
from segkit.models import build_model

PATIENT = "Doe"
"""Part of the name that stands in the DICOM files."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that takes grey pictures of any range; its masks hold 0, 7 and 200."""
    torch.manual_seed(0)
    tree = {"model": {"feature_scale": 16}, "preprocess": {"channels": 1, "intensity": {"kind": "zscore"}}}
    run = RunConfig.model_validate({**tree, "data": {"labels": {"background": 0, "nerve": 7, "vessel": 200}}})
    path = tmp_path_factory.mktemp("model") / "any.safetensors"
    save_model(path, run, build_model(run.model).state_dict(), Card())
    return path


@dataclass(frozen=True)
class Done:
    """What `segkit predict` left behind."""

    code: int
    folder: Path
    out: Path
    stderr: str

    def rows(self, table: str) -> dict[str, dict[str, str]]:
        """Place below the folder -> its row of a table."""
        path, column = self.out / f"{table}.csv", "file" if table == "results" else "path"
        if not path.exists():
            return {}
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return {os.path.relpath(row[column], self.folder): row for row in csv.DictReader(file)}

    @property
    def results(self) -> dict[str, dict[str, str]]:
        return self.rows("results")

    @property
    def codes(self) -> dict[str, str]:
        return {name: row["code"] for name, row in self.rows("failures").items()}

    def masks(self) -> set[str]:
        return {path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file() and path.parts[len(self.out.parts)] != ".segkit"} - {
            "results.csv",
            "failures.csv",
            "run.json",
        }


Predict = Callable[..., Done]


@pytest.fixture
def predict(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Predict:
    """Segments tmp_path/in, reading in this process unless it is told otherwise."""
    (tmp_path / "in").mkdir()

    def run(*options: object, source: Path = tmp_path / "in", workers: int = 0) -> Done:
        given = ["predict", source, "-m", model, "-o", tmp_path / "out", "--device", "cpu", "--precision", "fp32", "--workers", workers, *options]
        code = main([str(word) for word in given])
        stderr = capfd.readouterr().err
        assert "Traceback" not in stderr
        return Done(code, tmp_path / "in", tmp_path / "out", stderr)

    return run


@pytest.fixture(scope="module")
def everything(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """One run over all the files of faults.py at once, read by a process of its own."""
    folder = tmp_path_factory.mktemp("everything")
    (folder / "in").mkdir()
    for name, odd in {**REFUSED, **TAKEN}.items():
        (folder / "in" / name).write_bytes(odd.make())
    (folder / "in" / "README").write_text("words without an ending")
    (folder / "in" / "plan.dcm").write_bytes(plan())
    with pytest.MonkeyPatch.context() as patch, (folder / "stderr").open("w+", encoding="utf-8") as told:
        patch.setattr(sys, "stderr", told)
        given = ["predict", folder / "in", "-m", model, "-o", folder / "out", "--device", "cpu", "--precision", "fp32", "--convert-channels", "--workers", 1]
        code = main([str(word) for word in given])
    yield Done(code, folder / "in", folder / "out", (folder / "stderr").read_text(encoding="utf-8"))


# One folder of everything.


def test_the_run_goes_through_and_says_that_some_failed(everything: Done) -> None:
    assert everything.code == 3
    assert set(everything.codes) == set(REFUSED)
    assert set(everything.results) == set(TAKEN)
    assert f"{len(REFUSED) + len(TAKEN)} files: {len(TAKEN)} ok, {len(REFUSED)} failed" in everything.stderr
    assert "2 files that are no pictures were left out" in everything.stderr          # row 6: words without an ending; row 54: a plan


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_used_has_a_row_that_says_why_and_no_mask(everything: Done, name: str) -> None:
    row, odd = everything.rows("failures")[name], REFUSED[name]
    assert row["code"] == odd.code
    assert row["message"].startswith(f"{everything.folder / name}: ")
    assert odd.words in row["message"]
    assert "\n" not in row["message"]
    assert name.partition(".")[0] not in {mask.partition(".")[0] for mask in everything.masks()}


@pytest.mark.parametrize("name", TAKEN, ids=lambda name: ascii(name)[1:21])
def test_what_is_odd_has_a_mask_of_its_own_size(everything: Done, name: str) -> None:
    row, odd = everything.results[name], TAKEN[name]
    image = read_image(everything.folder / name)
    assert row["shape"] == odd.shape
    assert odd.words in row["notes"]
    values = read_mask(Path(row["output"]), image)                                   # ShapeError where it doesn't lie as its picture does
    assert set(np.unique(values)) <= {0, 7, 200}
    assert int(row["nerve_px"]) == (values == 7).sum()
    assert 0.333 <= float(row["mean_confidence"]) <= 1                                  # of three classes


def test_names_come_through_whatever_they_hold(everything: Done) -> None:
    """Row 17. And a JPEG that is named .png has a PNG for a mask: row 5."""
    for name in (name for name, odd in TAKEN.items() if odd.row in (5, 17)):
        assert (everything.out / name).read_bytes().startswith(b"\x89PNG")


def test_the_mask_of_a_file_of_64_bits_has_8_and_that_of_a_trailing_1_keeps_it(everything: Done) -> None:
    """Rows 52 and 53."""
    masks = {name: nib.load(everything.out / name) for name in ("long.nii", "one.nii")}
    assert masks["long.nii"].get_data_dtype() == np.uint8
    assert masks["one.nii"].shape == (5, 7, 3, 1)


def test_no_word_of_a_patient_is_told_or_written(everything: Done) -> None:
    """Row 62."""
    assert PATIENT.encode() in (everything.folder / "white.dcm").read_bytes()
    assert PATIENT not in everything.stderr
    for path in everything.out.rglob("*"):
        assert not path.is_file() or PATIENT.encode() not in path.read_bytes()


def test_where_the_spacing_is_unknown_there_are_no_areas_in_millimetres(everything: Done) -> None:
    """Row 51."""
    assert everything.results["nowhere.nii"]["nerve_mm3"] == ""
    assert everything.results["long.nii"]["nerve_mm3"] != ""


# What lies in folders.


@pytest.mark.skipif(sys.platform == "win32", reason="made of what other systems have")
def test_rings_of_links_pipes_sockets_and_hidden_files_are_passed_over(predict: Predict, tmp_path: Path) -> None:
    """Rows 15, 16, 19, 22."""
    folder = tmp_path / "in"
    (folder / "a.png").write_bytes(png())
    (tmp_path / "outside.png").write_bytes(png())
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "below").mkdir()
    (folder / "below" / "round").symlink_to(folder, target_is_directory=True)
    (folder / "itself.png").symlink_to(folder / "itself.png")
    os.mkfifo(folder / "pipe.png")
    for name in ("._a.png", ".hidden.png", "Thumbs.db", ".DS_Store", "@eaDir/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(png())
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as bound:
        os.chdir(folder)                                                             # the names of sockets may not be long
        bound.bind("socket.png")
        os.chdir(here)
        done = predict("--recursive")
    assert done.code == 3
    assert (set(done.results), done.codes) == ({"a.png", "link.png"}, {"itself.png": "E_READ"})
    assert "3 files that are no pictures were left out" in done.stderr               # the ring, the pipe, the socket


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text_comes_through(predict: Predict, tmp_path: Path) -> None:
    """Row 17."""
    name = os.fsdecode(b"\xff\xfe.png")
    (tmp_path / "in" / name).write_bytes(png())
    (tmp_path / "in" / os.fsdecode(b"bad\xff.png")).write_bytes(b"")
    done = predict("--json")
    assert (set(done.results), set(done.codes)) == ({name}, {os.fsdecode(b"bad\xff.png")})
    assert (done.out / name).exists()
    assert predict("--resume").code == 3


def test_a_file_that_is_gone_when_it_is_its_turn_has_a_row(predict: Predict, tmp_path: Path) -> None:
    """Row 20; as in a manifest, which is not looked up before."""
    (tmp_path / "in" / "a.png").write_bytes(png())
    (tmp_path / "in" / "list.csv").write_text("image\ngone.png\na.png\n")
    done = predict(source=tmp_path / "in" / "list.csv")
    assert (done.code, set(done.results), done.codes) == (3, {"a.png"}, {"gone.png": "E_VANISHED"})


def test_what_may_not_be_read_has_a_row_also_where_it_is_a_folder(predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 21. The refusal is put on, because the rights of files do not bind root."""
    for name in ("a.png", "locked.png", "closed/b.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(png())
    sniff = sys.modules["segkit.io.sniff"]                                          # its name stands for its function
    opened, listed = sniff._open_regular, os.scandir

    def open_regular(path: str, flags: int) -> int:
        if "locked" in str(path):
            raise PermissionError(13, "Permission denied")
        return opened(path, flags)

    def scandir(path: Any) -> Any:
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(sniff, "_open_regular", open_regular)
    monkeypatch.setattr(files.os, "scandir", scandir)
    done = predict("--recursive")
    assert (done.code, set(done.results), done.codes) == (3, {"a.png"}, {"locked.png": "E_PERM", "closed": "E_PERM"})


def test_a_long_ledger_is_not_read_again_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 23: what a file costs does not grow with the number of those before it."""
    parsed, calls = ledger._parsed, [0]

    def count(text: bytes) -> Any:
        calls[0] += 1
        return parsed(text)

    monkeypatch.setattr(ledger, "_parsed", count)
    with Ledger(tmp_path / "ledger.jsonl") as long:
        for number in range(1000):
            long.add(Entry(f"{number}.png", Result(f"{number}.png", "", (5, 7), {}, None, 0.5, 0.1, ()), None, ((1, 2),), {}))
        assert calls == [0]
        assert long.find("700.png") is not None
        assert calls == [1]


# Bounds.


def test_a_large_picture_is_let_in_by_a_word_and_goes_through_in_tiles(predict: Predict, tmp_path: Path) -> None:
    """Row 10, on a small scale; benchmarks/folder.py measures the memory of 20,000x20,000."""
    (tmp_path / "in" / "a.png").write_bytes(png_by_hand(300, 200, b"".join(b"\0" + bytes([row]) * 38 for row in range(200)), depth=1))
    assert predict("--max-pixels", 59_999).codes == {"a.png": "E_TOO_LARGE"}
    done = predict("--max-pixels", 60_000, "--tile", 64)
    assert done.results["a.png"]["shape"] == "200x300"


def test_a_deflate_bomb_costs_one_file(predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 61: 4 MB of zeros in a few kB, where 1 MB is allowed."""
    monkeypatch.setattr(dicom_room, "_LARGEST_INFLATED", 2**20)
    whole = dicom(syntax=DeflatedExplicitVRLittleEndian)
    bomb = dicom(np.zeros((1000, 2000), np.uint16), syntax=DeflatedExplicitVRLittleEndian, SeriesInstanceUID="1.3.9")
    assert len(bomb) < 10_000
    (tmp_path / "in" / "a.dcm").write_bytes(whole)
    (tmp_path / "in" / "bomb.dcm").write_bytes(bomb)
    done = predict()
    assert (done.code, set(done.results), done.codes) == (3, {"a.dcm"}, {"bomb.dcm": "E_TOO_LARGE"})


# What the machine does.


def test_a_full_disk_ends_the_run_with_exit_code_1_and_resume_completes_it(predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 70."""
    for name in "abc":
        (tmp_path / "in" / f"{name}.png").write_bytes(png())
    commit = atomic._commit

    def full(temporary: Path, target: Path) -> None:
        if target.name == "b.png":
            raise OSError(28, "No space left on device")
        commit(temporary, target)

    monkeypatch.setattr(atomic, "_commit", full)
    done = predict()
    assert done.code == 1
    assert "b.png: not written: the disk is full; free some space and run again" in done.stderr
    assert done.masks() <= {"a.png", "c.png"}
    monkeypatch.setattr(atomic, "_commit", commit)
    assert predict("--resume").code == 0
    assert done.masks() == {"a.png", "b.png", "c.png"}


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_asks_it_to_stop_is_told_how_to_go_on(predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int) -> None:
    """Row 72."""
    names = {f"{index:02d}.png" for index in range(40)}                              # far more than are at hand at a time
    for name in names:
        (tmp_path / "in" / name).write_bytes(png(grey((9, 7 + int(name[:2]) % 2 * 40))))    # neighbours of one size would share a batch

    def watch(entries: Iterable[Entry], what: str, quiet: bool, total: int) -> Iterator[Entry]:
        for entry in entries:
            os.kill(os.getpid(), number) if what == "segmenting" and entry.key == "00.png" else None
            yield entry

    monkeypatch.setattr(progress, "watch", watch)
    done = predict()
    assert done.code == code
    assert "stopped; what is finished is kept, go on with: segkit predict" in done.stderr
    finished = set(done.results)
    assert {"00.png"} <= finished == done.masks() < names
    assert json.loads((done.out / "run.json").read_text())["state"] == "interrupted"
    assert predict("--resume").code == 0
    assert done.masks() == names


def test_a_device_that_is_not_there_is_exit_code_2_and_writes_nothing(predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 75."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "in" / "a.png").write_bytes(png())
    done = predict("--device", "cuda")
    assert (done.code, done.out.exists()) == (2, False)
    assert predict("--device", "auto").code == 0


BROKEN = """
import os, sys, time
if "serve()" in "".join(sys.orig_argv):
    import segkit.io.read as decoding
    reading = decoding.read_image
    def broken(path, settings):
        if path.name == "crash.png":
            os.kill(os.getpid(), 11)
        if path.name == "hang.png":
            time.sleep(1000)
        return reading(path, settings)
    decoding.read_image = broken
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_a_decoder_that_crashes_or_hangs_costs_one_file(predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 76."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for name in ("a", "crash", "hang", "z"):
        (tmp_path / "in" / f"{name}.png").write_bytes(png())
    began = time.monotonic()
    with Reader() as reader:
        reader.read(Source((tmp_path / "in" / "a.png",), PurePath("a")), ReadSettings())
    patience = 1 + 3 * (time.monotonic() - began)                                    # the start of a process counts, and machines differ
    done = predict("--patience", patience, workers=1)
    assert (done.code, set(done.results)) == (3, {"a.png", "z.png"})
    failures = done.rows("failures")
    assert {name: row["code"] for name, row in failures.items()} == {"crash.png": "E_CRASH", "hang.png": "E_CRASH"}
    assert "ended the process (SIGSEGV), twice" in failures["crash.png"]["message"]
    assert f"could not be read within {patience:g} s" in failures["hang.png"]["message"]


def test_clocks_that_are_wrong_do_no_harm(predict: Predict, tmp_path: Path) -> None:
    """Row 77: pictures of the past and of the future are known again by their time, whatever it is, and not compared with now."""
    for name, when in (("past", 10), ("future", 4_000_000_000)):
        (tmp_path / "in" / f"{name}.png").write_bytes(png())
        os.utime(tmp_path / "in" / f"{name}.png", (when, when))
    assert predict().code == 0
    assert "2 were done already" in predict("--resume").stderr
