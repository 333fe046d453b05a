"""The command itself: help without waiting, errors as one line, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

import segkit
from segkit import cli
from segkit.cli import VERBS, main, progress
from segkit.errors import SettingsError, WriteError


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "segkit", *arguments], capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload,no-any-return]


def test_help_lists_the_verbs_and_imports_no_torch() -> None:
    done = run("--help", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0
    assert all(verb in done.stdout and line.rstrip(".")[:30] in done.stdout for verb, line in VERBS.items())
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    assert imported & {"torch", "monai", "albumentations", "numpy", "scipy"} == set()


def test_python_m_segkit_is_segkit(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version").stdout == f"segkit, version {segkit.__version__}\n"
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"segkit, version {segkit.__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there_and_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert "Usage: segkit" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["segment"], ["predict"], ["predict", "--no-such-option"], ["--no-such-option"], ["train", "a", "b"]])
def test_what_can_not_be_understood_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Error: " in told.err


@pytest.mark.parametrize(("error", "code"), [(SettingsError("a: wrong"), 2), (WriteError("a: not\nwritten"), 1), (KeyboardInterrupt(), 130)])
def test_an_error_is_one_line_and_its_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int) -> None:
    @click.command()
    def verb() -> None:
        raise error

    monkeypatch.setattr(cli.Verbs, "get_command", lambda self, ctx, name: verb)
    assert main(["verb"]) == code
    assert capsys.readouterr().err.strip().splitlines() == ["segkit: interrupted" if code == 130 else f"segkit: {error}"]


def test_with_debug_the_place_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def verb() -> None:
        raise SettingsError("a: wrong")

    monkeypatch.setattr(cli.Verbs, "get_command", lambda self, ctx, name: verb)
    with pytest.raises(SettingsError, match="a: wrong"):
        main(["--debug", "verb"])


def test_a_fault_of_segkit_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def verb() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli.Verbs, "get_command", lambda self, ctx, name: verb)
    with pytest.raises(ZeroDivisionError):
        main(["verb"])


# Progress.


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (75, "1:15"), (3725, "1:02:05"), (-1, "0:00")])
def test_time_is_shown_as_on_a_clock(seconds: float, shown: str) -> None:
    assert progress.clock(seconds) == shown


def test_where_there_is_no_terminal_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY", -1.0)
    assert list(progress.watch("ab", "scoring")) == ["a", "b"]
    assert capsys.readouterr().err.splitlines() == ["scoring 0/2", "scoring 1/2"]
    assert list(progress.watch("ab", "scoring", quiet=True)) + list(progress.watch("a", "scoring")) == ["a", "b", "a"]
    assert capsys.readouterr().err == ""


def test_a_number_that_grows_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY", -1.0)
    for quiet in (False, True):
        with progress.counting("pictures found:", quiet) as tell:
            tell(0)
            tell(1000)
    assert capsys.readouterr().err.splitlines() == ["pictures found: 0", "pictures found: 1000"]


def test_on_a_terminal_a_number_grows_in_its_place(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with progress.counting("pictures found:") as tell:
        tell(1000)
    assert "pictures found: 1000" in capsys.readouterr().err


@pytest.mark.parametrize(("total", "shown"), [(4_000_000, "1.5 of 4.0 MB"), (0, "1.5 MB")])
def test_a_download_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], total: int, shown: str) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY", -1.0)
    with progress.TrainingProgress() as watcher:
        watcher.downloading("w.pth", 1_500_000, total)
    assert capsys.readouterr().err == f"downloading w.pth  {shown}\n"


def test_on_a_terminal_a_download_is_a_bar_that_ends_with_the_next_note(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with progress.TrainingProgress() as watcher:
        watcher.downloading("w.pth", 1_500_000, 4_000_000)
        watcher.downloading("w.pth", 4_000_000, 4_000_000)
        watcher.note("w.pth: all loaded")
        assert watcher._download is None
    assert "w.pth: all loaded" in capsys.readouterr().err


def test_a_run_that_never_began_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.TrainingProgress():
        pass
    assert capsys.readouterr().err == ""
