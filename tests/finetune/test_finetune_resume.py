"""Killed wherever it can be, and gone on with: the same model and the same score as if nothing had happened, and nothing done twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
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


class Gone(BaseException):
    """What nothing in a run can catch, in place of a death that the test would not survive."""


def vanish(*given: Any, **named: Any) -> None:
    raise Gone


def die(*given: Any, **named: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


End = Callable[..., None]


def at_step(step: int, end: End) -> Callable[..., float]:
    take_step = training.take_step
    return lambda state, *given: float(end() or 0) if state.step == step else take_step(state, *given)


def after(function: Callable[..., Any], end: End) -> Callable[..., None]:
    return lambda *given, **named: end(function(*given, **named))


PLACES: dict[str, Callable[[End], tuple[Any, str, Any]]] = {
    "looking": lambda end: (sys.modules[prepare.__module__], "survey", end),
    "trying": lambda end: (sys.modules[prepare.__module__], "try_to_learn", end),
    "a model but no state": lambda end: (training, "save_state", end),
    "in training": lambda end: (training, "take_step", at_step(3, end)),
    "trained": lambda end: (run, "choose", end),
    "choosing": lambda end: (choosing, "_store", after(choosing._store, end)),
    "joining": lambda end: (run, "join", end),
    "scoring": lambda end: (scoring, "save", end),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "choose_growth", lambda *given: 1.0)
    monkeypatch.setattr(smoke, "FEWEST_STEPS", 1000)


def work(request: Request, resume: bool, place: str) -> None:
    """In a process of its own, which is killed at a place."""
    torch.set_num_threads(1)
    rules.choose_growth = lambda *given: 1.0                                        # type: ignore[assignment]
    smoke.FEWEST_STEPS = 1000
    torch.set_num_threads(1)
    room, name, instead = PLACES[place](die)
    setattr(room, name, instead)
    finetune(request, resume=resume)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Request:
    dataset = write_discs(tmp_path_factory.mktemp("set") / "discs", count=16).parent
    return Request(dataset, Path(), Labels(("background", "disc"), (0, 255)), overrides=QUICK, device="cpu", precision="fp32")


def weights(folder: Path) -> dict[str, Any]:
    file = load_model(folder)
    return {**{key: value.tolist() for key, value in file.weights.items()}, "predict": file.run.predict.model_dump()}


def require_same_end(killed: Request, undisturbed: Request) -> None:
    assert weights(killed.folder) == weights(undisturbed.folder)
    one, two = (json.loads((request.folder / "test" / "evaluation.json").read_text()) for request in (undisturbed, killed))
    assert one == two


def test_a_run_that_ends_at_any_step_is_gone_on_with_and_nothing_is_done_twice(asked: Request, tmp_path: Path) -> None:
    undisturbed, broken = (replace(asked, folder=tmp_path / name, folds=2) for name in ("one", "two"))
    finetune(undisturbed)
    times: dict[Path, int] = {}
    *first, joining, scored = PLACES
    for number, place in enumerate([*first, "in training", joining, scored]):       # each step of the first fold, and one of the second
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Gone):
            patch.setattr(*PLACES[place](vanish))
            finetune(broken, resume=number > 0)
        for path in times:
            assert path.stat().st_mtime_ns == times[path], f"{path} was made again after {place}"
        done = (*broken.configs, *(folder / name for folder in broken.places for name in ("run.json", "tuning.csv")))
        times |= {path: path.stat().st_mtime_ns for path in done if path.exists() and is_final(path)}
    finetune(broken, resume=True)
    require_same_end(broken, undisturbed)
    with pytest.MonkeyPatch.context() as patch:
        for place in PLACES:
            patch.setattr(*PLACES[place](vanish))
        again = finetune(broken, resume=True)                                        # nothing is left to be done
    assert again.evaluation is not None
    assert again.evaluation.to_json() == json.loads((broken.folder / "test" / "evaluation.json").read_text())
    assert again.scored_on == "4 cases that were never trained on"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads add up in another order in another process."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_run_that_is_killed_ends_as_one_that_was_not(asked: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    undisturbed, killed = (replace(asked, folder=tmp_path / name) for name in ("one", "two"))
    finetune(undisturbed)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)   # or each process would import pytest anew
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["segkit.finetune", "monai.losses", "albumentations", "scipy.optimize"])     # once for all
    for number, place in enumerate(["a model but no state", "choosing", "scoring"]):
        process = context.Process(target=work, args=(killed, number > 0, place), daemon=True)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, place
    finetune(killed, resume=True)
    require_same_end(killed, undisturbed)


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
