"""What is told of a run."""

from __future__ import annotations

import builtins
import csv
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from segkit.errors import MissingExtraError
from segkit.train.record import Outcome, Row, Track, ending, write_log


def row(step: int, **dice: float) -> Row:
    return Row(step, step / 60, 1e-3, 0.5, dice)


def test_the_mean_is_over_the_classes_that_were_there() -> None:
    assert row(1, nerve=0.5, vessel=1.0).mean_dice == 0.75
    assert row(1, nerve=0.5, vessel=math.nan).mean_dice == 0.5
    assert math.isnan(row(1, nerve=math.nan).mean_dice)


def test_the_log_has_a_line_and_the_chart_a_point_for_each_validation(tmp_path: Path) -> None:
    write_log(tmp_path, [row(30, nerve=0.25, vessel=math.nan), row(60, nerve=0.5, vessel=0.75)])
    lines = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [(line["step"], line["mean_dice"], line["dice_vessel"]) for line in lines] == [("30", "0.25000", "nan"), ("60", "0.62500", "0.75000")]
    assert list(lines[0]) == ["step", "minutes", "learning_rate", "loss", "mean_dice", "dice_nerve", "dice_vessel"]
    with Pillow.open(tmp_path / "curves.png") as chart:
        assert chart.size == (640, 720)


def test_the_end_is_told_with_the_mean_of_each_validation() -> None:
    told = ending(Outcome("interrupted", 0.5, 60, 1.0, 15), [row(60, nerve=0.5)])
    assert told["outcome"] == {"reason": "interrupted", "best": 0.5, "steps": 60, "minutes": 1.0, "signal": 15}
    assert told["validations"][0]["mean_dice"] == 0.5


def test_tensorboard_gets_event_files_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    track = Track(tmp_path, wanted=True)
    track.row(row(30, nerve=0.25))
    track.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("dice/nerve")] == [(30, 0.25)]
    assert set(events.Tags()["scalars"]) == {"loss", "learning_rate", "dice/nerve"}


def test_without_tensorboard_it_is_told_which_extra_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ModuleNotFoundError("No module named 'tensorboard'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install tensorboard \(the extra \[track\]\), or leave it out"):
        Track(tmp_path, wanted=True)


def test_nobody_who_did_not_ask_for_it_needs_tensorboard(tmp_path: Path) -> None:
    track = Track(tmp_path, wanted=False)
    track.row(row(30, nerve=0.25))
    track.close()
    assert list(tmp_path.iterdir()) == []
