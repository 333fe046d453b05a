"""The trial before the training: sound masks pass, noise and masks of other pictures do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from toys import toy_run, write_discs

from segkit.dataset import find_cases
from segkit.errors import TrainingError
from segkit.finetune import smoke
from segkit.finetune.machine import Machine
from segkit.finetune.smoke import Smoke, Trial, choose_pictures, try_to_learn

CPU = Machine(torch.device("cpu"), "fp32", 2**30)


@pytest.fixture(autouse=True)
def _steps_count_not_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "SECONDS", 600.0)


def tried(manifest: Path, **train: Any) -> Smoke:
    run = toy_run(manifest, **{"patch": [48, 48], **train})
    return try_to_learn(run, find_cases(run.data, 0)[0], CPU)


def test_discs_are_learnt_by_heart(discs: Path) -> None:
    found = tried(discs, learning_rate=1e-2)
    assert found.fault is None
    assert found.trial.dice["disc"] > 0.8
    assert 0.05 < found.trial.guess["disc"] < 0.5


def test_noise_in_place_of_masks_is_not_learnt_and_told_in_plain_words(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path, size=(96, 112))
    rng = np.random.default_rng(0)
    for path in (tmp_path / "masks").iterdir():
        Pillow.fromarray(np.where(rng.random((96, 112)) < 0.2, 255, 0).astype(np.uint8)).save(path)
    fault = tried(manifest, patch=[96, 96]).fault
    assert fault is not None
    assert "were not learnt by heart: disc with a Dice of" in fault
    assert "segkit check DATASET --sheet" in fault


def trial(dice: float, steps: int = 30) -> Trial:
    return Trial({"a": dice}, {"a": 0.3}, 1.0, steps, 1.0)


@pytest.mark.parametrize(
    ("found", "belonging", "words"),
    [
        (trial(0.9), 9.0, None),
        (trial(0.9), None, None),
        (trial(0.32), 9.0, "a with a Dice of 0.32"),
        (trial(0.0, steps=8), None, None),                               # too slow a machine to say anything
        (trial(0.9), 0.7, "the masks do not follow what is on the pictures (0.7 standard errors"),
    ],
)
def test_what_speaks_against_training(found: Trial, belonging: float | None, words: str | None) -> None:
    fault = Smoke(found, ("p.png",), belonging).fault
    assert (fault is None) if words is None else (fault is not None and words in fault)


def test_what_is_not_certain_is_a_doubt() -> None:
    assert Smoke(trial(0.9), ("p.png",), 9.0).doubt is None
    doubt = Smoke(trial(0.9), ("p.png",), 3.0).doubt
    assert doubt is not None
    assert "it is not certain that the masks follow" in doubt


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (trial(0.95, steps=12), "2 pictures learnt by heart in 1 s: Dice a 0.95"),
        (trial(0.01, steps=12), "too slow to tell in 1 s (12 steps) whether 2 pictures can be learnt by heart: Dice a 0.01"),
        (trial(0.6), "2 pictures tried for 1 s (30 steps), and learnt in part: Dice a 0.60"),
    ],
)
def test_learnt_by_heart_is_said_only_where_it_was(found: Trial, words: str) -> None:
    assert Smoke(found, ("p.png", "q.png")).told == words
    assert Smoke(replace(found, untried=("b",)), ("p.png", "q.png")).told == f"{words}; not tried, as no patch held it: b"


def test_of_many_classes_the_ends_are_told() -> None:
    many = replace(trial(0.5), dice={f"class {number}": number / 10 for number in range(2, 9)})
    assert Smoke(many, ("p.png",)).told == "1 picture tried for 1 s (30 steps), and learnt in part: Dice 0.20 to 0.80 of 7 classes"


def test_pictures_are_chosen_that_show_every_class() -> None:
    held = np.zeros((20, 3), bool)
    held[:, 0] = True
    held[7, 1] = held[13, 2] = True
    chosen = choose_pictures(held, seed=0)
    assert len(chosen) == 4
    assert {7, 13} <= set(chosen)


def test_without_any_object_there_is_nothing_to_learn() -> None:
    with pytest.raises(TrainingError, match="no mask to train on holds any class"):
        choose_pictures(np.zeros((5, 2), bool), seed=0)
