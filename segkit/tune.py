"""Tune: what a model is run with, chosen on cases that it was not trained on, by what each step was measured to gain there.

::

    scores      the network looks at each case once, as it is and in the mirror images that training knew
    steps       the mirror images' mean; then for each class a smallest size, the largest piece alone, holes filled
    taken       where the gain is larger than `SMALLEST_GAIN` and than its own standard error

Each step is measured on top of those that were taken before it, from the stored scores: nothing is scored a second time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.config import PredictSettings
from segkit.evaluation import score_case
from segkit.image import Image
from segkit.labels import Labels, Mask
from segkit.patches import Band
from segkit.postprocess import PieceRules, PostprocessSettings, piece_sizes, tidy
from segkit.predict import Model, Walk, scored_bands
from segkit.score import known_flips

SMALLEST_GAIN = 0.002
"""Of mean Dice. Less is not worth a rule that may be wrong for other pictures, nor the time that mirror images take."""

FEWEST_GROUPS = 3
"""Of fewer patients the standard error says nothing, so that no step is taken."""

SIZE_PERCENTILE = 1.0
"""Of the objects in the training masks, those smaller than this share of them are what a smallest size would lose."""


@dataclass(frozen=True, eq=False)
class TuningCase:
    """A picture or volume that the network was not trained on, its truth on the same grid, and whose it is (a patient, a slide)."""

    name: str
    image: Image
    truth: Mask
    group: str


@dataclass(frozen=True, eq=False)
class ScoredCase:
    """What the network said of a case: class indices on the picture's own grid, without and with mirror images, before anything is tidied.

    mirrored : None where training knew no mirror images
    """

    name: str
    group: str
    truth: Mask
    plain: NDArray[np.uint8]
    mirrored: NDArray[np.uint8] | None

    def indices(self, tta: bool) -> NDArray[np.uint8]:
        return self.mirrored if tta and self.mirrored is not None else self.plain


@dataclass(frozen=True)
class Step:
    """One step, and what it was worth.

    name : "mirror images"; "nerve: pieces from 31 px on"; "nerve: largest piece"; "nerve: holes filled"
    before, after : mean Dice over the groups, of the class, or of all classes for mirror images; a class that is empty in both masks counts 1
    gain, standard_error : of the groups' paired differences; the error is NaN of a single group
    groups : patients that it was measured on
    taken : whether it is in the settings
    """

    name: str
    before: float
    after: float
    gain: float
    standard_error: float
    groups: int
    taken: bool


@dataclass(frozen=True)
class Tuning:
    """The settings to run a model with, and the table that they were chosen by."""

    predict: PredictSettings
    steps: tuple[Step, ...]

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Header and one row for each step, for a report or a CSV."""
        rows = [[s.name, s.before, s.after, s.gain, s.standard_error, s.groups, "taken" if s.taken else "left"] for s in self.steps]
        return ["step", "dice_before", "dice_after", "gain", "standard_error", "groups", "decision"], rows


def score_cases(model: Model, cases: Iterable[TuningCase]) -> Iterator[ScoredCase]:
    """One pass of the network over each case; of a cross-validation each fold's model over its own cases, all chained into one list.

    Raises
    ------
    ChannelsError, RangeError, SettingsError
        A picture is not one that the model takes.
    MemoryError
        Not even small windows of it fit.
    """
    flips, tiles = known_flips(model.run.augment), model.run.predict.tiles
    for case in cases:
        plain, mirrored = Walk(case.image, model, PredictSettings(tiles=tiles)), Walk(case.image, model, PredictSettings(tiles=tiles))
        seen = scored_bands(plain, model, tiles, flips[:1])
        if len(flips) == 1:
            for plane, band in seen:
                plain.take(plane, band)
            yield ScoredCase(case.name, case.group, case.truth, plain.result().mask.indices, None)
            continue
        for (plane, band), (_, others) in zip(seen, scored_bands(mirrored, model, tiles, flips[1:]), strict=True):
            plain.take(plane, band)
            mirrored.take(plane, Band(band.row, (band.logits + (len(flips) - 1) * others.logits) / len(flips)))
        yield ScoredCase(case.name, case.group, case.truth, plain.result().mask.indices, mirrored.result().mask.indices)


def object_sizes(truths: Iterable[Mask]) -> dict[str, NDArray[np.int64]]:
    """Pixels of every connected piece of each foreground class, in the masks that were trained on."""
    found: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
    for truth in truths:
        for index, name in enumerate(truth.labels.names[1:], start=1):
            found[name].append(piece_sizes(truth.indices == index))
    return {name: np.concatenate(sizes) for name, sizes in found.items()}


def tune(scored: Sequence[ScoredCase], labels: Labels, start: PredictSettings, sizes: Mapping[str, NDArray[np.int64]]) -> Tuning:
    """Choose mirror images and post-processing.

    Parameters
    ----------
    scored : of `score_cases`
    start : the model's settings; their tiles stay, mirror images and post-processing are chosen anew
    sizes : of `object_sizes`, for the smallest size; a class without objects gets none

    Notes
    -----
    The rule is one standard error, not two: a step that is wrongly taken costs about as little as one that is wrongly left, and what is
    asked of it besides, `SMALLEST_GAIN`, is more than chance gives where there are many cases.
    """
    search = _Search(scored, labels, start.model_copy(update={"tta": False, "postprocess": PostprocessSettings()}))
    if any(case.mirrored is not None for case in scored):
        search.consider("mirror images", search.settings.model_copy(update={"tta": True}), labels.foreground)
    for name in labels.foreground:
        smallest = smallest_size(sizes.get(name, np.empty(0, np.int64)))
        if smallest > 1:
            search.consider_rule(name, f"pieces from {smallest} px on", {"min_size_px": smallest})
        search.consider_rule(name, "largest piece", {"largest_only": True})
        search.consider_rule(name, "holes filled", {"fill_holes": True})
    return Tuning(search.settings, tuple(search.steps))


def smallest_size(sizes: NDArray[np.int64]) -> int:
    """A size below which nearly no object of the training masks lies; 0 where there are none."""
    return int(np.percentile(sizes, SIZE_PERCENTILE)) if len(sizes) else 0


class _Search:
    """The settings so far, and the Dice of each case and class under them."""

    def __init__(self, scored: Sequence[ScoredCase], labels: Labels, settings: PredictSettings) -> None:
        self._scored, self._labels = scored, labels
        self.settings, self.steps = settings, list[Step]()
        self._dice = self._measure(settings)

    def consider_rule(self, name: str, what: str, change: Mapping[str, Any]) -> None:
        """A rule for one class, on top of those that it has."""
        rules = self.settings.postprocess.classes
        changed = PostprocessSettings(classes={**rules, name: rules.get(name, PieceRules()).model_copy(update=change)})
        self.consider(f"{name}: {what}", self.settings.model_copy(update={"postprocess": changed}), (name,))

    def consider(self, name: str, settings: PredictSettings, classes: Sequence[str]) -> None:
        """Take the settings where they pay for these classes."""
        dice = self._measure(settings)
        before, after = (self._by_group(found, classes) for found in (self._dice, dice))
        step = _weigh(name, before, after)
        self.steps.append(step)
        if step.taken:
            self.settings, self._dice = settings, dice

    def _measure(self, settings: PredictSettings) -> list[dict[str, float]]:
        """Class -> Dice, of each case."""
        return [self._dice_of(case, settings) for case in self._scored]

    def _dice_of(self, case: ScoredCase, settings: PredictSettings) -> dict[str, float]:
        """A class that is in neither mask counts 1: nothing found where nothing is; or to clear away what is not there would gain nothing."""
        tidied = tidy(case.indices(settings.tta), settings.postprocess, self._labels.names)
        scores = score_case(case.name, Mask(tidied, self._labels, case.truth.spacing_mm), case.truth, ("dice",)).classes
        found = {name: one.scores["dice"] for name, one in scores.items()}
        return {name: 1.0 if math.isnan(dice) else dice for name, dice in found.items()}

    def _by_group(self, dice: Sequence[Mapping[str, float]], classes: Sequence[str]) -> NDArray[np.float64]:
        """Mean Dice of each group over its cases and the classes: slices of one patient are not patients."""
        groups: dict[str, list[float]] = defaultdict(list)
        for case, found in zip(self._scored, dice, strict=True):
            groups[case.group].append(float(np.mean([found[name] for name in classes])))
        return np.array([np.mean(values) for values in groups.values()])


def _weigh(name: str, before: NDArray[np.float64], after: NDArray[np.float64]) -> Step:
    """(G,) mean Dice of each group, without and with a step."""
    gains = after - before
    gain = float(gains.mean())
    error = float(gains.std(ddof=1) / math.sqrt(len(gains))) if len(gains) > 1 else math.nan
    taken = len(gains) >= FEWEST_GROUPS and gain > SMALLEST_GAIN and gain > error
    return Step(name, float(before.mean()), float(after.mean()), gain, error, len(gains), taken)
