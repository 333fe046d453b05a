"""Killed wherever it can be, and gone on with: the same model and the same score as if nothing had happened, and nothing done twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import write_discs

from segkit.checkpoint import load_model
from segkit.errors import SettingsError
from segkit.finetune import Request, choosing, finetune, prepare, rules, run, scoring, smoke
from segkit.finetune.plan import keep, require_same, take_up
from segkit.labels import Labels
from segkit.train import run as training

QUICK = ("train.steps=4", "train.minutes=null", "train.validations=2", "model={feature_scale: 16, decoder_batchnorm: true}")


def die(*given: Any, **named: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_step(step: int) -> Callable[..., float]:
    take_step = training.take_step
    return lambda state, *given: float(die() or 0) if state.step == step else take_step(state, *given)


def die_after(function: Callable[..., Any]) -> Callable[..., None]:
    return lambda *given, **named: die(function(*given, **named))


PLACES: dict[str, Callable[[], tuple[Any, str, Any]]] = {
    "": lambda: (run, "LOCK", run.LOCK),                                             # nowhere
    "looking": lambda: (sys.modules[prepare.__module__], "survey", die),
    "trying": lambda: (sys.modules[prepare.__module__], "try_to_learn", die),
    "a model but no state": lambda: (training, "save_state", die),
    "in training": lambda: (training, "take_step", die_at_step(3)),
    "trained": lambda: (run, "choose", die),
    "choosing": lambda: (choosing, "_store", die_after(choosing._store)),
    "joining": lambda: (run, "join", die),
    "scoring": lambda: (scoring, "save", die),
}


def work(request: Request, resume: bool, place: str) -> None:
    """In a process of its own, which ends itself at a place."""
    torch.set_num_threads(1)
    room, name, instead = PLACES[place]()
    rules.choose_growth = lambda *given: 1.0                                        # type: ignore[assignment]
    smoke.FEWEST_STEPS = 1000
    setattr(room, name, instead)
    finetune(request, resume=resume)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int | None]:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)   # or each process would import pytest anew
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["segkit.finetune", "segkit.losses", "monai.losses", "albumentations", "scipy.optimize"])     # once for all

    def begin(request: Request, *, resume: bool = False, place: str = "") -> int | None:
        process = context.Process(target=work, args=(request, resume, place), daemon=True)
        process.start()
        process.join()
        return process.exitcode

    return begin


def weights(folder: Path) -> dict[str, Any]:
    file = load_model(folder)
    return {**{key: value.tolist() for key, value in file.weights.items()}, "predict": file.run.predict.model_dump()}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_run_that_is_killed_at_every_step_ends_as_one_that_was_not(start: Callable[..., int | None], tmp_path: Path) -> None:
    dataset = write_discs(tmp_path / "discs", count=16).parent
    labels = Labels(("background", "disc"), (0, 255))
    undisturbed, killed = (Request(dataset, tmp_path / name, labels, overrides=QUICK, device="cpu", precision="fp32", folds=2) for name in ("one", "two"))
    assert start(undisturbed) == 0
    times: dict[Path, int] = {}
    *first, joining, scoring = list(PLACES)[1:]
    for number, place in enumerate([*first, "in training", joining, scoring]):      # each step of the first fold, and one of the second
        assert start(killed, resume=number > 0, place=place) == -signal.SIGKILL, place
        for path in times:
            assert path.stat().st_mtime_ns == times[path], f"{path} was made again after {place}"
        done = (*killed.configs, *(folder / "run.json" for folder in killed.places), *(folder / "tuning.csv" for folder in killed.places))
        times |= {path: path.stat().st_mtime_ns for path in done if path.exists() and is_final(path)}
    assert start(killed, resume=True) == 0
    assert weights(killed.folder) == weights(undisturbed.folder)
    one, two = (json.loads((request.folder / "test" / "evaluation.json").read_text()) for request in (undisturbed, killed))
    assert one == two
    assert start(killed, resume=True, place="scoring") == 0                          # nothing is left that could be scored


def is_final(path: Path) -> bool:
    return path.name != "run.json" or "outcome" in json.loads(path.read_text())


def test_a_request_comes_back_from_its_file(tmp_path: Path) -> None:
    labels = Labels(("ground", "disc"), (0, 255), threshold=127.0)
    asked = Request(tmp_path / "set", tmp_path, labels, minutes=3, start="fundus-vessels", freeze=True, overrides=("a.b=c",), test_share=0.3, folds=5)
    keep(asked, None)
    assert take_up(tmp_path) == (asked, None)
    assert [path.name for path in asked.places] == ["fold0", "fold1", "fold2", "fold3", "fold4"]


def test_what_is_asked_for_anew_must_be_the_same(tmp_path: Path) -> None:
    begun = Request(tmp_path / "set", tmp_path, minutes=3, patience=2)
    require_same(Request(tmp_path / "set", tmp_path), begun, {"dataset"})
    expected = r"was begun with other settings, now minutes 5 instead of 3; patience none instead of 2; resume with the same ones"
    with pytest.raises(SettingsError, match=expected):
        require_same(Request(tmp_path / "set", tmp_path, minutes=5), begun, {"dataset", "minutes", "patience"})


@pytest.mark.parametrize(("content", "message"), [(None, r"holds nothing to resume \(no finetune\.json\)"), ("{}", "is not what segkit finetune wrote")])
def test_without_a_run_there_is_nothing_to_go_on_with(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "finetune.json").write_text(content, "utf-8")
    with pytest.raises(SettingsError, match=message):
        finetune(Request(tmp_path, tmp_path), resume=True)
