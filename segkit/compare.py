"""The same training with several settings and seeds: what is a gate worth on these data?

The output folder::

    OUT/
    ├── <variant>/seed<k>/...     one run of `segkit train` each; finished ones are not trained again
    ├── compare.csv               a line for each variant
    ├── cases.csv                 Dice of each case and class under each variant and seed
    ├── compare.json              all of it, with the settings that were varied
    └── compare.png
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segkit.config import RunConfig, parse_yaml
from segkit.dataset import Case, cases_of_split, find_cases, load_pair
from segkit.errors import SettingsError
from segkit.evaluation import evaluate_pairs
from segkit.io import write_csv, write_json, write_png
from segkit.models import build_model
from segkit.models.counting import count_parameters
from segkit.plot import strips
from segkit.predict import load, segment
from segkit.train import Outcome, Watcher, train

MINIMUM_CASES = 6
"""With fewer pairs no difference can be significant at 5 % in Wilcoxon's two-sided test."""


@dataclass(frozen=True)
class Score:
    """Dice of one class of one case under one variant and seed; NaN where the class was neither there nor found."""

    variant: str
    seed: int
    case: str
    kind: str
    dice: float


@dataclass(frozen=True)
class Line:
    """What a variant reached.

    seed_dice : mean Dice over classes and cases, for each seed
    difference : mean over cases of this variant's Dice minus the first's; NaN for the first itself
    p_value : Wilcoxon's signed-rank test, two-sided, on the cases' Dice (mean over seeds), corrected for the number of variants (Holm); NaN if too few
    """

    variant: str
    parameters: int
    steps: int
    seed_dice: tuple[float, ...]
    class_dice: Mapping[str, float]
    difference: float
    p_value: float

    @property
    def mean(self) -> float:
        return statistics.fmean(self.seed_dice)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; NaN with one."""
        return statistics.stdev(self.seed_dice) if len(self.seed_dice) > 1 else math.nan


def parse_vary(texts: Sequence[str]) -> list[dict[str, Any]]:
    """``["model.skip=none,se", "loss.dice=1,2"]`` -> all combinations: ``[{"model.skip": "none", "loss.dice": 1}, ...]``.

    Raises
    ------
    SettingsError
        A text that is not A.B=V1,V2,…, or a key twice.
    """
    axes: dict[str, list[Any]] = {}
    for text in texts:
        key, separator, values = text.partition("=")
        choices = parse_yaml(f"[{values}]", f"--vary {key}")
        if not separator or not choices:
            raise SettingsError(f"--vary {text!r}: expected A.B=VALUE,VALUE, for example model.skip=none,se,cbam")
        if key.strip() in axes or len({repr(choice) for choice in choices}) < len(choices):
            raise SettingsError(f"--vary {text!r}: {key} or one of its values is given twice")
        axes[key.strip()] = choices
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def variant_name(overrides: Mapping[str, Any]) -> str:
    """``{"model.skip": "cbam", "model.encoder": "resnet18"}`` -> ``skip=cbam,encoder=resnet18``: fit for a folder."""
    text = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in overrides.items())
    return "".join(letter if letter.isalnum() or letter in "=,.-_" else "-" for letter in text)


def compare(
    variants: Mapping[str, Callable[[int], RunConfig]],
    seeds: Sequence[int],
    folder: Path,
    *,
    split: str | None = None,
    watcher: Callable[[str, int], Watcher],
) -> tuple[list[Line], Outcome | None]:
    """Train every variant with every seed, score each on the same cases, and set them against the first.

    Parameters
    ----------
    variants : name -> (seed -> settings)
    split : rows of the manifest to score; None scores each run's validation cases, which also chose its best weights

    Returns
    -------
    The table, and the outcome of the run that was interrupted, if one was: then the table is empty.
    """
    for settings in variants.values():  # told before the first hour of training
        cases_to_score(settings(seeds[0]), split)
    scores: list[Score] = []
    steps: dict[str, list[int]] = defaultdict(list)
    for seed, (name, settings) in itertools.product(seeds, variants.items()):   # seed by seed: an early look is fair to all
        run, place = settings(seed), folder / name / f"seed{seed}"
        outcome = train_once(run, place, watcher(name, seed))
        if outcome is not None and outcome.signal is not None:
            return [], outcome
        steps[name].append(json.loads((place / "run.json").read_text(encoding="utf-8"))["outcome"]["steps"])
        scores += score_run(name, seed, place, run, split)
    networks = {name: count_parameters(build_model(settings(seeds[0]).model)) for name, settings in variants.items()}
    lines = tabulate(scores, networks, {name: round(statistics.fmean(counts)) for name, counts in steps.items()})
    save(lines, scores, folder, split)
    return lines, None


def train_once(run: RunConfig, place: Path, watcher: Watcher) -> Outcome | None:
    """Train, go on with an interrupted run, or do nothing where it is finished.

    Raises
    ------
    SettingsError
        The folder holds a finished run with other settings.
    """
    facts = json.loads((place / "run.json").read_text(encoding="utf-8")) if (place / "run.json").exists() else {}
    if facts.get("outcome", {}).get("reason") in ("finished", "stopped early"):
        if RunConfig.model_validate(facts["settings"]) != run:
            raise SettingsError(f"{place}: holds a finished run with other settings; choose another folder with -o, or remove it")
        return None
    return train(run, place, resume=(place / "state.pt").exists(), watcher=watcher)


def score_run(name: str, seed: int, place: Path, run: RunConfig, split: str | None) -> list[Score]:
    """Dice of every case and class, predicted as `segkit predict` would."""
    model = load(place, device=run.train.device, precision=run.train.precision)

    def pairs() -> Iterable[tuple[str, Any, Any]]:
        for case in cases_to_score(run, split):
            image, truth = load_pair(case, run.data, model.labels)
            yield case.name, segment(image, model).mask, truth

    evaluation = evaluate_pairs(pairs(), metrics=("dice",))
    return [Score(name, seed, case.case, kind, score.scores["dice"]) for case in evaluation.cases for kind, score in case.classes.items()]


def cases_to_score(run: RunConfig, split: str | None) -> list[Case]:
    return find_cases(run.data, run.train.seed)[1] if split is None else cases_of_split(run.data, split)


def tabulate(scores: Sequence[Score], parameters: Mapping[str, int], steps: Mapping[str, int]) -> list[Line]:
    """A line for each variant, in the order of `parameters`; the first is what the others are set against."""
    first = next(iter(parameters))
    tests = {name: paired_test(case_means(scores, first), case_means(scores, name)) for name in parameters if name != first}
    corrected = holm({name: p_value for name, (_, p_value) in tests.items()})
    lines = []
    for name in parameters:
        own = [score for score in scores if score.variant == name]
        seeds = sorted({score.seed for score in own})
        per_class = {kind: _mean(score.dice for score in own if score.kind == kind) for kind in dict.fromkeys(score.kind for score in own)}
        per_seed = tuple(class_mean([score for score in own if score.seed == seed]) for seed in seeds)
        difference = tests[name][0] if name in tests else math.nan
        lines.append(Line(name, parameters[name], steps[name], per_seed, per_class, difference, corrected.get(name, math.nan)))
    return lines


def class_mean(scores: Sequence[Score]) -> float:
    """Mean over classes of the mean over cases, as `segkit evaluate` has it."""
    kinds = dict.fromkeys(score.kind for score in scores)
    return _mean(_mean(score.dice for score in scores if score.kind == kind) for kind in kinds)


def case_means(scores: Sequence[Score], variant: str) -> dict[str, float]:
    """Case -> mean Dice over its classes and over seeds."""
    found: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        if score.variant == variant and math.isfinite(score.dice):
            found[score.case].append(score.dice)
    return {case: statistics.fmean(values) for case, values in found.items()}


def paired_test(one: Mapping[str, float], other: Mapping[str, float]) -> tuple[float, float]:
    """(mean of other - one over the cases that both have, p of Wilcoxon's signed-rank test, two-sided).

    Wilcoxon (1945), https://doi.org/10.2307/3001968
    """
    from scipy.stats import wilcoxon

    differences = np.array([other[case] - one[case] for case in one if case in other])
    if len(differences) == 0:
        return math.nan, math.nan
    if len(differences) < MINIMUM_CASES or not differences.any():
        return float(differences.mean()), math.nan if differences.any() else 1.0
    return float(differences.mean()), float(wilcoxon(differences).pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrected for the number of tests: the smallest times n, the next times n - 1, …, never falling, at most 1.

    Holm (1979), https://www.jstor.org/stable/4615733
    """
    known = sorted((name for name in p_values if math.isfinite(p_values[name])), key=lambda name: p_values[name])
    corrected, largest = dict.fromkeys(p_values, math.nan), 0.0
    for place, name in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - place) * p_values[name]))
        corrected[name] = largest
    return corrected


def save(lines: Sequence[Line], scores: Sequence[Score], folder: Path, split: str | None) -> None:
    kinds = list(lines[0].class_dice)
    header = ["variant", "mean_dice", "spread", *(f"dice_{kind}" for kind in kinds), "difference", "p_value", "parameters", "steps"]
    write_csv(folder / "compare.csv", header, [_cells(line) for line in lines])
    write_csv(folder / "cases.csv", ["variant", "seed", "case", "class", "dice"], [list(asdict(score).values()) for score in scores])
    write_json(folder / "compare.json", to_json(lines, split))
    seeds = {line.variant: line.seed_dice for line in lines}
    cases = {line.variant: tuple(case_means(scores, line.variant).values()) for line in lines}
    write_png(folder / "compare.png", strips(cases, seeds, title="Dice: cases (small), mean of each seed (large)"))


def to_json(lines: Sequence[Line], split: str | None) -> dict[str, Any]:
    return {
        "scored_on": split or "validation",
        "test": "Wilcoxon signed-rank, two-sided, over cases, against the first variant, Holm-corrected",
        "variants": [_finite({**asdict(line), "mean_dice": line.mean, "spread": line.spread}) for line in lines],
    }


def _cells(line: Line) -> list[str | int]:
    dice = [f"{value:.5f}" for value in (line.mean, line.spread, *line.class_dice.values(), line.difference)]
    return [line.variant, *dice, f"{line.p_value:.4g}", line.parameters, line.steps]


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()}


def _mean(values: Iterable[float]) -> float:
    """Of the finite ones; NaN where there are none."""
    known = [value for value in values if math.isfinite(value)]
    return statistics.fmean(known) if known else math.nan
