"""What a person chooses about scores: the tolerance of outlines, and what empty masks count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from segkit.errors import SettingsError

EmptyRule = Literal["leave-out", "perfect", "worst"]


@dataclass(frozen=True)
class ScoreSettings:
    """Part of each `Comparison`, and written into every result.

    Attributes
    ----------
    tolerance : outlines this far apart still agree (nsd); in mm where the spacing is known, else in pixels
    empty : what a number is that empty masks leave undefined: none, so that means leave it out; the best where both masks
        are empty, else the worst; the worst always. `EMPTY_MASKS` says it in full.

    Raises
    ------
    SettingsError
        A tolerance below 0 or not finite, a rule that is not known.
    """

    tolerance: float = 2.0
    empty: EmptyRule = "leave-out"

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise SettingsError(f"tolerance {self.tolerance}: expected a distance of 0 or more, in mm where the spacing is known, else in pixels")
        if self.empty not in get_args(EmptyRule):
            raise SettingsError(f"empty {self.empty!r}: is no rule for empty masks; choose among {', '.join(get_args(EmptyRule))}")


DEFAULT_SETTINGS = ScoreSettings()
