"""Masks beside pictures are told by their names, and by nothing else."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from segkit.folder import without_masks
from segkit.io import Source
from segkit.io.files import stem


def sources(*names: str) -> list[Source]:
    return [Source((Path("in") / name,), PurePath(name).with_name(stem(PurePath(name)))) for name in names]


def masks_of(*names: str) -> list[str]:
    """Those that are left out; the others are handed on in their order."""
    pictures, masks = without_masks(sources(*names))
    left_out = [source.key for source in masks]
    assert [source.key for source in pictures] == [name for name in names if name not in left_out]
    return left_out


@pytest.mark.parametrize("mask", ["a_mask.png", "a_MASK.tif", "a-seg.nii.gz", "a_mask_1.png", "a manual2.gif", "a_groundtruth.bmp"])
def test_a_mask_has_the_name_of_a_picture_and_a_word_for_masks_behind_it(mask: str) -> None:
    assert masks_of("a.jpg", mask, "b.jpg") == [mask]


@pytest.mark.parametrize(
    "names",
    [
        ("b.png", "a_mask.png"),                        # no picture a
        ("below/a.png", "a_mask.png"),                  # in another folder
        ("A.png", "a_mask.png"),                        # of another name
        ("a_train.png", "a_mask.png"),
        ("a.png", "a_contrast.png", "a2_mask.png"),     # no word for masks; no picture a2
        ("a.png", "mask_a.png", "amask.png"),
    ],
)
def test_all_other_files_are_pictures(names: tuple[str, ...]) -> None:
    assert masks_of(*names) == []


def test_each_folder_is_looked_at_by_itself() -> None:
    assert masks_of("a.png", "one/a.png", "one/a_mask.png", "two/a_mask.png") == ["one/a_mask.png"]


def test_a_series_is_neither_mask_nor_picture_by_the_name_of_its_folder() -> None:
    series = [Source((Path(f"in/{name}/1.dcm"), Path(f"in/{name}/2.dcm")), PurePath(name)) for name in ("a", "b_mask")]
    given = [*series, *sources("a_mask.nii.gz", "b.nii.gz")]
    assert without_masks(given) == (given, [])


def test_where_no_name_speaks_of_masks_the_sources_are_handed_on_as_they_are() -> None:
    given = tuple(sources("a.png", "b.png"))
    assert without_masks(given)[0] is given
