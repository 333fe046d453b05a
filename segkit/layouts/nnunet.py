"""nnU-Net: imagesTr/case_0000.png, labelsTr/case.png, a dataset.json that names the classes; splits_final.json where there is one.

Version 2 of the format: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.errors import SettingsError
from segkit.io.files import stem
from segkit.layouts.found import FoundCase, FoundDataset
from segkit.layouts.listing import pictures_in, read_json

NAME = "nnU-Net"
_CHANNEL = re.compile(r"^(.+)_(\d{4})$")


def find(root: Path) -> FoundDataset | None:
    """A folder with imagesTr and labelsTr, or its dataset.json."""
    folder = root if root.is_dir() else root.parent
    if (root.is_file() and root.name != "dataset.json") or not all((folder / name).is_dir() for name in ("imagesTr", "labelsTr")):
        return None
    described = read_json(folder / "dataset.json") if (folder / "dataset.json").is_file() else {}
    if not isinstance(described, dict) or "training" in described:  # the Decathlon's: its own lists are better than names
        return None
    return _Folder(root, folder, described).found()


@dataclass(frozen=True)
class _Folder:
    root: Path
    path: Path
    described: Mapping[str, Any]

    def found(self) -> FoundDataset:
        labels, ignore, notes = self._labels()
        channels = self.described.get("channel_names", self.described.get("modality", {}))
        names = tuple(str(channels[key]) for key in sorted(channels, key=int)) if _is_numbered(channels) else ()
        images, masks = {}, {}
        for part in ("Tr", "Ts"):
            images[part], masks[part] = self._images(part), self._masks(part)
        splits, said = self._splits(bool(masks["Ts"]))
        cases = [
            FoundCase(files, (masks[part][case],), split="test" if part == "Ts" else splits.get(case))
            for part in ("Tr", "Ts")
            for case, files in images[part].items()
            if case in masks[part]
        ]
        lonely = [files[0] for case, files in images["Tr"].items() if case not in masks["Tr"]]
        unlabelled = [files[0] for case, files in images["Ts"].items() if case not in masks["Ts"]]
        masks_alone = [mask for part in masks for case, mask in masks[part].items() if case not in images[part]]
        counted = self._count(images["Tr"], names)
        return FoundDataset(
            self.root, NAME, tuple(cases), labels, ignore, names, (*notes, *said, *counted), tuple(lonely), tuple(masks_alone), tuple(unlabelled)
        )

    def _images(self, part: str) -> dict[str, tuple[Path, ...]]:
        """Case -> its channels; a file without a number is a case of its own."""
        channels: dict[str, list[Path]] = defaultdict(list)
        for file in self._files(f"images{part}"):
            numbered = _CHANNEL.match(stem(file))
            channels[numbered.group(1) if numbered else stem(file)].append(file)
        return {case: tuple(sorted(files)) for case, files in channels.items()}

    def _masks(self, part: str) -> dict[str, Path]:
        return {stem(file): file for file in self._files(f"labels{part}")}

    def _files(self, name: str) -> list[Path]:
        return pictures_in(self.path / name, recursive=False) if (self.path / name).is_dir() else []

    def _labels(self) -> tuple[dict[str, int] | None, int | None, tuple[str, ...]]:
        labels = self.described.get("labels")
        if not isinstance(labels, dict):
            return None, None, ("no dataset.json with labels: the values in the masks speak for themselves",)
        if any(isinstance(value, list) for value in labels.values()):
            return None, None, ("the labels of dataset.json are regions of several values, which overlap; here each value is a class of its own",)
        values = {str(name): _whole(value, f"{self.path / 'dataset.json'}: labels: {name}") for name, value in labels.items()}
        ignore = values.pop("ignore", None)
        return dict(sorted(values.items(), key=lambda item: item[1])), ignore, ()

    def _splits(self, has_test: bool) -> tuple[dict[str, str], tuple[str, ...]]:
        path = self.path / "splits_final.json"
        if not path.is_file():
            return (dict.fromkeys(self._masks("Tr"), "train") if has_test else {}), ()
        folds = read_json(path)
        if not isinstance(folds, list) or not folds or not all(isinstance(fold, dict) and {"train", "val"} <= fold.keys() for fold in folds):
            raise SettingsError(f"{path}: is no list of {{\"train\": [...], \"val\": [...]}}; write it anew or take it out")
        splits = {str(case): split for split in ("train", "val") for case in folds[0][split]}
        return splits, (f"splits_final.json: its first fold of {len(folds)} says what is for training and what for validation",)

    def _count(self, images: Mapping[str, tuple[Path, ...]], names: tuple[str, ...]) -> Iterator[str]:
        expected = self.described.get("numTraining")
        if isinstance(expected, int) and expected != len(images):
            yield f"dataset.json speaks of {expected} cases for training, there are {len(images)}"
        if names and any(len(files) not in (1, len(names)) for files in images.values()):
            yield f"dataset.json names {len(names)} channels, and some cases have another number of files"


def _is_numbered(channels: object) -> bool:
    return isinstance(channels, dict) and all(str(key).isdigit() for key in channels)


def _whole(value: object, place: str) -> int:
    if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
        return int(value)
    raise SettingsError(f"{place}: is {value!r}; expected a whole number")
