"""A finished run of segkit finetune on drawn discs, and copies of it that a test may spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from toys import write_discs

from segkit.cli import main
from segkit.config import load_run
from segkit.dataset import cases_of_split, load_pair
from segkit.evaluation import evaluate_pairs, save
from segkit.finetune import rules, smoke
from segkit.io import write_csv, write_json, write_mask
from segkit.labels import Mask

EVIL = "<svg onload=alert(1)>.png"
"""A case that is scored, as nobody calls a file."""

Copies = Callable[[], Path]


def _rename(folder: Path) -> None:
    """The last case gets the name."""
    for kind in ("images", "masks"):
        (folder / kind / "47.png").rename(folder / kind / EVIL)
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text("utf-8").replace("/47.png", f"/{EVIL}"), "utf-8")


@pytest.fixture(scope="session")
def finetuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps on 48 discs, of which 12 of six patients are scored: each as its truth moved down by 0, 1, 2, ... pixels."""
    data = write_discs(tmp_path_factory.mktemp("data") / "set", count=48).parent
    _rename(data)
    folder = tmp_path_factory.mktemp("tuned") / "run"
    tiny = ["--set", "model={feature_scale: 16, decoder_batchnorm: true}", "--precision", "fp32", "--device", "cpu"]
    short = ["--set", "train.steps=4", "--set", "train.minutes=null", "--set", "train.validations=2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "choose_growth", lambda *given: 1.0)      # else a larger network is timed
        patch.setattr(smoke, "STEPS", 3)
        patch.setattr(smoke, "FEWEST_STEPS", 1000)
        assert main(["finetune", str(data), "-o", str(folder), "--labels", "disc=255", *tiny, *short, "-q"]) == 0
    _score(folder)
    return folder


def _score(folder: Path) -> None:
    """Scores that can be told beforehand, and what finetune knows of its confidence."""
    data = load_run(folder / "config.yaml").data
    labels, pairs = data.make_labels(), []
    for number, case in enumerate(cases_of_split(data, "test")):
        image, truth = load_pair(case, data, labels)
        moved = Mask(np.roll(truth.indices, number, axis=0), labels)
        write_mask(moved, image, folder / "test" / "masks" / case.name)
        pairs.append((case.name, moved, truth))
    evaluation = evaluate_pairs(pairs)
    save(evaluation, folder / "test")
    dice = [case.classes["disc"].scores["dice"] for case in evaluation.cases]
    rows = [[case.case, one / 2, one] for case, one in zip(evaluation.cases, dice, strict=True)][::-1]     # in an order of their own
    write_csv(folder / "test" / "confidence.csv", ["case", "expected_dice", "dice"], rows)
    curve = [[0.55, 0.5, 0.25], [0.95, 0.9, 0.75]]
    told = {"scored_on": "test", "temperature": 1.5, "ece_before": 0.05, "ece_after": 0.01, "before": curve, "after": curve, "correlation": 1.0, "cases": 12}
    write_json(folder / "test" / "calibration.json", told)


@pytest.fixture
def copy(finetuned: Path) -> Copies:
    """Makes a copy beside the run: the manifest's paths are relative to it."""
    numbers = count()

    def make() -> Path:
        while (place := finetuned.with_name(f"copy{next(numbers)}")).exists():
            pass
        shutil.copytree(finetuned, place, ignore=shutil.ignore_patterns("state.pt", "model.safetensors", "report.html"))
        return place

    return make
