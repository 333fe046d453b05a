"""data_samples/ is what its script makes, small, and fit to train on."""

from __future__ import annotations

import csv
import gzip
import runpy
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

SETS = {"vessels": {0, 255}, "nerve": {0, 1, 2}, "cells": {0, 255}, "brain": {0, 1, 2}}


def sample_files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix in {".png", ".gz", ".dcm", ".csv"})


def content(path: Path) -> object:
    """What a file holds: compressed bytes depend on the zlib at hand, the pixels do not."""
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return picture.mode, picture.size, picture.getpalette(), picture.tobytes()
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj) if path.suffix == ".gz" else np.asarray(Image.open(path))


def test_the_script_makes_these_very_files(samples: Path, tmp_path: Path) -> None:
    runpy.run_path(str(samples / "make.py"))["make_all"](tmp_path)
    assert sample_files(tmp_path) == sample_files(samples)
    assert [file for file in sample_files(tmp_path) if content(tmp_path / file) != content(samples / file)] == []


def test_all_samples_together_are_at_most_two_megabytes(samples: Path) -> None:
    assert sum((samples / file).stat().st_size for file in sample_files(samples)) <= 2_000_000


@pytest.mark.parametrize("name", SETS)
def test_a_mask_has_the_size_of_its_picture_and_the_set_has_all_its_values(samples: Path, name: str) -> None:
    values = set()
    for row in rows(samples / name):
        mask = pixels(samples / name / row["mask"])
        assert mask.shape == pixels(samples / name / row["image"]).shape[: mask.ndim]
        values |= set(np.unique(mask).tolist())
    assert values == SETS[name]


@pytest.mark.parametrize("name", SETS)
def test_the_manifest_lists_every_file_once_and_splits_no_person(samples: Path, name: str) -> None:
    table = rows(samples / name)
    listed = sorted(row[column] for row in table for column in ("image", "mask"))
    assert listed == [path.as_posix() for path in sample_files(samples / name) if path.suffix != ".csv"]
    people = {split: {row["group"] for row in table if row["split"] == split} for split in ("train", "test")}
    assert people["train"]
    assert people["test"]
    assert not people["train"] & people["test"]


def test_membranes_are_a_fifth_of_each_section_and_darker_than_what_they_enclose(samples: Path) -> None:
    for row in rows(samples / "cells"):
        picture, membrane = pixels(samples / "cells" / row["image"]), pixels(samples / "cells" / row["mask"]) == 0
        assert 0.15 < membrane.mean() < 0.25
        assert picture[membrane].mean() < picture[~membrane].mean() - 30


def test_a_threshold_does_not_find_the_membranes(samples: Path) -> None:
    """Else the set would be no exercise: noise, vesicles and mitochondria are as dark as membranes."""
    for row in rows(samples / "cells"):
        picture, membrane = pixels(samples / "cells" / row["image"]), pixels(samples / "cells" / row["mask"]) == 0
        dices = [2 * (membrane & (picture < grey)).sum() / (membrane.sum() + (picture < grey).sum()) for grey in range(60, 180, 5)]
        assert max(dices) < 0.7


def test_the_brains_differ_in_scale_and_one_is_oblique(samples: Path) -> None:
    volumes = [nibabel.Nifti1Image.from_filename(samples / "brain" / row["image"]) for row in rows(samples / "brain")]
    assert [volume.get_data_dtype() for volume in volumes] == [np.uint8, np.int16, np.float32]
    assert [bool(nibabel.affines.obliquity(volume.affine).max() > 0.1) for volume in volumes] == [False, True, False]
    assert all(volume.header.get_zooms()[2] > 2 * volume.header.get_zooms()[0] for volume in volumes)


def test_the_names_of_the_dicom_series_are_not_in_the_order_of_its_slices(samples: Path) -> None:
    slices = [pydicom.dcmread(path) for path in sorted((samples / "dicom" / "series").glob("*.dcm"))]
    heights_mm = [float(one.ImagePositionPatient[2]) for one in slices]
    assert heights_mm != sorted(heights_mm)
    assert np.allclose(np.diff(sorted(heights_mm)), 5.0)
    assert len({one.SeriesInstanceUID for one in slices}) == 1


def test_the_dicom_slice_is_twelve_bit_with_a_slope_and_names_nobody(samples: Path) -> None:
    one = pydicom.dcmread(samples / "dicom" / "slice.dcm")
    assert (one.BitsStored, one.PhotometricInterpretation, float(one.RescaleSlope)) == (12, "MONOCHROME2", 2.0)
    assert one.pixel_array.shape == (64, 56)
    assert one.pixel_array.max() < 2**12
    assert (str(one.PatientName), one.PatientBirthDate) == ("Anonymous", "")
