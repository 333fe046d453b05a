"""What may happen to a patch: mirror images, turns, scaling, bending."""

from __future__ import annotations

from collections.abc import Sequence

from segkit.finetune.orientation import FEWEST
from segkit.finetune.recipe import Setting
from segkit.finetune.rules.scale import Scale, is_whole
from segkit.finetune.rules.subject import Subject

ONE_SIDED = 0.8
"""Standard deviations that something lies to one side, from where on a mirror image is not one of the set."""

MANY_ROUNDS = 150
"""Of fewer rounds through the pictures strong changes make a network learn less, not more (docs/decisions/0005-recipes.md)."""


def choose_flips(subject: Subject) -> list[Setting]:
    """Mirror images where no side means anything."""
    settings = []
    for key, words, side in (
        ("horizontal_flip", "left and right", subject.orientation.left_right),
        ("vertical_flip", "top and bottom", subject.orientation.top_bottom),
    ):
        if subject.orientation.cases < FEWEST:
            few = f"fewer than {FEWEST} cases say nothing of {words}"
            usual = (0.5, "which mostly are alike") if key == "horizontal_flip" else (0.0, "which mostly mean something")
            settings.append(Setting(f"augment.{key}", usual[0], f"{few}, {usual[1]}"))
        elif side.effect > ONE_SIDED:
            settings.append(Setting(f"augment.{key}", 0.0, f"{words} mean something here: {side.what} lies to one side, by {side.effect:.1f} deviations"))
        else:
            settings.append(Setting(f"augment.{key}", 0.5, f"{words} are alike in these pictures"))
    return settings


def choose_deformations(subject: Subject, scale: Scale, patch: Setting, flips: Sequence[Setting], rounds: float) -> list[Setting]:
    """Turns, scaling and bending as far as the mirror images let expect; mild ones of pictures that are seen whole, and seldom: `rounds` times each."""
    either, both = any(flip.value for flip in flips), all(flip.value for flip in flips)
    if is_whole(scale, patch) and not subject.is_volumes and rounds < MANY_ROUNDS:
        return _mild(rounds)
    straight = "no picture is taken quite straight"
    why = f"{straight}, and mirror images are of this set" if either else f"{straight}; further would exchange sides that mean something"
    turned = [Setting("augment.affine", 0.8), Setting("augment.rotation", 30 if either else 20, why)]
    shifted = Setting("augment.shift", 0.08, "objects are not always in one place")
    grown = [Setting("augment.scale", [0.75, 1.3], "objects are not always of one size"), shifted]
    soft = subject.is_volumes or (both and not scale.is_shrunk)
    bent = [Setting("augment.elastic", 0.3, "tissue bends"), Setting("augment.elastic_alpha", 30)] if soft else []
    return [*turned, *grown, *bent, Setting("augment.contrast_limit", 0.25, "devices differ in brightness and contrast, and so do their settings")]


def _mild(rounds: float) -> list[Setting]:
    """What a network that sees little can still learn through."""
    return [
        Setting("augment.affine", 0.6, f"each picture is seen only about {max(1, round(rounds))} times, too seldom to be known again after large changes"),
        Setting("augment.rotation", 15, "no picture is taken quite straight"),
        Setting("augment.scale", [0.85, 1.18], "objects are not always of one size"),
        Setting("augment.shift", 0.05, "objects are not always in one place"),
        Setting("augment.contrast_limit", 0.15, "devices differ in brightness and contrast, and so do their settings"),
        Setting("augment.blur", 0.0),
        Setting("augment.noise", 0.0),
    ]


def count_rounds(subject: Subject, batch: Setting, minutes: float, seconds: float) -> float:
    """Patches of each training case in the time; `seconds` is what a step takes."""
    return float(60 * minutes / seconds * batch.value / max(1, subject.training))
