"""Tune: what a model is run with, chosen on cases that it was not trained on, by what each step was measured to gain there.

::

    score_cases     the network looks at each case once, as it is and in the mirror images that training knew
    tune            steps: the mirror images' mean; then for each class a smallest size, the largest piece alone, holes filled;
                    taken where the gain is larger than `SMALLEST_GAIN` and than its own standard error; mirror images that the
                    settings begin with are left where the loss is

and `segkit.calibrate` learns from the same scores how sure to be under these settings.

Each step is measured on top of those that were taken before it, from the stored scores: nothing is scored a second time. The settings go into the model::

    scored = list(score_cases(model, cases))
    tuning = tune(scored, model.labels, model.run.predict, object_sizes(training_masks))
    save_model(path, file.run.model_copy(update={"predict": tuning.predict}), file.weights, file.card)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segkit.config import PredictSettings
from segkit.evaluation import score_case
from segkit.image import Image
from segkit.labels import IGNORE_INDEX, Labels, Mask
from segkit.patches import Band
from segkit.postprocess import PieceRules, PostprocessSettings, piece_sizes, tidy
from segkit.predict import Model, Segmentation, Walk, scored_bands
from segkit.score import known_flips

SMALLEST_GAIN = 0.002
"""Of mean Dice. Less is not worth a rule that may be wrong for other pictures, nor the time that mirror images take."""

FEWEST_GROUPS = 3
"""Of fewer patients the standard error says nothing, so that no step is taken."""

SAMPLE = 2**14
"""Pixels of a case that probabilities are kept of, evenly spread."""

ALL_SAMPLES = 2**21
"""Pixels of all cases together: where there are many cases, fewer are kept of each."""

SMALLEST_PROBABILITY = 2.0**-24
"""What float16 can tell from 0."""

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
class Seen:
    """What the network said of a case, on the picture's own grid and before anything is tidied.

    indices : (H, W) or (S, H, W) classes
    logits : (N, K) logarithms of the probabilities of pixels whose truth is known, evenly spread
    truth : (N,) their classes
    foreground : (M, K) the same of pixels that were found to be foreground
    places : (M,) where these are among all pixels of the case
    """

    indices: NDArray[np.uint8]
    logits: NDArray[np.float32]
    truth: NDArray[np.uint8]
    foreground: NDArray[np.float32]
    places: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ScoredCase:
    """A case as the network saw it, without and with mirror images; `mirrored` is None where training knew none."""

    name: str
    group: str
    truth: Mask
    plain: Seen
    mirrored: Seen | None

    def seen(self, tta: bool) -> Seen:
        return self.mirrored if tta and self.mirrored is not None else self.plain


@dataclass(frozen=True)
class Step:
    """One step, and what it was worth.

    name : "mirror images"; "nerve: pieces from 31 px on"; "nerve: largest piece"; "nerve: holes filled"
    before, after : mean Dice over the groups, of the class, or of all classes for mirror images; a class that is empty in both masks counts 1
    gain, standard_error : of the groups' paired differences; the error is NaN of a single group
    groups : patients that it was measured on
    decision : "taken" for what it gained, "kept" as the settings had it and no harm was seen, or "left"
    """

    name: str
    before: float
    after: float
    gain: float
    standard_error: float
    groups: int
    decision: Literal["taken", "kept", "left"]

    @property
    def taken(self) -> bool:
        """Whether it is in the settings."""
        return self.decision != "left"


@dataclass(frozen=True)
class Tuning:
    """The settings to run a model with, and the table that they were chosen by."""

    predict: PredictSettings
    steps: tuple[Step, ...]

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Header and one row for each step, for a report or a CSV."""
        rows = [[s.name, s.before, s.after, s.gain, s.standard_error, s.groups, s.decision] for s in self.steps]
        return ["step", "dice_before", "dice_after", "gain", "standard_error", "groups", "decision"], rows


def score_cases(model: Model, cases: Iterable[TuningCase], sample: int | None = None) -> Iterator[ScoredCase]:
    """One pass of the network over each case; of a cross-validation each fold's model over its own cases.

    `sample` is the number of pixels that probabilities are kept of, `SAMPLE` unless told.

    Raises
    ------
    ChannelsError, RangeError, SettingsError
        A picture is not one that the model takes.
    MemoryError
        Not even small windows of it fit.
    """
    flips, tiles, sample = known_flips(model.run.augment), model.run.predict.tiles, SAMPLE if sample is None else sample
    for case in cases:
        plain, mirrored = (Walk(case.image, model, PredictSettings(tiles=tiles), keep_probabilities=True) for _ in range(2))
        bands = scored_bands(plain, model, tiles, flips[:1])
        if len(flips) == 1:
            for plane, band in bands:
                plain.take(plane, band)
            yield ScoredCase(case.name, case.group, case.truth, _seen(plain.result(), case.truth, sample), None)
            continue
        for (plane, band), (_, others) in zip(bands, scored_bands(mirrored, model, tiles, flips[1:]), strict=True):
            plain.take(plane, band)
            mirrored.take(plane, Band(band.row, (band.logits + (len(flips) - 1) * others.logits) / len(flips)))
        yield ScoredCase(case.name, case.group, case.truth, _seen(plain.result(), case.truth, sample), _seen(mirrored.result(), case.truth, sample))


def samples_each(cases: int) -> int:
    """Pixels to keep probabilities of, of each of so many cases."""
    return max(1, min(SAMPLE, ALL_SAMPLES // max(1, cases)))


def _seen(found: Segmentation, truth: Mask, sample: int) -> Seen:
    """Of the probabilities a sample is kept: all pixels of all cases would fill the memory."""
    indices = found.mask.indices
    known, places = _some(np.flatnonzero(truth.indices != IGNORE_INDEX), sample), _some(np.flatnonzero(indices), sample)
    return Seen(indices, log_probabilities(found, known), truth.indices.ravel()[known], log_probabilities(found, places), places)


def known_sample(found: Segmentation, truth: Mask, sample: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(N, K) logarithms of the probabilities, and (N,) true classes, of at most so many pixels whose truth is known, evenly spread."""
    places = _some(np.flatnonzero(truth.indices != IGNORE_INDEX), sample)
    return log_probabilities(found, places), truth.indices.ravel()[places]


def _some(places: NDArray[np.intp], sample: int) -> NDArray[np.intp]:
    return places[:: max(1, -(-len(places) // sample))]


def log_probabilities(found: Segmentation, places: NDArray[np.intp]) -> NDArray[np.float32]:
    """(N, K) at (N,) places among all pixels, of a segmentation that has kept its probabilities."""
    assert found.probabilities is not None
    flat = found.probabilities.reshape(len(found.probabilities), -1)
    logits: NDArray[np.float32] = np.log(flat[:, places].T.astype(np.float32).clip(SMALLEST_PROBABILITY))
    return logits


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
    asked of it besides, `SMALLEST_GAIN`, is more than chance gives where there are many cases. Mirror images that the settings begin with, because they
    cost little, stay unless they do harm by the same measure: the mean of several views is rarely worse than one, and few cases can't show by how much
    it is better.
    """
    search = _Search(scored, start.model_copy(update={"tta": False, "postprocess": PostprocessSettings()}))
    if any(case.mirrored is not None for case in scored):
        search.consider("mirror images", search.settings.model_copy(update={"tta": True}), labels.foreground, usual=start.tta)
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


def case_dice(case: ScoredCase, predict: PredictSettings) -> float:
    """Mean Dice over the foreground classes that are in one of the two masks; 1 where there is none in either."""
    return mean_dice(_dice(case, predict))


def mean_dice(classes: Mapping[str, float]) -> float:
    """Over the classes that are in one of the two masks (the others are NaN); 1 where there is none in either."""
    found = [dice for dice in classes.values() if not math.isnan(dice)]
    return float(np.mean(found)) if found else 1.0


def _dice(case: ScoredCase, settings: PredictSettings) -> dict[str, float]:
    """Class -> Dice of the tidied mask, NaN where both are empty."""
    labels = case.truth.labels
    tidied = tidy(case.seen(settings.tta).indices, settings.postprocess, labels.names)
    scores = score_case(case.name, Mask(tidied, labels, case.truth.spacing_mm), case.truth, ("dice",)).classes
    return {name: one.scores["dice"] for name, one in scores.items()}


class _Search:
    """The settings so far, and the Dice of each case and class under them."""

    def __init__(self, scored: Sequence[ScoredCase], settings: PredictSettings) -> None:
        self._scored = scored
        self.settings, self.steps = settings, list[Step]()
        self._dice = self._measure(settings)

    def consider_rule(self, name: str, what: str, change: Mapping[str, Any]) -> None:
        """A rule for one class, on top of those that it has."""
        rules = self.settings.postprocess.classes
        changed = PostprocessSettings(classes={**rules, name: rules.get(name, PieceRules()).model_copy(update=change)})
        self.consider(f"{name}: {what}", self.settings.model_copy(update={"postprocess": changed}), (name,))

    def consider(self, name: str, settings: PredictSettings, classes: Sequence[str], *, usual: bool = False) -> None:
        """Take the settings where they pay for these classes, those that are `usual` unless they do harm."""
        dice = self._measure(settings)
        before, after = (self._by_group(found, classes) for found in (self._dice, dice))
        step = _weigh(name, before, after, usual)
        self.steps.append(step)
        if step.taken:
            self.settings, self._dice = settings, dice

    def _measure(self, settings: PredictSettings) -> list[dict[str, float]]:
        """Class -> Dice, of each case."""
        return [self._dice_of(case, settings) for case in self._scored]

    def _dice_of(self, case: ScoredCase, settings: PredictSettings) -> dict[str, float]:
        """A class that is in neither mask counts 1: nothing found where nothing is; or to clear away what is not there would gain nothing."""
        return {name: 1.0 if math.isnan(dice) else dice for name, dice in _dice(case, settings).items()}

    def _by_group(self, dice: Sequence[Mapping[str, float]], classes: Sequence[str]) -> NDArray[np.float64]:
        """Mean Dice of each group over its cases and the classes: slices of one patient are not patients."""
        groups: dict[str, list[float]] = defaultdict(list)
        for case, found in zip(self._scored, dice, strict=True):
            groups[case.group].append(float(np.mean([found[name] for name in classes])))
        return np.array([np.mean(values) for values in groups.values()])


def _weigh(name: str, before: NDArray[np.float64], after: NDArray[np.float64], usual: bool) -> Step:
    """(G,) mean Dice of each group, without and with a step."""
    gains = after - before
    gain = float(gains.mean())
    error = float(gains.std(ddof=1) / math.sqrt(len(gains))) if len(gains) > 1 else math.nan
    is_known = len(gains) >= FEWEST_GROUPS and abs(gain) > max(SMALLEST_GAIN, error)
    decision: Literal["taken", "kept", "left"] = "left"
    if is_known and gain > 0:
        decision = "taken"
    elif usual and not is_known:
        decision = "kept"
    return Step(name, float(before.mean()), float(after.mean()), gain, error, len(gains), decision)
