from __future__ import annotations

import csv
import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from segkit.errors import MaskValuesError, WriteError
from segkit.io import atomic
from segkit.io.atomic import atomic_path, reason, write_bytes, write_csv, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def fail_at(monkeypatch: pytest.MonkeyPatch, call: int, code: int = errno.ENOSPC) -> None:
    """Let the n-th commit find the disk full."""
    commits = []

    def commit(temporary: Path, target: Path) -> None:
        commits.append(target)
        if len(commits) == call:
            raise OSError(code, os.strerror(code))
        original(temporary, target)

    original = atomic._commit
    monkeypatch.setattr(atomic, "_commit", commit)


def test_the_file_appears_with_its_name_when_the_block_ends(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("all of it")
        assert names(tmp_path) == [temporary.name]
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "all of it"


@pytest.mark.parametrize(("name", "ending"), [("a.nii.gz", ".tmp.nii.gz"), ("a.png", ".tmp.png"), ("patient.0043.tif", ".tmp.tif"), ("plain", ".tmp")])
def test_the_temporary_name_is_hidden_and_keeps_the_ending(tmp_path, name, ending):
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(f".segkit-{os.getpid()}-")
        assert temporary.name.endswith(ending)
        temporary.touch()


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    write_bytes(tmp_path / ("ü" * 125 + ".json"), b"x")
    assert len(os.fsencode(names(tmp_path)[0])) == 255


def test_missing_folders_are_made(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "c.bin", b"123")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"123"


def test_what_was_there_is_replaced(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_an_error_in_the_block_leaves_the_old_file_and_no_temporary_one(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError):
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            1 / 0  # noqa: B018
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_our_own_errors_keep_their_class(tmp_path):
    with pytest.raises(MaskValuesError, match="seven"):
        with atomic_path(tmp_path / "a.png"):
            raise MaskValuesError("seven")


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path):
    with pytest.raises(WriteError, match=r"a\.png: not written: the disk is full; free some space"):
        with atomic_path(tmp_path / "a.png") as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_the_second_commit_fails_and_the_first_file_is_whole(tmp_path, monkeypatch):
    fail_at(monkeypatch, 2)
    write_text(tmp_path / "a.txt", "a")
    with pytest.raises(WriteError, match="b.txt: not written: the disk is full"):
        write_text(tmp_path / "b.txt", "b")
    write_text(tmp_path / "c.txt", "c")
    assert names(tmp_path) == ["a.txt", "c.txt"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "choose a folder that you may write to"),
        (errno.ENOENT, "its folder is gone or can't be made; choose another folder$"),
        (errno.EIO, "error; choose another folder$"),
    ],
)
def test_other_faults_are_named(tmp_path, monkeypatch, code, words):
    fail_at(monkeypatch, 1, code)
    with pytest.raises(WriteError, match=rf"(?i)a\.txt: not written: .*{words}"):
        write_text(tmp_path / "a.txt", "a")


def test_the_reason_for_one_of_our_own_errors_is_the_one_behind_it(tmp_path, monkeypatch):
    fail_at(monkeypatch, 1, errno.EACCES)
    with pytest.raises(WriteError) as caught:
        write_text(tmp_path / "a.txt", "a")
    assert reason(caught.value) == "permission denied; choose a folder that you may write to"


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(WriteError, match="a folder of that name is in the way"):
        write_text(tmp_path / "a.txt", "a")
    assert names(tmp_path) == ["a.txt"]


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(WriteError, match="a part of its path is a file"):
        write_text(tmp_path / "out" / "a.txt", "a")


@pytest.mark.skipif(os.name != "posix", reason="umask is of POSIX")
def test_permissions_are_those_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a.bin", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_json_is_strict_and_ascii(tmp_path):
    write_json(tmp_path / "a.json", {"dice": float("nan"), "best": np.float32(0.5), "sizes": (np.int64(3), float("inf")), "name": "é", "path": Path("a/b")})
    text = (tmp_path / "a.json").read_text(encoding="ascii")
    assert json.loads(text) == {"dice": None, "best": 0.5, "sizes": [3, None], "name": "é", "path": "a/b"}
    assert "NaN" not in text and "Infinity" not in text


def test_json_takes_names_that_are_not_utf8(tmp_path):
    write_json(tmp_path / "a.json", [os.fsdecode(b"\xff.png")])
    assert os.fsencode(json.loads((tmp_path / "a.json").read_text())[0]) == b"\xff.png"


def test_csv_quotes_what_needs_it_and_leaves_none_empty(tmp_path):
    write_csv(tmp_path / "a.csv", ["path", "dice"], [["a,b.png", 0.5], ["two\nlines.png", None]])
    assert (tmp_path / "a.csv").read_bytes() == b'path,dice\n"a,b.png",0.5\n"two\nlines.png",\n'


def test_csv_is_read_as_it_was_written_whatever_ends_a_line(tmp_path):
    rows = [["a\rb.png", "1"], ["c\r\nd.png", ""], ["e.png", "2"]]
    write_csv(tmp_path / "a.csv", ["path", "dice"], rows)
    with open(tmp_path / "a.csv", newline="") as file:
        assert list(csv.reader(file)) == [["path", "dice"], *rows]


def test_csv_keeps_the_bytes_of_odd_names(tmp_path):
    write_csv(tmp_path / "a.csv", ["path"], [[os.fsdecode(b"\xff.png")]])
    assert (tmp_path / "a.csv").read_bytes() == b"path\n\xff.png\n"
