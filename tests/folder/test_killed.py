"""Killed at any moment and resumed, fifty times: nothing lost, nothing twice, nothing half."""

from __future__ import annotations

import csv
import json
import multiprocessing
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from toys import disc

from segkit.folder import Extras, Options, predict_files
from segkit.io import find_sources
from segkit.predict import load

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

KILLS = 50

Start = Callable[[Path], tuple[ForkServerProcess, Connection]]


def work(pictures: Path, model: Path, out: Path, told: Connection) -> None:
    """In a process of its own: says when it begins, and in the end how long it took."""
    torch.set_num_threads(1)
    loaded = load(model, device="cpu", precision="fp32")
    sources, run = find_sources(pictures).sources, loaded.run
    told.send(None)
    began = time.monotonic()
    predict_files(sources, loaded, out, predict=run.predict, read=run.data.read, extras=Extras(overlay=True), options=Options(resume=True, readers=0))
    told.send(time.monotonic() - began)


@pytest.fixture
def start(disc_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Begins to segment five pictures and an empty file into a folder."""
    (tmp_path / "in").mkdir()
    for number in range(5):
        Pillow.fromarray(disc(number, (33, 47) if number % 2 else (47, 33))[0]).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "empty.png").touch()
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)  # or each process would import pytest anew
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["segkit.folder", "segkit.predict"])          # and torch, once for all

    def begin(out: Path) -> tuple[ForkServerProcess, Connection]:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(tmp_path / "in", disc_run, out, theirs), daemon=True)
        process.start()
        theirs.close()
        ours.recv()
        return process, ours

    return begin


def pictures_of(out: Path) -> dict[str, bytes]:
    """Masks and overlays by their place, but for what has a temporary name."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.png") if not path.name.startswith(".")}


def rows_of(out: Path) -> list[list[str]]:
    """Of results.csv, in the order of the files, without the seconds and the folder."""
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        return sorted([*row[:1], Path(row[1]).name, *row[2:-2]] for row in csv.reader(file))


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(start: Start, tmp_path: Path) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    process, told = start(undisturbed)
    seconds = told.recv()
    process.join()
    expected, rows = pictures_of(undisturbed), rows_of(undisturbed)
    assert len(expected) == 2 * 5

    def require_whole() -> None:
        assert pictures_of(out) == expected
        assert rows_of(out) == rows
        assert json.loads((out / "run.json").read_text())["state"] == "finished"
        assert [line.split(",")[1] for line in (out / "failures.csv").read_text().splitlines()] == ["code", "E_EMPTY"]
        assert not list(out.rglob("*.tmp*"))

    rng, kills = random.Random(0), 0
    while kills < KILLS:
        process, _ = start(out)
        process.join(rng.uniform(0, 1.2 * seconds))
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            assert pictures_of(out).items() <= expected.items()       # whatever has its name is whole
        else:
            assert process.exitcode == 0
            require_whole()
            shutil.rmtree(out)
    process, told = start(out)
    told.recv()
    process.join()
    require_whole()
