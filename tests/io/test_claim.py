"""One process at a time in a folder."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from segkit.errors import SettingsError
from segkit.io import claim
from segkit.io.claim import NAME, claimed

HOLD = "import sys; from pathlib import Path; from segkit.io.claim import claimed\nwith claimed(Path(sys.argv[1])): print('mine', flush=True); sys.stdin.read()"


def test_a_folder_belongs_to_one_and_nothing_stays_behind(tmp_path: Path) -> None:
    with claimed(tmp_path):
        assert (tmp_path / NAME).exists()
        with claimed(tmp_path, "another-part"):
            pass
        with pytest.raises(SettingsError, match=f"another run is at work here .process {os.getpid()} on {socket.gethostname()}, since "), claimed(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []
    with claimed(tmp_path):
        pass


def test_another_process_is_named_and_its_end_frees_the_folder_however_it_ends(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(SettingsError, match=f"process {other.pid} on"), claimed(tmp_path):
            pass
        other.kill()
        other.wait()
    assert (tmp_path / NAME).exists()
    with claimed(tmp_path):
        pass


def test_a_file_that_was_removed_while_it_was_being_locked_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, removed = claim._lock, []

    def late(file: int) -> None:
        if not removed:
            removed.append((tmp_path / NAME).unlink())
        lock(file)

    monkeypatch.setattr(claim, "_lock", late)
    with claimed(tmp_path):
        assert (tmp_path / NAME).exists()


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claim, "_lock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_the_file_itself_is_the_claim(tmp_path: Path) -> None:
    with claimed(tmp_path):
        with pytest.raises(SettingsError, match=f"process {os.getpid()} on .*if it is no more, remove .*{NAME}-claim"), claimed(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []
    with claimed(tmp_path):
        pass


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_dead_process_of_this_machine_holds_nothing_and_one_elsewhere_does(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    held = tmp_path / f"{NAME}-claim"
    held.write_text(f"process {ended.pid} on {socket.gethostname()}, since 2026-01-01 00:00:00")
    with claimed(tmp_path):
        pass
    held.write_text(f"process {ended.pid} on elsewhere, since 2026-01-01 00:00:00")
    with pytest.raises(SettingsError, match=f"process {ended.pid} on elsewhere"), claimed(tmp_path):
        pass


def test_a_folder_that_can_not_be_written_to_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(SettingsError, match="can't be written to: a folder of that name is in the way"), claimed(tmp_path):
        pass
