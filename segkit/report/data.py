"""What it was trained on: how the cases were divided, and what `segkit check` found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath, PurePosixPath
from typing import Any

from segkit.errors import counted
from segkit.io.files import stem
from segkit.report.markup import Markup, folded, note, section, table, tag
from segkit.report.material import Material

SIDES = {"train": "trained on", "val": "chose the weights", "test": "only scored, at the end"}

UNKNOWN = (
    "Whose the pictures are was not told, so each counted as a patient of its own: pictures of one patient may stand on two sides, and the scores would then "
    "be too good. "
)

FILES_SHOWN = 12

WORDS = {"error": "Error", "warning": "Warning", "note": "Note"}


def data_section(material: Material) -> Markup:
    return section("data", "What it was trained on", *_measured(material), *_divided(material), *_found(material))


def dataset_name(material: Material) -> str:
    """The folder that the data set came in; of a table the one that it lies in."""
    if material.check is None:
        return material.title
    place = PurePath(material.check["dataset"])
    return place.parent.name if place.suffix else place.name


def _measured(material: Material) -> Iterator[Markup]:
    told = (material.measurements or {}).get("measurements")
    if told is None:
        yield note("There is no measurements.json: the data set is not known in numbers.")
        return
    size = " × ".join(_range(told[key]) for key in ("depth", "height", "width") if told.get(key))
    kind = counted(told["volumes"], "volume") if told["volumes"] else "pictures"
    whose = f"of {counted(told['groups'], 'patient')}" if told["groups"] < told["cases"] else "(of as many patients, as far as is known)"
    yield tag("p", f"{counted(told['cases'], 'case')} {whose}, {kind} of {size} pixels, from {dataset_name(material)}.")
    rows = [
        [one["name"], f"{one['pixel_share']:.2%}", f"{one['case_share']:.0%}", f"{one['objects']:,}", f"{one['area_px_median']:,.0f}"]
        for one in told["classes"][1:]
    ]
    yield table("The classes in all masks", ["class", "of the pixels", "of the cases", "objects", "median area, px"], rows, numbers=range(1, 5))


def _range(ends: Mapping[str, float]) -> str:
    return f"{ends['lowest']:,.0f}" if ends["lowest"] == ends["highest"] else f"{ends['lowest']:,.0f}–{ends['highest']:,.0f}"


def _divided(material: Material) -> Iterator[Markup]:
    """How many cases of how many patients on each side."""
    yield tag("h3", "Splits")
    splits = material.trainings[0].splits
    if splits is None:
        yield note("There is no splits.json: how the cases were divided stands in run.json alone.")
        return
    groups = splits.get("groups", {})
    known = are_known(groups)
    rows = [[side, what, len(splits[side]), _patients(splits[side], groups) if known else "–"] for side, what in SIDES.items() if splits.get(side)]
    which = f"The splits of {material.trainings[0].folder.name}; in each fold others validate" if len(material.trainings) > 1 else "The splits"
    yield table(which, ["side", "its cases", "cases", "patients"], rows, numbers=(2, 3))
    yield tag("p", "No patient stands on two sides. " if known else UNKNOWN, " ".join(f"{line[:1].upper()}{line[1:]}." for line in splits.get("notes", ())))
    if splits.get("left_out"):
        left = [tag("li", tag("span", name, class_="file"), f": {why}") for name, why in splits["left_out"].items()]
        yield folded(f"Left out: {counted(len(left), 'case')}", tag("ul", *left))


def are_known(groups: Mapping[str, str]) -> bool:
    """Whether anybody said whose the pictures are: False where every group is but the name of a picture.

    >>> are_known({"images/a.png": "images/a", "images/b.nii.gz": "images/a"}), are_known({"a_0.png": "a"})
    (False, True)
    """
    paths = [PurePosixPath(name) for name in groups]
    own = {name for path in paths for name in (str(path), stem(path), str(path.with_name(stem(path))))}
    return not set(groups.values()) <= own


def _patients(names: Sequence[str], groups: Mapping[str, str]) -> int:
    return len({groups.get(name, name) for name in names})


def _found(material: Material) -> Iterator[Markup]:
    yield tag("h3", "What check found")
    if material.check is None:
        yield note("There is no check.json: the data set was not checked.")
        return
    findings: Sequence[Mapping[str, Any]] = material.check["findings"]
    decided = material.check.get("decided", ())
    yield tag("p", f"Read as {'; '.join([material.check['layout'], *decided])}.")
    if not findings:
        yield tag("p", "Nothing to complain of.")
    yield from map(_finding, findings)


def _finding(finding: Mapping[str, Any]) -> Markup:
    files = [tag("li", name, class_="file") for name in finding["files"][:FILES_SHOWN]]
    more = len(finding["files"]) - len(files)
    listed = [*files, *([tag("li", f"and {more} more, in check.json")] if more > 0 else [])]
    told = tag("p", tag("b", f"{WORDS.get(finding['severity'], finding['severity'])}: "), finding["meaning"], " ", tag("code", finding["code"]))
    names = folded(counted(len(finding["files"]), "file"), tag("ul", *listed)) if files else None
    return tag("div", told, tag("p", finding["repair"], class_="why"), names, class_=f"found {finding['severity']}")
