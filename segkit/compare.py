"""The same training with several settings and seeds: what is a gate worth on these data?

The output folder::

    OUT/
    ├── <variant>/seed<k>/...     one run of `segkit train` each; finished ones are not trained again
    ├── compare.csv               a line for each variant
    ├── cases.csv                 Dice of each case and class under each variant and seed, and the pixels of both masks
    ├── compare.json              the table of compare.csv, with the settings that were varied, the seeds and the mean of each, and notes
    └── compare.png
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from segkit.checkpoint import load_model
from segkit.config import RunConfig, parse_yaml, validate_run
from segkit.dataset import Case, cases_of_split, find_cases, load_pair, require_apart, require_files
from segkit.engines import choose_device, choose_precision
from segkit.errors import SettingsError, TrainingError, VanishedError, WeightsError
from segkit.evaluation import evaluate_pairs
from segkit.io import write_csv, write_json, write_png
from segkit.models import build_model
from segkit.models.counting import count_parameters
from segkit.plot import strips
from segkit.predict import load, segment
from segkit.train import Outcome, Silence, Watcher, train
from segkit.train.state import identity, recipe
from segkit.train.trial import look_ahead, require_step, require_weights

MINIMUM_CASES = 6
"""With fewer pairs no difference can be significant at 5 % in Wilcoxon's two-sided test."""

EMPTY_MASKS = (
    "All means are over the pairs of case and class whose truth holds the class: those are the same for every variant. "
    "Where it was not found (missed), dice is 0 and counts. "
    "A pair whose truth does not hold the class is left out of the means (left_out), also where it was found all the same (spurious): "
    "it would count as 0 for the variant that found it, and be no number for one that rightly found nothing."
)
"""The rule for empty masks, as it is written into the result; `segkit evaluate`, where one prediction stands alone, counts the spurious ones as 0."""

ENDED = ("finished", "stopped early")
"""Reasons for which a run ended that is not trained again."""

EXPECTED = "expected A.B=VALUE,VALUE, for example model.skip=none,se,cbam"

REMOVE = "remove the folder to train that run again"

RECORD: Mapping[str, tuple[type, ...]] = {
    "settings": (dict,),
    "data": (dict,),
    "data.training": (list,),
    "directory": (str,),
    "outcome": (dict,),
    "outcome.reason": (str,),
    "outcome.best": (int, float, type(None)),
    "outcome.steps": (int,),
    "outcome.minutes": (int, float),
}
"""What is read of a run's run.json, outer before inner."""

LATER = ("directory", "outcome")
"""What a run.json may be without: an older segkit did not note the folder, and a run that has not ended has no outcome."""

Watching: TypeAlias = Callable[[], AbstractContextManager[Watcher]]
"""Gives a new watcher, and is told when it is needed no more."""


@dataclass(frozen=True)
class Score:
    """Dice of one class of one case under one variant and seed, and the pixels of both masks; NaN where both are empty."""

    variant: str
    seed: int
    case: str
    kind: str
    dice: float
    prediction_px: int
    truth_px: int

    @property
    def counts(self) -> bool:
        """Whether it has part in the means: see `EMPTY_MASKS`."""
        return self.truth_px > 0


@dataclass(frozen=True)
class Counts:
    """Pairs of case and class of one variant, all seeds together.

    pairs : all
    left_out : of them in no mean, because the truth does not hold the class
    missed : of those in the means, nothing was found: Dice 0
    spurious : of those left out, something was found
    """

    pairs: int
    left_out: int
    missed: int
    spurious: int


@dataclass(frozen=True)
class Cost:
    """What a variant took: trainable numbers, and the mean over seeds of training steps and minutes."""

    parameters: int
    steps: int
    minutes: float


@dataclass(frozen=True)
class Line:
    """What a variant reached; all means are over the pairs of case and class whose truth holds the class, which are the same for every variant.

    seed_dice : mean over classes of the mean Dice over cases, for each seed
    class_dice : mean Dice over cases and seeds
    difference : mean over cases of this variant's Dice minus the first's; NaN for the first itself, and where that failed
    p_value : Wilcoxon's signed-rank test, two-sided, on the cases' Dice (mean over seeds), corrected for the number of variants (Holm); NaN if too few
    paired_cases : that this variant and the first both have, on which those two rest; None where there is nothing to set it against
    """

    variant: str
    cost: Cost
    seed_dice: tuple[float, ...]
    class_dice: Mapping[str, float]
    difference: float
    p_value: float
    paired_cases: int | None
    counts: Counts

    @property
    def mean(self) -> float:
        return statistics.fmean(self.seed_dice)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; NaN with one, or where one is NaN."""
        return statistics.stdev(self.seed_dice) if len(self.seed_dice) > 1 and math.isfinite(self.mean) else math.nan


@dataclass(frozen=True)
class Variant:
    """Settings that are compared: by name, what is changed, and the whole for a seed."""

    name: str
    changes: Mapping[str, Any]
    settings: Callable[[int], RunConfig]


@dataclass(frozen=True)
class Job:
    """One training of a comparison: the settings of a variant with a seed, and the folder of the run."""

    variant: str
    seed: int
    run: RunConfig
    place: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What run.json said when it was first asked for; nothing where there is none."""
        path = self.place / "run.json"
        if not path.exists():
            return {}
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{path}: is damaged ({error}); {REMOVE}") from error
        if (why := misshapen(told)) is not None:
            raise SettingsError(f"{path}: is damaged ({why}); {REMOVE}")
        return told

    @property
    def is_finished(self) -> bool:
        return self.facts.get("outcome", {}).get("reason") in ENDED

    @property
    def is_begun(self) -> bool:
        return self.is_finished or (self.place / "state.pt").exists()


def misshapen(told: Any) -> str | None:
    """What of a run.json is not as `segkit train` writes it, in words; None where all that is read here is."""
    if not isinstance(told, dict):
        return f"a {type(told).__name__}"
    for path, kinds in RECORD.items():
        room, _, key = path.rpartition(".")
        if (room or key) in LATER and (room or key) not in told:
            continue
        inside = told[room] if room else told                           # a dict: that was looked at before
        if not isinstance(inside.get(key, ...), kinds):
            return f"{path} is {json.dumps(inside[key])[:40]}" if key in inside else f"without {path}"
    return None


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    lines : of the variants that were trained with all seeds
    failures : variant -> why it could not be trained: it has no line
    notes : what the table alone does not show, one sentence each
    interrupted : outcome of the run that was interrupted, if one was; then there are no lines yet
    """

    variants: Sequence[Variant]
    seeds: Sequence[int]
    split: str | None
    lines: Sequence[Line] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    interrupted: Outcome | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data without NaN: null stands for what is not known."""
        lines = {line.variant: line for line in self.lines}
        return {
            "scored_on": self.split or "validation",
            "seeds": list(self.seeds),
            "test": "Wilcoxon signed-rank, two-sided, over cases, against the first variant, Holm-corrected",
            "empty_masks": EMPTY_MASKS,
            "notes": list(self.notes),
            "variants": [
                {"variant": one.name, "settings": dict(one.changes), **_told(lines.get(one.name)), "failed": self.failures.get(one.name)}
                for one in self.variants
            ],
        }


def parse_vary(texts: Sequence[str]) -> list[dict[str, Any]]:
    """``["model.skip=none,se", "loss.dice=1,2"]`` -> all combinations: ``[{"model.skip": "none", "loss.dice": 1}, ...]``.

    Raises
    ------
    SettingsError
        A text that is not A.B=V1,V2,… with values in YAML, a key twice, or the seed.
    """
    axes: dict[str, list[Any]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        try:
            choices = parse_yaml(f"[{values}]", f"--vary {text!r}")
        except SettingsError as error:
            raise SettingsError(f"{error}; {EXPECTED}") from error
        if not choices or values.rstrip().endswith(",") or not all(part.strip() for part in key.split(".")):
            raise SettingsError(f"--vary {text!r}: {EXPECTED}")
        if key.strip() == "train.seed":
            raise SettingsError(f"--vary {text!r}: every variant is trained with the same seeds; --seeds N says how many")
        if key.strip() in axes or len({repr(choice) for choice in choices}) < len(choices):
            raise SettingsError(f"--vary {text!r}: {key} or one of its values is given twice")
        axes[key.strip()] = choices
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def variant_name(overrides: Mapping[str, Any]) -> str:
    """``{"model.skip": "cbam", "train.patch": [64, 32]}`` -> ``skip=cbam,patch=64x32``: fit for a folder."""
    text = ",".join(f"{key.rpartition('.')[2]}={_spelled(value)}" for key, value in overrides.items())
    return "".join(letter if letter.isalnum() or letter in "=,.-_+" else "-" for letter in text)


def _spelled(value: Any) -> str:
    """As in YAML, but with few signs: ``{"name": "unet", "skip": "se"}`` -> ``unet,skip=se``, ``[64, 32]`` -> ``64x32``."""
    if isinstance(value, Mapping):
        return ",".join(_spelled(part) if key in ("name", "kind") else f"{key}={_spelled(part)}" for key, part in value.items())
    if isinstance(value, list):
        return "x".join(map(_spelled, value))
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def plan_variants(combinations: Iterable[Mapping[str, Any]], settings: Callable[[Mapping[str, Any], int], RunConfig]) -> list[Variant]:
    """A variant for each combination of changes; `settings` makes a run of the changes and a seed.

    Raises
    ------
    SettingsError
        Two of them would have one name, and so one folder; also where the folder's disk knows no capitals.
    """
    named: dict[str, Variant] = {}
    for changes in combinations:
        one = Variant(variant_name(changes), changes, partial(settings, changes))
        other = named.setdefault(one.name.casefold(), one)
        if other is not one:
            raise SettingsError(f"--vary: {dict(other.changes)} and {dict(changes)} would share the folder {one.name}; compare them in two calls, with two -o")
    return list(named.values())


def compare(
    variants: Sequence[Variant],
    seeds: Sequence[int],
    folder: Path,
    *,
    split: str | None = None,
    watching: Watching = lambda: nullcontext(Silence()),
) -> Comparison:
    """Train every variant with every seed, score each on the same cases, and set them against the first.

    What is finished in the folder is not trained again, what was interrupted goes on. A variant whose training fails is left, the others go on.

    Parameters
    ----------
    split : rows of the manifest to score; None scores each run's validation cases, which also chose its best weights
    watching : opened for what is looked at beforehand, and for each run

    Raises
    ------
    SettingsError, PairingError, ReadError, WeightsError
        Before anything is trained: settings, data or weights of a run are not right, cases to score are trained on, or the folder holds other runs.
    """
    jobs = [Job(one.name, seed, one.settings(seed), folder / one.name / f"seed{seed}") for seed in seeds for one in variants]  # an early look is fair to all
    check(jobs, split, watching)
    scores: list[Score] = []
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    failures: dict[str, str] = {}
    for number, job in enumerate(jobs, start=1):
        with watching() as watcher:
            watcher.note(f"{number} of {len(jobs)}: {job.variant}, seed {job.seed}{', finished before' if job.is_finished else ''}")
            outcome = attempt(job, failures, watcher)
        if outcome is None:
            continue
        if outcome.signal is not None:
            return Comparison(variants, seeds, split, interrupted=outcome)
        outcomes[job.variant].append(outcome)
        scores += score_run(job, split)
    costs = {one.name: cost_of(one.settings(seeds[0]), outcomes[one.name]) for one in variants if one.name not in failures}
    lines = tabulate(scores, costs, variants[0].name)
    comparison = Comparison(variants, seeds, split, lines, failures, remarks(lines, scores, split))
    save(comparison, scores, folder)
    return comparison


def attempt(job: Job, failures: dict[str, str], watcher: Watcher) -> Outcome | None:
    """Train; None where that fails, or failed with an earlier seed of the variant. Why is put among the failures."""
    if job.variant in failures:
        watcher.note(f"left out: {job.variant} failed with {failures[job.variant]}")
        return None
    try:
        return train_once(job, watcher)
    except TrainingError as error:
        failures[job.variant] = f"seed {job.seed}: {error}"
        watcher.note(f"failed: {error}")
        return None


def check(jobs: Sequence[Job], split: str | None, watching: Watching) -> None:
    """Raise before the first hour of training what else would be raised in a later one: see `compare`."""
    for job in jobs:
        training, _ = look_ahead(job.run)
        if split is not None:
            scored = cases_of_split(job.run.data, split)
            require_apart(training, scored, f"--split {split}")
            require_files(scored)
        require_same(job, training)
    require_models(jobs)
    firsts = [job for job in jobs if job.seed == jobs[0].seed]
    for job in firsts:
        choose_precision(job.run.train.precision, choose_device(job.run.train.device))
        require_step(job.run)
    with watching() as watcher:
        for job in firsts:
            if not all(one.is_begun for one in jobs if one.variant == job.variant):
                require_weights(job.run, watcher.downloading)


def require_same(job: Job, training: Sequence[Case]) -> None:
    """SettingsError where the folder holds a run with other settings, or of other pictures; what decides so is more where it is finished."""
    if not job.is_begun or not job.facts:
        return
    advice = "choose another folder with -o, or remove it"
    try:
        before = validate_run(job.facts["settings"], "its run.json")
    except SettingsError as error:
        raise SettingsError(f"{job.place}: holds a run of another segkit ({error}); {advice}") from error
    if job.is_finished:
        old, new = recipe(before, Path(job.facts.get("directory", ""))), recipe(job.run, Path.cwd())
    else:
        old, new = identity(before), identity(job.run)
    changed = [key for key in new if new[key] != old.get(key)]
    if changed:
        raise SettingsError(f"{job.place}: holds a run with other settings for {', '.join(changed)}; {advice}")
    if job.facts["data"]["training"] != [case.name for case in training]:
        raise SettingsError(f"{job.place}: holds a run that was trained on other pictures; {advice}")


def require_models(jobs: Sequence[Job]) -> None:
    """WeightsError that names all runs that are finished and whose model can't be loaded: they will be scored with it."""
    damaged: dict[Path, str] = {}
    for job in jobs:
        try:
            if job.is_finished:
                load_model(job.place)
        except (VanishedError, WeightsError) as error:
            damaged[job.place] = str(error)
    if damaged:
        which = "that run" if len(damaged) == 1 else "these runs"
        raise WeightsError(f"{'; '.join(damaged.values())}; remove {', '.join(map(str, damaged))} to train {which} again")


def train_once(job: Job, watcher: Watcher) -> Outcome:
    """Train, go on with an interrupted run, or say how it ended where it is finished."""
    if job.is_finished:
        ended = job.facts["outcome"]
        return Outcome(ended["reason"], math.nan if ended["best"] is None else ended["best"], ended["steps"], ended["minutes"])
    return train(job.run, job.place, resume=(job.place / "state.pt").exists(), watcher=watcher)


def score_run(job: Job, split: str | None) -> list[Score]:
    """Dice of every case and class, predicted as `segkit predict` would."""
    model = load(job.place, device=job.run.train.device, precision=job.run.train.precision)

    def pairs() -> Iterable[tuple[str, Any, Any]]:
        for case in cases_to_score(job.run, split):
            image, truth = load_pair(case, job.run.data, model.labels)
            yield str(case.image), segment(image, model).mask, truth

    evaluation = evaluate_pairs(pairs(), metrics=("dice",))
    return [
        Score(job.variant, job.seed, case.case, kind, score.scores["dice"], score.prediction_px, score.truth_px)
        for case in evaluation.cases
        for kind, score in case.classes.items()
    ]


def cases_to_score(run: RunConfig, split: str | None) -> list[Case]:
    return find_cases(run.data, run.train.seed)[1] if split is None else cases_of_split(run.data, split)


def cost_of(run: RunConfig, outcomes: Sequence[Outcome]) -> Cost:
    with torch.device("meta"):
        parameters = count_parameters(build_model(run.model))
    steps, minutes = (statistics.fmean(values) for values in zip(*((one.steps, one.minutes) for one in outcomes), strict=True))
    return Cost(parameters, round(steps), minutes)


def tabulate(scores: Sequence[Score], costs: Mapping[str, Cost], first: str) -> list[Line]:
    """A line for each variant, in the order of `costs`; `first` is what the others are set against."""
    tests = {name: paired_test(case_means(scores, first), case_means(scores, name)) for name in costs if name != first and first in costs}
    corrected = holm({name: test.p_value for name, test in tests.items()})
    lines = []
    for name, cost in costs.items():
        own = [score for score in scores if score.variant == name]
        seeds = sorted({score.seed for score in own})
        per_class = {kind: _mean(score.dice for score in own if score.kind == kind and score.counts) for kind in dict.fromkeys(score.kind for score in own)}
        per_seed = tuple(class_mean([score for score in own if score.seed == seed]) for seed in seeds)
        test = tests.get(name)
        difference, paired_cases = (math.nan, None) if test is None else (test.difference, test.cases)
        lines.append(Line(name, cost, per_seed, per_class, difference, corrected.get(name, math.nan), paired_cases, count(own)))
    return lines


def count(scores: Sequence[Score]) -> Counts:
    empty = [(score.truth_px == 0, score.prediction_px == 0) for score in scores]
    return Counts(len(scores), sum(truth for truth, _ in empty), missed=empty.count((False, True)), spurious=empty.count((True, False)))


def class_mean(scores: Sequence[Score]) -> float:
    """Mean over classes of the mean over cases, of the scores that count."""
    kinds = dict.fromkeys(score.kind for score in scores)
    return _mean(_mean(score.dice for score in scores if score.kind == kind and score.counts) for kind in kinds)


def case_means(scores: Sequence[Score], variant: str) -> dict[str, float]:
    """Case -> mean Dice over its classes and over seeds, of the scores that count."""
    found: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        if score.variant == variant and score.counts:
            found[score.case].append(score.dice)
    return {case: statistics.fmean(values) for case, values in found.items()}


class Paired(NamedTuple):
    """Two variants over the cases that both have: the mean of other - one, p of Wilcoxon's signed-rank test (two-sided), and their number."""

    difference: float
    p_value: float
    cases: int


def paired_test(one: Mapping[str, float], other: Mapping[str, float]) -> Paired:
    """p is NaN with fewer than `MINIMUM_CASES`, and the difference where there is none.

    Wilcoxon (1945), https://doi.org/10.2307/3001968
    """
    from scipy.stats import wilcoxon

    differences = np.array([other[case] - one[case] for case in one if case in other])
    difference = float(differences.mean()) if len(differences) else math.nan
    if len(differences) < MINIMUM_CASES:
        return Paired(difference, math.nan, len(differences))
    return Paired(difference, float(wilcoxon(differences).pvalue) if differences.any() else 1.0, len(differences))


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


def remarks(lines: Sequence[Line], scores: Sequence[Score], split: str | None) -> tuple[str, ...]:
    """What the table alone does not show, one sentence each; `scores` are those of the lines."""
    own = [score for score in scores if score.variant in {line.variant for line in lines}]
    return (*_on_validation(own, split), *_on_empty_masks(lines), *_on_few_cases(lines))


def _on_validation(scores: Sequence[Score], split: str | None) -> Iterator[str]:
    if split is not None or not scores:
        return
    if _differ((score.variant, (score.seed, score.case)) for score in scores):        # a share or a split was varied
        whose = "each run was scored on its own validation cases, which also chose its best weights"
    elif _differ((score.seed, score.case) for score in scores):                         # the seed draws them
        whose = "each seed was scored on its own validation cases, which also chose its best weights"
    else:
        whose = "all were scored on the validation cases, which also chose the best weights"
    yield f"{whose}; --split NAME scores the same unseen cases of a manifest"


def _differ(pairs: Iterable[tuple[Any, Any]]) -> bool:
    """Whether what stands second is not the same for all that stand first."""
    found: dict[Any, set[Any]] = defaultdict(set)
    for first, second in pairs:
        found[first].add(second)
    return len(set(map(frozenset, found.values()))) > 1


def _on_empty_masks(lines: Sequence[Line]) -> Iterator[str]:
    words = {
        "left_out": "left out of the means, because the truth does not hold the class",
        "spurious": "found there all the same (spurious)",
        "missed": "there and not found (missed, Dice 0)",
    }
    counts = {line.variant: asdict(line.counts) for line in lines}
    told = [f"{words[key]}: {_each({name: one[key] for name, one in counts.items()})}" for key in words if any(one[key] for one in counts.values())]
    if told:
        yield "; ".join([f"pairs of case and class, all seeds together: {_each({name: one['pairs'] for name, one in counts.items()})}", *told])


def _on_few_cases(lines: Sequence[Line]) -> Iterator[str]:
    few = sorted({line.paired_cases for line in lines if line.paired_cases is not None and line.paired_cases < MINIMUM_CASES})
    if few:
        yield f"p needs at least {MINIMUM_CASES} cases that both have; there {'is' if few == [1] else 'are'} {' or '.join(map(str, few))}"


def _each(numbers: Mapping[str, int]) -> str:
    """``{"a": 3, "b": 1}`` -> ``a 3, b 1``; once, where all are alike: ``3 each``."""
    if len(numbers) > 1 and len(set(numbers.values())) == 1:
        return f"{next(iter(numbers.values()))} each"
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


def save(comparison: Comparison, scores: Sequence[Score], folder: Path) -> None:
    """The files of the folder but for the runs."""
    lines = comparison.lines
    kinds = list(lines[0].class_dice) if lines else []
    header = ["variant", "mean_dice", "spread", *(f"dice_{kind}" for kind in kinds), "difference", "p_value"]
    header += [*(one.name for one in fields(Counts)), "parameters", "steps", "minutes", "failed"]
    failed = [[name, *[None] * (len(header) - 2), why] for name, why in comparison.failures.items()]
    write_csv(folder / "compare.csv", header, [*map(_cells, lines), *failed])
    columns = ["variant", "seed", "case", "class", "dice", "prediction_px", "truth_px"]
    write_csv(folder / "cases.csv", columns, [list(asdict(score).values()) for score in scores])
    write_json(folder / "compare.json", comparison.to_json())
    seeds = {line.variant: tuple(value for value in line.seed_dice if math.isfinite(value)) for line in lines}
    cases = {line.variant: tuple(case_means(scores, line.variant).values()) for line in lines}
    if lines:
        write_png(folder / "compare.png", strips(cases, seeds, title="Dice: cases (small), mean of each seed (large)"))


def _cells(line: Line) -> list[str | int | None]:
    dice = [f"{value:.5f}" for value in (line.mean, line.spread, *line.class_dice.values(), line.difference)]
    return [line.variant, *dice, f"{line.p_value:.4g}", *asdict(line.counts).values(), line.cost.parameters, line.cost.steps, f"{line.cost.minutes:.3f}", None]


def _told(line: Line | None) -> dict[str, Any]:
    """A line as plain data: null where a number is not finite."""
    if line is None:
        return {}
    numbers = {"mean_dice": line.mean, "spread": line.spread, "difference": line.difference, "p_value": line.p_value, **asdict(line.cost)}
    return {
        **{key: _finite(value) for key, value in numbers.items()},
        "paired_cases": line.paired_cases,
        **asdict(line.counts),
        "seed_dice": [_finite(value) for value in line.seed_dice],
        "class_dice": {kind: _finite(value) for kind, value in line.class_dice.items()},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean(values: Iterable[float]) -> float:
    """Of the finite ones; NaN where there are none."""
    known = [value for value in values if math.isfinite(value)]
    return statistics.fmean(known) if known else math.nan
