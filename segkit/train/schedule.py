"""The learning rate over the budget, be it steps or minutes."""

from __future__ import annotations

import math

from segkit.config import TrainSettings


def progress(step: int, seconds: float, reserve: float, settings: TrainSettings) -> float:
    """0 .. 1 through the budget of steps, or of minutes less the seconds to keep in reserve for the last validation."""
    if settings.minutes is None:
        return min(1.0, step / settings.steps)
    budget = 60 * settings.minutes
    return min(1.0, seconds / max(0.5 * budget, budget - reserve))


def schedule(at: float, settings: TrainSettings) -> float:
    """Share of the full learning rate at 0 .. 1: a straight rise, then a cosine or polynomial (power 0.9) fall that ends at 0 with the budget."""
    if at < settings.warmup_share:
        return max(0.01, at / settings.warmup_share)
    falling = (at - settings.warmup_share) / (1 - settings.warmup_share)
    return float(0.5 * (1 + math.cos(math.pi * falling)) if settings.schedule == "cosine" else (1 - falling) ** 0.9)
