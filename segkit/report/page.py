"""The whole page: what there is, in the order in which somebody asks."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from segkit import __version__
from segkit.dataset import load_pair
from segkit.errors import SegkitError, counted
from segkit.io import write_text
from segkit.report.calibration import calibration_section
from segkit.report.cases import cases_section
from segkit.report.data import data_section, dataset_name
from segkit.report.failures import failures_section
from segkit.report.markup import Markup, join, section, tag
from segkit.report.material import Material, read_run
from segkit.report.scores import headline, scores_section
from segkit.report.sight import Sight, look
from segkit.report.style import CSS
from segkit.report.training import machine_section, settings_section, training_section

FILE = "report.html"

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The page loads nothing and runs nothing, whatever a file name says."""

LINKS = {
    "scores": "Score",
    "cases": "Cases",
    "failures": "Where it fails",
    "calibration": "Confidence",
    "training": "Training",
    "settings": "Settings",
    "data": "Data",
    "use": "Use",
}


def write_report(folder: Path | str) -> Path:
    """Make ``RUN/report.html`` from the files of a run, one file that needs no other; what is not there is said in a plain line.

    Raises
    ------
    VanishedError
        There is no such folder.
    SettingsError
        It is not the folder of a run, or one of its files is broken.
    WriteError
        The page can't be written.
    """
    path = Path(folder) / FILE
    write_text(path, page(read_run(Path(folder))))
    return path


def page(material: Material) -> str:
    """HTML in full."""
    sections = [
        scores_section(material),
        cases_section(material),
        failures_section(material, look_at_cases(material)),
        calibration_section(material),
        training_section(material),
        settings_section(material),
        data_section(material),
        _use(material),
        machine_section(material),
    ]
    links = tag("nav", *(tag("a", name, href=f"#{place}") for place, name in LINKS.items()), aria_label="Parts of this page")
    header = tag("header", tag("p", "segkit report", class_="kicker"), tag("h1", material.title), headline(material), links)
    footer = tag("footer", tag("p", f"Made by segkit {__version__}. Not a medical device."))
    body = tag("body", header, tag("main", *sections), footer)
    return f"<!DOCTYPE html>\n{tag('html', _head(material.title), body, lang='en')}\n"


def _head(title: str) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title}: segkit report"),
        tag("style", Markup(CSS)),
    )


def look_at_cases(material: Material) -> Sequence[Sight] | str:
    """How each scored case looks, or why that can't be seen."""
    if material.evaluation is None:
        return "no case was scored by itself"
    try:
        data = material.config.data
        labels = data.make_labels()
        return [look(*load_pair(case, data, labels)) for case in material.cases]
    except SegkitError as error:
        return str(error)


def _use(material: Material) -> Markup:
    command = f"segkit predict -m {shlex.quote(str(material.folder))} PICTURES -o MASKS"
    limits = tag("ul", *(tag("li", line) for line in _limits(material)))
    return section("use", "How to use it, and where it ends", tag("pre", tag("code", command), tabindex=0), limits)


def _limits(material: Material) -> list[str | Markup]:
    """What nobody should believe of the model."""
    facts = material.trainings[0].facts or {}
    count = len(set().union(*((training.facts or {}).get("data", {}).get("training", ()) for training in material.trainings)))
    known = ", ".join(list(facts.get("settings", {}).get("data", {}).get("labels", {}))[1:]) or "its classes"
    return [
        f"It was trained on {counted(count, 'case')} from {dataset_name(material)}, and knows nothing but {known}. Pictures of another kind, device or "
        "hospital may be segmented worse than these scores say; score some of your own with segkit evaluate first.",
        join(["It is ", tag("b", "not a medical device"), ", nor made for diagnosis or treatment: who knows the anatomy must look at its masks."]),
    ]
