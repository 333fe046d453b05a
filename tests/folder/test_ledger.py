"""What became of each file, line by line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from segkit.errors import SettingsError, WriteError
from segkit.folder.ledger import Entry, Failure, Ledger, Result, digest_of, require_same_run

RUN = {"fingerprint": "f", "classes": ["disc"], "files": 2, "listing": "l"}


def done(key: str, pixels: int = 5) -> Entry:
    result = Result(f"in/{key}", f"out/{key}", (33, 47), {"disc": pixels}, None, 0.75, 0.1, ("a note", "x | y"))
    return Entry(key, result, None, ((10, 20),), {key: (3, "digest")})


def failed(key: str) -> Entry:
    return Entry(key, failure=Failure(f"in/{key}", "E_EMPTY", f"in/{key}: has no bytes"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_what_was_said_comes_back(tmp_path: Path) -> None:
    strange = "b\udce4 \n ö.png"            # a name that is not UTF-8, with a line break
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.begin(RUN)
        for entry in (done("a.png"), failed(strange)):
            ledger.add(entry)
    with Ledger(tmp_path / "ledger.jsonl") as again:
        assert again.about == RUN
        assert list(again.entries()) == [done("a.png"), failed(strange)]
        assert again.find("a.png") == done("a.png")
        assert again.find(strange) == failed(strange)
        assert again.find("c.png") is None
        assert len(again) == 2


def test_the_last_line_of_a_file_counts_and_this_runs_can_be_told(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.begin(RUN)
        for entry in (failed("a.png"), done("b.png"), done("a.png", 7)):
            ledger.add(entry)
        ledger.begin({**RUN, "files": 1})
        ledger.add(done("b.png", 9))
        assert list(ledger.entries()) == [done("a.png", 7), done("b.png", 9)]
        assert list(ledger.of_this_run()) == [done("b.png", 9)]
        assert ledger.about["files"] == 1


DEEP = "[" * 100_000 + "\n"
ODD = [{"key": 5, "failure": {"path": "b", "code": "E", "message": ""}}]
ODD += [{**done("b.png").to_line(), "result": {**asdict(done("b.png").result), word: None}} for word in ("seconds", "confidence", "areas_px", "notes")]


ODD_LINES = [DEEP, *(json.dumps(line) + "\n" for line in ODD)]


@pytest.mark.parametrize("torn", [*ODD_LINES, '{"key": "b.png", "resu', '{"key": "b.png"}\n', "\x00\x00\x00\n", '[1, 2]\n{"key": 3}\n', "{}\n"])
def test_half_a_line_and_a_damaged_one_are_as_if_they_were_not_there(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.begin(RUN)
        ledger.add(done("a.png"))
    with path.open("a") as file:
        file.write(torn)
    with Ledger(path) as ledger:
        ledger.add(done("c.png"))
        assert list(ledger.entries()) == [done("a.png"), done("c.png")]
    for text in path.read_text().splitlines()[-1:]:
        assert json.loads(text)["key"] == "c.png"


def test_a_ledger_of_half_a_line_is_empty(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text('{"run": {"finger')
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        assert (len(ledger), ledger.about) == (0, {})
    assert (tmp_path / "ledger.jsonl").read_bytes() == b""


def test_the_tables_have_a_row_a_file(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.begin(RUN)
        for entry in (done("a.png"), failed("b.png")):
            ledger.add(entry)
        ledger.write_tables(tmp_path, ["disc"])
        (result,), (failure,) = rows(tmp_path / "results.csv"), rows(tmp_path / "failures.csv")
        assert (result["file"], result["shape"], result["disc_px"], result["disc_mm2"], result["notes"]) == ("in/a.png", "33x47", "5", "", "a note | x | y")
        assert failure == {"path": "in/b.png", "code": "E_EMPTY", "message": "in/b.png: has no bytes"}
        ledger.add(done("b.png"))
        ledger.write_tables(tmp_path, ["disc"])
        assert len(rows(tmp_path / "results.csv")) == 2
        assert not (tmp_path / "failures.csv").exists()


def test_a_digest_is_of_all_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    assert digest_of(tmp_path / "a")[0] == 3
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "b")
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "a")


def test_masks_of_two_models_do_not_share_a_folder(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        require_same_run(ledger, "f", tmp_path)
        ledger.begin(RUN)
        for entry in (done("a.png"), failed("b.png")):
            ledger.add(entry)
        require_same_run(ledger, "f", tmp_path)
        for keys in (None, lambda: {"b.png", "c.png"}):
            with pytest.raises(SettingsError, match="holds masks of another model or of other settings; .* --overwrite"):
                require_same_run(ledger, "g", tmp_path, keys)
        require_same_run(ledger, "g", tmp_path, lambda: {"a.png"})          # its only mask is made anew
        assert (len(ledger), ledger.about, list(ledger.entries())) == (0, {}, [])
    assert (tmp_path / "ledger.jsonl").read_bytes() == b""


def test_failures_alone_keep_no_other_model_out(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.begin(RUN)
        ledger.add(failed("b.png"))
        require_same_run(ledger, "g", tmp_path)
        assert len(ledger) == 0


def test_a_ledger_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(WriteError, match="a folder of that name is in the way"):
        Ledger(tmp_path / "ledger.jsonl")


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_a_ledger_that_may_not_grow_says_so_also_where_it_is_closed(tmp_path: Path) -> None:
    """A limit of 64 KiB a file, in a process of its own; what was said before is kept."""
    program = """
import resource, signal, sys
from pathlib import Path
from segkit.errors import WriteError
from segkit.folder.ledger import Entry, Failure, Ledger

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
try:
    with Ledger(Path(sys.argv[1])) as ledger:
        for number in range(1000):
            ledger.add(Entry(f"{number}.png", failure=Failure(f"{number}.png", "E_EMPTY", "has no bytes" * 10)))
except WriteError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", program, str(tmp_path / "ledger.jsonl")], check=True, capture_output=True, text=True)
    assert (told.stdout.count("ledger.jsonl: not written: "), told.stderr) == (1, "")
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        assert 100 < len(ledger) < 1000
        assert [entry.key for entry in ledger.entries()] == [f"{number}.png" for number in range(len(ledger))]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger._file.close()
        ledger._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
        ledger._size = lambda: 0  # type: ignore[method-assign]
        with pytest.raises(WriteError, match="the disk is full"):
            ledger.add(done("a.png"))
        ledger._file = open(tmp_path / "ledger.jsonl", "ab+", buffering=0)  # noqa: SIM115
