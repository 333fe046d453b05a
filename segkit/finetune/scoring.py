"""At the end: the score, on cases that the model never saw wherever there are any, with their masks and how sure the model was of each.

::

    test/
    ├── masks/…              of each case that was scored, as `segkit predict` writes it
    ├── confidence.csv       case, expected Dice, Dice; what to look at first comes first
    ├── calibration.json     how far what was said of pixels lies from what was right, before and after
    ├── evaluation.csv       all metrics of each case and class
    └── evaluation.json      written last
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.checkpoint import load_model
from segkit.confidence import calibration_error, rank_correlation, reliability, softmax
from segkit.config import PredictSettings, RunConfig, load_run
from segkit.dataset import Case, cases_of_split, find_cases, load_pair
from segkit.errors import counted
from segkit.evaluation import evaluate_pairs, save
from segkit.finetune.splits import TEST
from segkit.folder.outputs import Extras, write_all
from segkit.image import Image
from segkit.io import Source, write_csv, write_json
from segkit.io.files import stem
from segkit.io.manifest import read_manifest
from segkit.labels import Mask
from segkit.metrics import Evaluation
from segkit.predict import Segmentation, load, segment
from segkit.tune import known_sample, mean_dice, samples_each

FOLDER = "test"

Pixels = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.bool_]]
"""(N,) confidence without and with the temperature, and whether the chosen class was right."""


@dataclass(frozen=True)
class Share:
    """Cases, and the model that scores them: of a cross-validation the fold that was not trained on them."""

    model: Path
    run: RunConfig
    cases: Sequence[Case]


@dataclass
class Confidence:
    """How sure the model was, gathered case by case.

    expected, dice : case -> what was expected (None where the model has not learnt it), and what came out
    pixels : a sample of each case
    """

    temperature: float
    expected: dict[str, float | None] = field(default_factory=dict)
    dice: dict[str, float] = field(default_factory=dict)
    pixels: list[Pixels] = field(default_factory=list)

    def add(self, name: str, found: Segmentation, truth: Mask, sample: int) -> None:
        """`found` has kept its probabilities, which have the temperature in them."""
        logits, classes = known_sample(found, truth, sample)
        right = logits.argmax(axis=1) == classes
        before, after = (softmax(logits * power).max(axis=1) for power in (self.temperature, 1.0))
        self.pixels.append((before, after, right))
        self.expected[name] = found.expected_dice

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Header and a row for each case: the lowest expected Dice first, those without one last."""
        order = sorted(self.dice, key=lambda name: (math.inf if (value := self.expected[name]) is None else value, name))
        return ["case", "expected_dice", "dice"], [[name, self.expected[name], self.dice[name]] for name in order]

    @property
    def correlation(self) -> float | None:
        """Spearman's r of expected and true Dice; None where that says nothing."""
        pairs = [(value, self.dice[name]) for name, value in self.expected.items() if value is not None]
        return rank_correlation(*np.array(pairs).T) if pairs else None

    def to_json(self) -> dict[str, Any]:
        before, after, right = (np.concatenate(parts) for parts in zip(*self.pixels, strict=True))
        return {
            "cases": len(self.dice),
            "temperature": self.temperature,
            "ece_before": calibration_error(before, right),
            "ece_after": calibration_error(after, right),
            "before": reliability(before, right),
            "after": reliability(after, right),
            "correlation": self.correlation,
        }


Keep = Callable[[str, Image, Segmentation], object]


def score_shares(shares: Sequence[Share], predict: PredictSettings, keep: Keep) -> tuple[Evaluation, Confidence]:
    """One pass over each case under these settings; `keep` is given each result while it is in memory."""
    names = names_of([case for share in shares for case in share.cases])
    confidence, sample = Confidence(predict.temperature), samples_each(len(names))

    def pairs(share: Share) -> Iterator[tuple[str, Mask, Mask]]:
        model = load(share.model, device=share.run.train.device, precision=share.run.train.precision)
        for case in share.cases:
            image, truth = load_pair(case, share.run.data, model.labels)
            found = segment(image, model, predict, keep_probabilities=True)
            confidence.add(names[case], found, truth, sample)
            keep(names[case], image, found)
            yield names[case], found.mask, truth

    evaluation = evaluate_pairs(chain.from_iterable(map(pairs, shares)))
    confidence.dice = {case.case: mean_dice({name: one.scores["dice"] for name, one in case.classes.items()}) for case in evaluation.cases}
    return evaluation, confidence


def names_of(cases: Sequence[Case]) -> dict[Case, str]:
    """The name of each one's picture, with as many of its folders as it takes to tell all apart."""
    paths = [PurePath(case.image).parts for case in cases]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(map(str.casefold, names))) == len(cases):
            break
    return dict(zip(cases, names, strict=True))


def masks_below(folder: Path, names: Iterable[str]) -> Keep:
    """A writer of each mask as `segkit predict` does, by the name without its ending, or with it where a.png and a.jpg are two."""
    plain = Counter(_without_ending(name).casefold() for name in names)

    def keep(name: str, image: Image, found: Segmentation) -> None:
        place = _without_ending(name)
        output = PurePath(place if plain[place.casefold()] == 1 else name)
        write_all(Source((Path(image.name),), output), image, found, None, Extras(), folder)

    return keep


def _without_ending(name: str) -> str:
    path = PurePath(name)
    return path.with_name(stem(path)).as_posix()


def score(folder: Path, configs: Sequence[Path]) -> tuple[Evaluation, str]:
    """On the cases that were only kept to be scored; without any, on those that validated. (scores, the cases in words)"""
    scored_on, shares = _shares(folder, configs)
    names = names_of([case for share in shares for case in share.cases])
    settings = load_model(folder).run.predict
    evaluation, confidence = score_shares(shares, settings, masks_below(folder / FOLDER / "masks", names.values()))
    write_csv(folder / FOLDER / "confidence.csv", *confidence.table())
    write_json(folder / FOLDER / "calibration.json", {"scored_on": scored_on, **confidence.to_json()})
    save(evaluation, folder / FOLDER)
    return evaluation, _in_words(scored_on, len(evaluation.cases), len(configs))


def is_scored(folder: Path, configs: Sequence[Path]) -> bool:
    """Whether there is a score, and none of its pictures and masks was written since: a mask that was corrected is scored anew."""
    path = folder / FOLDER / "evaluation.json"
    if not path.exists():
        return False
    files = [file for share in _shares(folder, configs)[1] for case in share.cases for file in (case.image, case.mask)]
    return all(file.stat().st_mtime_ns <= path.stat().st_mtime_ns for file in files if file.exists())


def read_score(folder: Path, configs: Sequence[Path]) -> tuple[Evaluation, str]:
    """What `score` gave, from its files."""
    evaluation = Evaluation.from_json(json.loads((folder / FOLDER / "evaluation.json").read_text("utf-8")))
    scored_on = json.loads((folder / FOLDER / "calibration.json").read_text("utf-8"))["scored_on"]
    return evaluation, _in_words(scored_on, len(evaluation.cases), len(configs))


def _shares(folder: Path, configs: Sequence[Path]) -> tuple[str, list[Share]]:
    """"test" or "validation", and who scores what."""
    runs = [load_run(config) for config in configs]
    manifest = runs[0].data.manifest
    if manifest is not None and any(row.split == TEST for row in read_manifest(manifest)):
        return "test", [Share(folder / "model.safetensors", runs[0], cases_of_split(runs[0].data, TEST))]
    places = (config.parent / "model.safetensors" for config in configs)
    return "validation", [Share(place, run, find_cases(run.data, run.train.seed)[1]) for place, run in zip(places, runs, strict=True)]


def _in_words(scored_on: str, cases: int, runs: int) -> str:
    if scored_on == "test":
        return f"{counted(cases, 'case')} that {'was' if cases == 1 else 'were'} never trained on"
    whose = "each by the fold that was not trained on it" if runs > 1 else "the only ones there were to score"
    return f"{counted(cases, 'validation case')}, {whose}; they also chose the best weights, so that the score is somewhat too good"
