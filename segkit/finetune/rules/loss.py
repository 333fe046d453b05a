"""What counts: the loss, and how often patches are centred on what is drawn."""

from __future__ import annotations

import math

from segkit.finetune.recipe import Setting
from segkit.finetune.rules.scale import Scale, is_whole
from segkit.finetune.rules.subject import Subject

RARE, VERY_RARE = 0.01, 0.001
"""Share of the pixels below which a class is drawn more often."""


MOST = 0.5
"""Share of the pixels from which on the objects are the rule, and what is between them is what can be missed."""


def choose_loss(subject: Subject, scale: Scale, patch: Setting) -> list[Setting]:
    """Dice of each picture where a patch is one, else of the whole step; the classes weigh alike unless one is hardly there."""
    settings = []
    if is_whole(scale, patch) and not subject.is_volumes:
        settings.append(Setting("loss.batch_dice", False, "each picture counts alike in the score, one with a small object too: so let it in the loss"))
    shares = {one.name: one.pixel_share for one in subject.objects}
    if sum(shares.values()) > MOST:
        told = f"objects cover {sum(shares.values()):.0%}: what is between them is thin and easily missed, so it has a Dice of its own too"
        settings.append(Setting("loss.background", True, told))
    rarest = min(shares, key=shares.__getitem__, default=None)
    if rarest is not None and shares[rarest] < VERY_RARE:
        weights = [1.0, *(round(min(10.0, math.sqrt(RARE / max(shares.get(name, RARE), 1e-9))), 1) for name in subject.labels.foreground)]
        told = f"{rarest} has {shares[rarest]:.2g} of the pixels: by the root of its rarity, ten at most"
        settings.append(Setting("loss.class_weights", [max(1.0, weight) for weight in weights], told))
    return settings


def choose_foreground_share(subject: Subject, scale: Scale, patch: Setting) -> Setting:
    """Patches that are centred on what is drawn."""
    key = "train.foreground_share"
    rarest = min(subject.objects, key=lambda one: one.pixel_share, default=None)
    if is_whole(scale, patch) or rarest is None or rarest.pixel_share >= RARE:
        return Setting(key, 0.33, "a third of the patches is centred on a class, the classes in turn")
    share = 0.67 if rarest.pixel_share < VERY_RARE else 0.5
    return Setting(key, share, f"{rarest.name} has {rarest.pixel_share:.2%} of the pixels: most patches drawn anywhere would lack it")
