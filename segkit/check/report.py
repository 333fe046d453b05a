"""What a check hands back: what was decided, the set in numbers, and each fault with its files and its repair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from segkit.check.facts import CaseFacts, ImageFacts, MaskFacts
from segkit.check.likeness import Twins
from segkit.check.measurements import Measurements
from segkit.check.values import MaskValues
from segkit.io import ReadSettings
from segkit.layouts import FoundDataset

Severity = Literal["error", "warning", "note"]
"""Training would fail or its scores would lie; it would be worse than it could be; good to know."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One fault, wherever in the set it stands.

    Attributes
    ----------
    code : its name for programs
    meaning : what was found and what it leads to
    repair : what to do
    files : below the data set; a group of files that belong together is one entry, joined by " = "
    fix : what `--fix` does about it; None where a person has to decide
    """

    severity: Severity
    code: str
    meaning: str
    repair: str
    files: tuple[str, ...] = ()
    fix: str | None = None


@dataclass(frozen=True)
class Evidence:
    """All that the rules look at."""

    found: FoundDataset
    facts: tuple[CaseFacts, ...]
    values: MaskValues
    measurements: Measurements | None
    twins: tuple[Twins, ...]

    @cached_property
    def images(self) -> dict[int, ImageFacts]:
        """Of the cases whose picture could be read, by number."""
        return {number: fact.image for number, fact in enumerate(self.facts) if fact.image is not None}

    @cached_property
    def masks(self) -> dict[int, MaskFacts]:
        return {number: fact.mask for number, fact in enumerate(self.facts) if fact.mask is not None}

    @cached_property
    def foreground(self) -> dict[int, float]:
        """Share of the pixels that are foreground."""
        pixels = {number: self.values.pixels(mask) for number, mask in self.masks.items()}
        return {number: float(counts[1:].sum() / max(1, counts.sum())) for number, counts in pixels.items()}

    @cached_property
    def only_value(self) -> str | None:
        """The value, or colour, that every pixel of every mask has; None where there are several, or no masks."""
        held = {f"#{value:06x}" if mask.is_colour else str(value) for mask in self.masks.values() for value in mask.pixels}
        return held.pop() if len(held) == 1 else None

    def image_names(self, numbers: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.found.name(self.found.cases[number].image) for number in numbers)

    def mask_names(self, numbers: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.found.name(self.found.cases[number].masks[0]) for number in numbers)

    def names(self, paths: Iterable[Path]) -> tuple[str, ...]:
        return tuple(map(self.found.name, paths))

    def share(self, count: int) -> str:
        return f"{count} of {len(self.facts)}"


@dataclass(frozen=True)
class CheckReport:
    """The outcome of `segkit.check.examine`.

    Attributes
    ----------
    findings : errors first, then warnings, then notes
    values : what the numbers in the masks mean, and the mapping `labels` for training
    measurements : None where no case could be read
    evidence : what each case looked like, for `write_clean` and for sheets
    """

    dataset: Path
    layout: str
    decided: tuple[str, ...]
    values: MaskValues
    measurements: Measurements | None
    findings: tuple[Finding, ...]
    evidence: Evidence = field(repr=False)
    read: ReadSettings = field(repr=False, default=ReadSettings())

    @property
    def is_fit(self) -> bool:
        """No finding is an error."""
        return not self.of("error")

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def to_json(self) -> dict[str, Any]:
        """Everything that was found, with all names of files."""
        found, values = self.evidence.found, self.values
        return {
            "dataset": str(self.dataset),
            "layout": self.layout,
            "decided": list(self.decided),
            "is_fit": self.is_fit,
            "masks": {
                "kind": values.kind,
                "labels": None if values.labels is None else dict(values.labels),
                "ignore": values.ignore,
                "threshold": values.threshold,
                "are_names_known": values.are_names_known,
            },
            "channel_names": list(found.channel_names),
            "measurements": None if self.measurements is None else asdict(self.measurements),
            "findings": [asdict(finding) for finding in self.findings],
            "twins": [
                {"files": self.evidence.image_names((pair.first, pair.second)), "correlation": pair.correlation, "exact": pair.exact}
                for pair in self.evidence.twins
            ],
        }


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first; of one severity as the rules stand."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def few(names: Sequence[str], shown: int = 4) -> str:
    """The first names, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
