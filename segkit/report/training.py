"""How it was trained: curves, what was chosen on the validation cases, the settings and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segkit.errors import counted
from segkit.report.charts import line_chart
from segkit.report.markup import Markup, figure, folded, join, note, section, table, tag
from segkit.report.material import Material, Training
from segkit.tune import FEWEST_GROUPS

REASONS = {"finished": "as planned", "stopped early": "and ended when it got no better", "interrupted": "and was interrupted"}


def training_section(material: Material) -> Markup:
    lines = [tag("p", line) for training in material.trainings for line in _course(training, len(material.trainings))]
    return section("training", "How it was trained", *lines, _curves(material), *_trial(material), *_start(material), *_chosen(material))


def _course(training: Training, count: int) -> Iterator[str]:
    facts = training.facts
    if facts is None:
        yield f"{training.folder.name}: has no run.json."
        return
    outcome, data, whose = facts.get("outcome"), facts.get("data", {}), f"{training.folder.name}: " if count > 1 else ""
    known = f"{whose}{counted(len(data.get('training', ())), 'case')} to train on, {len(data.get('validation', ()))} to validate on"
    if outcome is None:
        yield f"{known}; it has not ended."
    else:
        took = f"It was trained for {outcome['minutes']:.1f} minutes ({outcome['steps']:,} steps), {REASONS.get(outcome['reason'], outcome['reason'])}"
        best = outcome["best"]
        kept = "No validation mask held any foreground" if best is None else f"The best weights had a validation Dice of {best:.3f}, and were kept"
        yield f"{known}. {took}. {kept}."


def _curves(material: Material) -> Markup:
    """Loss and validation Dice; of one training each class, of folds each fold."""
    there = [training for training in material.trainings if training.log]
    if not there:
        return note("There is no log.csv: the curves are not known.")
    if len(there) == 1:
        dice = {name: there[0].curve(f"dice_{name}") for name in there[0].classes}
        loss = {"training loss": there[0].curve("loss")}
    else:
        dice = {training.folder.name: training.curve("mean_dice") for training in there}
        loss = {training.folder.name: training.curve("loss") for training in there}
    left = figure(line_chart(dice, "step", "Dice", "Dice on the validation cases"), "Dice on the validation cases.", class_="chart")
    right = figure(line_chart(loss, "step", "loss", "Loss on the training patches"), "Loss on the training patches.", class_="chart")
    return tag("div", left, right, class_="charts")


def _trial(material: Material) -> Iterator[Markup]:
    """What was tried before the training."""
    smoke = material.smoke
    if smoke is None:
        yield note("There is no smoke.json: it was not tried before whether a few pictures can be learnt.")
        return
    belonging, troubles = smoke.get("belonging"), [smoke[key] for key in ("fault", "doubt") if smoke.get(key)]
    surely = belonging is not None and not troubles
    known = f" The masks follow what is on the pictures: {belonging:.1f} standard errors more than masks of other pictures would." if surely else None
    yield tag("p", f"Before the training: {smoke['told']}.", known)
    yield from map(note, troubles)


def _start(material: Material) -> Iterator[Markup]:
    """What was kept of the model that it began with."""
    if material.start is None:
        return
    rows = [[name, "starts fresh" if known is None else f"as {known}"] for name, known in material.start["classes"].items()]
    yield table("The model that it began with", ["class", "what it knows"], rows)


def _chosen(material: Material) -> Iterator[Markup]:
    """What was tried on the validation cases, and stored in the model where it was worth it."""
    there = [training for training in material.trainings if training.tuning is not None]
    if not there:
        yield note("There is no tuning.csv: mirror images and tidying were not tried on the validation cases.")
        return
    yield tag("h3", "Chosen on the validation cases")
    several = len(material.trainings) > 1
    rows = [[*([training.folder.name] if several else []), *_step(row)] for training in there for row in training.tuning or ()]
    yield tag("p", _decided([row for training in there for row in training.tuning or ()]))
    header = [*(["fold"] if several else []), "step", "Dice before", "after", "gain", "± error", "patients", ""]
    yield table("Steps that were tried, one on top of the other", header, rows, numbers=range(len(header) - 6, len(header) - 1))


def _decided(rows: Sequence[Mapping[str, str]]) -> str:
    """How many steps were taken; where none was, whether that is because there were too few patients to tell."""
    taken = sum(row["decision"] == "taken" for row in rows)
    usual = [row["step"] for row in rows if row["decision"] == "kept"]
    kept = f" No harm was seen of {', '.join(usual)}, which are usual for such pictures, and so they were kept." if usual else ""
    if taken:
        return f"{taken} of {counted(len(rows), 'step')} {'was' if taken == 1 else 'were'} worth it and stored in the model.{kept}"
    most = max((int(row["groups"]) for row in rows), default=0)
    why = f"with the pictures of {counted(most, 'patient')} a gain may be chance, {FEWEST_GROUPS} are the least"
    gained = "none gained more than it may vary by chance" if most >= FEWEST_GROUPS else why
    return f"No step was worth it: {gained}.{kept or ' The model is used as it was trained.'}"


def _step(row: Mapping[str, str]) -> list[str]:
    numbers = (f"{float(row['dice_before']):.3f}", f"{float(row['dice_after']):.3f}", f"{float(row['gain']):+.4f}", row["standard_error"])
    error = f"{float(numbers[3]):.4f}" if numbers[3] not in ("", "nan") else "–"
    return [row["step"], *numbers[:3], error, row["groups"], row["decision"]]


def settings_section(material: Material) -> Markup:
    """Setting, value, reason, one below the other on a phone."""
    title = "Settings, and why"
    if material.settings is None:
        facts = material.trainings[0].facts
        if facts is None:
            return section("settings", title, note("There is neither settings.json nor run.json: the settings are not known."))
        line = note("There is no settings.json: this run was given its settings, and has no reasons for them.")
        return section("settings", title, line, folded("All settings", _entries(_flat(facts.get("settings", {})))))
    with_reason = [row for row in material.settings if row["reason"]]
    others = [row for row in material.settings if not row["reason"]]
    return section("settings", title, _entries(_rows(with_reason)), folded("Settings that need no reason", _entries(_rows(others))))


def _rows(settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any, str]]:
    return [(row["setting"], row["value"], row["reason"]) for row in settings]


def _entries(rows: Sequence[tuple[str, Any, str]]) -> Markup:
    return tag("dl", *(_entry(*row) for row in rows), class_="settings")


def _entry(key: str, value: Any, reason: str) -> Markup:
    return tag("div", tag("dt", key), tag("dd", spelled(value), class_="value"), tag("dd", reason, class_="why") if reason else None)


def _flat(tree: Mapping[str, Any], room: str = "") -> list[tuple[str, Any, str]]:
    """The settings of run.json by their places."""
    parts = [_flat(value, f"{room}{key}.") if isinstance(value, Mapping) and value else [(f"{room}{key}", value, "")] for key, value in tree.items()]
    return [row for part in parts for row in part]


def spelled(value: Any) -> str:
    """A value as people write it: {"kind": "fixed", "low": 0} -> "kind fixed, low 0".

    >>> spelled([128, 96]), spelled(None), spelled({"tile": [1, 2], "on": True})
    ('128 × 96', 'none', 'tile 1 × 2, on yes')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {spelled(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list):
        between = " × " if len(value) == 2 and all(isinstance(part, int) for part in value) else ", "
        return between.join(map(spelled, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def machine_section(material: Material) -> Markup:
    facts = [training.facts for training in material.trainings if training.facts is not None]
    if not facts:
        return section("machine", "Machine and versions", note("There is no run.json: neither the machine nor the versions are known."))
    first = facts[0]
    minutes = sum(one.get("outcome", {}).get("minutes", 0) for one in facts)
    measured = (material.measurements or {}).get("machine")
    versions = ", ".join(f"{name} {version}" for name, version in first.get("versions", {}).items())
    rows = [
        ("segkit", first.get("segkit"), ""),
        ("versions", versions, ""),
        ("machine", join([measured or first.get("machine", {}).get("device"), "; ", first.get("machine", {}).get("system")]), ""),
        ("numbers", first.get("precision"), ""),
        ("seed", first.get("seed"), ""),
        ("training", f"{minutes:.1f} minutes", ""),
    ]
    return section("machine", "Machine and versions", _entries([row for row in rows if row[1] not in (None, "")]))
