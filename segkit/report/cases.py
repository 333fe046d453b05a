"""The best, the median and the ten worst cases, drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segkit.dataset import Case, load_pair
from segkit.errors import PairingError, SegkitError, ShapeError
from segkit.image import Image
from segkit.io import mask_suffix, read_mask
from segkit.io.files import stem
from segkit.labels import IGNORE_INDEX
from segkit.metrics import CaseScore
from segkit.plot import colour_of, overlay, to_display
from segkit.report.markup import Markup, folded, join, note, picture, section, tag
from segkit.report.material import Material
from segkit.report.scores import dice_of, score

RANKS = ("worst", "2nd worst", "3rd worst", *(f"{place}th worst" for place in range(4, 11)))

FEWEST_RANKED = 4
"""Of fewer cases none is the best or the median to speak of."""

LONGEST, SHORTEST = 480, 320
"""Pixels of the longer side of a drawing: larger pictures are shrunk, smaller ones enlarged, so that outlines are fine in any."""

MISSED, INVENTED, OTHER = (255, 150, 40), (70, 190, 255), (235, 80, 200)
"""Of wrong pixels: background instead of a class, a class instead of background, one class instead of another."""

Indices = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Drawing:
    """(H, W, 3) uint8 with the masks, with the errors alone, and plain; `where` says which slice of a volume it is."""

    drawn: Indices
    errors: Indices
    plain: Indices
    where: str = ""


def cases_section(material: Material) -> Markup:
    few = material.evaluation is not None and len(material.evaluation.cases) < FEWEST_RANKED
    title = "The scored cases" if few else "Best, median and worst cases"
    if material.evaluation is None:
        return section("cases", title, note("No case was scored by itself, so there is none to show."))
    if material.groups_unknown is not None:
        return section("cases", title, note(f"The cases can't be found any more: {material.groups_unknown}"))
    if not material.masks.is_dir():
        return section("cases", title, note("There is no test/masks: the predicted masks were not kept, so no case can be drawn."))
    dice = case_means(material)
    cards = [_card(material, rank, number, dice[number]) for rank, number in choose(dice)]
    by = "By the Dice of the case" + (", the mean over its classes" if len(material.evaluation.names) > 1 else "")
    by += ", the lowest first." if len(cards) < FEWEST_RANKED else "."
    return section("cases", title, tag("p", by), _legend(material.evaluation.names), tag("div", *cards, class_="cards"))


def case_means(material: Material) -> list[float]:
    """Dice of each scored case, the mean over its classes; NaN where it has none."""
    assert material.evaluation is not None
    return [float(np.nanmean(row)) if not np.isnan(row).all() else math.nan for row in dice_of(material.evaluation)]


def choose(dice: Sequence[float]) -> list[tuple[str, int]]:
    """(rank, number) of the best case, the median and the ten worst, each case once; those without a score are left out. A few are but counted, from the worst.

    >>> choose([0.9, 0.5, math.nan, 0.7])
    [('1 of 3', 1), ('2 of 3', 3), ('3 of 3', 0)]
    """
    order = sorted((number for number, value in enumerate(dice) if not math.isnan(value)), key=lambda number: dice[number])
    if len(order) < FEWEST_RANKED:
        return [(f"{place} of {len(order)}", number) for place, number in enumerate(order, start=1)]
    ranked = [("best", order[-1]), ("median", order[(len(order) - 1) // 2]), *zip(RANKS, order, strict=False)]
    return [(", ".join(rank for rank, other in ranked if other == number), number) for number in dict.fromkeys(number for _, number in ranked)]


def _legend(names: Sequence[str]) -> Markup:
    keys = [tag("span", tag("i", class_="key", style=f"background:rgb{colour_of(index)}"), name) for index, name in enumerate(names, start=1)]
    return tag("p", "Predicted: ", *keys, tag("span", tag("i", class_="key outline"), "outline of the truth"), class_="legend")


def _legend_of_errors() -> Markup:
    kinds = (MISSED, "missed"), (INVENTED, "invented"), (OTHER, "another class")
    return tag("p", *(tag("span", tag("i", class_="key", style=f"background:rgb{colour}"), name) for colour, name in kinds), class_="legend")


def _card(material: Material, rank: str, number: int, dice: float) -> Markup:
    assert material.evaluation is not None
    case, name = material.cases[number], material.evaluation.cases[number].case
    heading = tag("p", tag("b", rank), tag("span", f"Dice {score(dice)}", class_="value"), class_="rank")
    try:
        drawing = draw(*_read(case, name, material))
    except SegkitError as error:
        shown, where = note(f"It can't be drawn: {error}"), ""
    else:
        where = drawing.where
        errors = folded("what is wrong", picture(drawing.errors, f"{name}{where}: what was missed, and what was invented"), _legend_of_errors())
        alone = folded("the picture alone", picture(drawing.plain, f"{name}{where}"))
        shown = join([picture(drawing.drawn, f"{name}{where}: what was predicted, and the outline of the truth"), errors, alone])
    told = [tag("span", name, class_="file"), where, *_facts(material.evaluation.cases[number], material.expected_of(number))]
    return tag("article", heading, shown, tag("p", *told, class_="facts"), class_="card")


def _facts(scored: CaseScore, expected: float | None) -> list[object]:
    """Expected Dice; of several classes each one's; what was missed or invented."""
    told: list[object] = [] if expected is None else [f"; expected Dice {score(expected)}"]
    classes = scored.classes.items()
    if len(classes) > 1:
        each = ", ".join(f"{name} {score(one.scores['dice'])}" for name, one in classes)
        told.append(f"; {each}")
    missed = [name for name, one in classes if one.truth_px and not one.prediction_px]
    invented = [name for name, one in classes if one.prediction_px and not one.truth_px]
    return told + [f"; {', '.join(names)} {what}" for names, what in ((missed, "missed"), (invented, "invented")) if names]


def _read(case: Case, name: str, material: Material) -> tuple[Image, Indices, Indices]:
    """The picture, the prediction and the truth, on the picture's grid."""
    assert material.evaluation is not None
    if sum(other.case == name for other in material.evaluation.cases) > 1:
        raise PairingError(f"several scored cases are called {name}, and test/masks knows but their names")
    data, labels = material.config.data, material.config.data.make_labels()
    image, truth = load_pair(case, data, labels)
    path = _mask_of(name, material.masks, mask_suffix(image))
    return image, labels.encode(read_mask(path, like=image, settings=data.read), str(path)), truth.indices


def _mask_of(name: str, folder: Path, suffix: str) -> Path:
    """Named without the picture's ending, or with it where a.png and a.jpg were two pictures."""
    full = folder / f"{name}{suffix}"
    return full if full.exists() else folder / PurePath(name).with_name(f"{stem(PurePath(name))}{suffix}")


def draw(image: Image, prediction: Indices, truth: Indices) -> Drawing:
    """A picture, or the slice of a volume on which most pixels are wrong.

    Parameters
    ----------
    prediction, truth : (H, W), or (S, H, W) for a volume, class indices

    Raises
    ------
    ShapeError
        The masks are not of the picture's size.
    """
    if not image.shape == prediction.shape == truth.shape:
        raise ShapeError(f"{image.name}: is {image.shape}, its prediction {prediction.shape}, its truth {truth.shape}; expected one size")
    stack, truths = (mask.reshape(-1, *mask.shape[-2:]) for mask in (prediction, truth))
    wrong = ((stack != truths) & (truths != IGNORE_INDEX)).sum(axis=(1, 2))
    shown = wrong if wrong.any() else ((truths > 0) & (truths != IGNORE_INDEX)).sum(axis=(1, 2))
    plane = int(shown.argmax())
    size = _size(image.shape[-2:])
    plain = np.asarray(Pillow.fromarray(to_display(image, [plane])[0]).resize(size, Pillow.Resampling.LANCZOS))
    found, wanted = (np.asarray(Pillow.fromarray(one[plane]).resize(size, Pillow.Resampling.NEAREST)) for one in (stack, truths))
    three = overlay(Image(np.moveaxis(plain, -1, 0)), found, wanted), draw_errors(plain, found, wanted), plain
    why = "the one with most errors" if wrong.any() else "the one that shows most"
    return Drawing(*three, f", slice {plane + 1} of {len(stack)}, {why}") if image.is_volume else Drawing(*three)


def draw_errors(picture: Indices, prediction: Indices, truth: Indices) -> Indices:
    """(H, W, 3): the picture in darker grey, and its wrong pixels in the colours of what is wrong."""
    drawn = np.repeat((0.6 * picture.mean(axis=-1, keepdims=True)).astype(np.uint8), 3, axis=-1)
    wrong = (prediction != truth) & (truth != IGNORE_INDEX)
    drawn[wrong] = OTHER
    drawn[wrong & (prediction == 0)] = MISSED
    drawn[wrong & (truth == 0)] = INVENTED
    return drawn


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) to draw (H, W) at."""
    longer = max(shape)
    scale = min(LONGEST, max(longer, SHORTEST)) / longer
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))
