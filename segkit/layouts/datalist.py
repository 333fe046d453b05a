"""JSON lists of pairs: the Medical Segmentation Decathlon's dataset.json, and MONAI's datalists.

Both hold lists of ``{"image": ..., "label": ...}``; the Decathlon's labels map the other way, value -> name.
http://medicaldecathlon.com, https://docs.monai.io/en/stable/data.html#decathlon-datalist
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segkit.errors import SettingsError
from segkit.layouts.found import FoundCase, FoundDataset
from segkit.layouts.listing import read_json

SECTIONS = {"training": "train", "train": "train", "validation": "val", "val": "val", "testing": "test", "test": "test"}
"""Key of a list -> split."""


def find(root: Path) -> FoundDataset | None:
    """Such a .json file, or the folder of a dataset.json."""
    path = root / "dataset.json" if root.is_dir() else root
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    told = read_json(path)
    sections = {"training": told} if isinstance(told, list) else told
    if not isinstance(sections, dict) or not any(_is_list_of_pairs(sections.get(key)) for key in SECTIONS):
        return None
    rows = [(split, item) for key, split in SECTIONS.items() for item in _items(sections.get(key))]
    cases = list(_cases(path, rows))
    splits = {case.split for case in cases}
    labels, said = _labels(sections.get("labels"))
    notes = ["fold 0 of the list is for validation"] if any(isinstance(item, dict) and "fold" in item for _, item in rows) else []
    channels = sections.get("modality", {})
    return FoundDataset(
        root,
        "Decathlon (dataset.json)" if path.name == "dataset.json" else "JSON list of pairs (MONAI datalist)",
        tuple(cases) if len(splits) > 1 else tuple(_without_split(case) for case in cases),
        labels,
        channel_names=tuple(str(name) for name in channels.values()) if isinstance(channels, dict) else (),
        notes=(*notes, *said),
        unpaired_images=tuple(path for split, path in _lonely(path, rows) if split != "test"),
        unlabelled=tuple(path for split, path in _lonely(path, rows) if split == "test"),
    )


def _is_list_of_pairs(items: object) -> bool:
    return isinstance(items, list) and any(isinstance(item, dict) and {"image", "label"} <= item.keys() for item in items)


def _items(items: object) -> list[Any]:
    return items if isinstance(items, list) else []


def _cases(path: Path, rows: list[tuple[str, Any]]) -> Iterator[FoundCase]:
    for split, item in rows:
        if not isinstance(item, dict) or not item.get("label"):
            continue
        images, masks = _paths(item["image"], path), _paths(item["label"], path)
        if len(masks) != 1:
            raise SettingsError(f"{path}: {images[0].name}: has {len(masks)} labels; expected one file")
        known = item.get("group", item.get("patient", item.get("subject")))
        yield FoundCase(images, masks, "" if known is None else str(known), split="val" if item.get("fold") == 0 and split == "train" else split)


def _lonely(path: Path, rows: list[tuple[str, Any]]) -> Iterator[tuple[str, Path]]:
    """Pictures without a label; a list of tests may also hold bare names."""
    for split, item in rows:
        if isinstance(item, str):
            yield split, path.parent / item
        elif isinstance(item, dict) and not item.get("label"):
            yield split, _paths(item.get("image"), path)[0]


def _paths(value: object, path: Path) -> tuple[Path, ...]:
    names: list[Any] = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise SettingsError(f"{path}: {value!r} stands where a file name is expected; an entry is {{\"image\": \"a.png\", \"label\": \"b.png\"}}")
    return tuple(path.parent / name for name in names)


def _labels(told: object) -> tuple[dict[str, int] | None, tuple[str, ...]]:
    """The Decathlon's ``{"0": "background"}`` or the other way round."""
    if not isinstance(told, Mapping) or not told:
        return None, ()
    pairs = [(name, value) if str(value).isdecimal() else (value, name) for name, value in told.items()]
    if not all(str(value).isdecimal() for _, value in pairs) or len({str(name) for name, _ in pairs}) < len(pairs):
        return None, ("the labels of the list are no names with whole numbers: the values in the masks speak for themselves",)
    return dict(sorted(((str(name), int(value)) for name, value in pairs), key=lambda item: item[1])), ()


def _without_split(case: FoundCase) -> FoundCase:
    """One list of all is no split."""
    return FoundCase(case.images, case.masks, case.group)
