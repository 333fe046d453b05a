from __future__ import annotations

import os
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image as Pillow

from segkit.errors import CollisionError, DeniedError, EmptyFileError, FormatError, SettingsError, UnsupportedError, VanishedError
from segkit.io import find_sources, read_image, read_source
from segkit.io.files import Found, Source, _mask_endings, check_outputs, stem


def picture(path: Path, value: int = 0, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((3, 4), value, np.uint8)).save(path, format=kind or ("JPEG" if path.suffix == ".jpg" else "PNG"))
    return path


def outputs(found: Found) -> list[str]:
    return [source.output.as_posix() for source in found.sources]


def dicom(path: Path, series: str = "1.2.3.1", number: int = 1, *, pixels: bool = True) -> Path:
    """A slice of 4x5 zeros at `number` millimetres."""
    pydicom = pytest.importorskip("pydicom")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.MRImageStorage if pixels else pydicom.uid.RTPlanStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"{series}.{number}"
    data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality, data.InstanceNumber = series, "1.2.3", "MR" if pixels else "RTPLAN", number
    if pixels:
        data.ImagePositionPatient, data.ImageOrientationPatient, data.PixelSpacing = [0, 0, number], [1, 0, 0, 0, 1, 0], [0.5, 0.5]
        data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 4, 5, 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.PixelData = np.full((4, 5), number, np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def test_pictures_are_found_in_order_and_named_by_their_stem(tmp_path):
    for name in ("b.jpg", "a.png", "c.tif"):
        picture(tmp_path / name, kind="PNG")
    assert outputs(find_sources(tmp_path)) == ["a", "b", "c"]


def test_nii_gz_is_one_ending(tmp_path):
    (tmp_path / "brain.v2.nii.gz").write_bytes(b"1")
    assert outputs(find_sources(tmp_path)) == ["brain.v2"]


@pytest.mark.parametrize(("name", "without"), [("a.nii.gz", "a"), ("a.NII.GZ", "a"), ("a.b.png", "a.b"), ("1.2.840.113", "1.2.840.113"), ("a", "a")])
def test_the_stem_of_a_name(name, without):
    assert stem(PurePath(name)) == without


def test_a_single_file_is_its_own_source(tmp_path):
    found = find_sources(picture(tmp_path / "a.png", 7))
    assert outputs(found) == ["a"]
    assert found.sources[0].name == str(tmp_path / "a.png")
    assert read_source(found.sources[0]).pixels.max() == 7


def test_subfolders_are_searched_when_asked(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "x" / "y" / "a.png")
    assert outputs(find_sources(tmp_path)) == ["a"]
    assert outputs(find_sources(tmp_path, recursive=True)) == ["a", "x/y/a"]


def test_other_files_are_counted(tmp_path):
    picture(tmp_path / "a.png")
    for name in ("readme.txt", "labels.csv", "notes"):
        (tmp_path / name).write_text("words")
    assert find_sources(tmp_path).ignored == 3


def test_what_systems_leave_behind_is_passed_over_in_silence(tmp_path):
    picture(tmp_path / "a.png")
    for name in (".hidden.png", "._a.png", "Thumbs.db", ".DS_Store", ".segkit-1-ff.tmp.png", "@eaDir/a.png", ".git/a.png", "__MACOSX/a.png"):
        picture(tmp_path / name, kind="PNG")
    found = find_sources(tmp_path, recursive=True)
    assert outputs(found) == ["a"]
    assert found.ignored == 0


def test_a_file_without_an_ending_is_judged_by_its_bytes(tmp_path):
    picture(tmp_path / "scan", kind="PNG")
    (tmp_path / "empty").touch()
    found = find_sources(tmp_path)
    assert outputs(found) == ["scan"]
    assert found.ignored == 1


def test_a_file_that_is_only_named_like_a_picture_stays_for_its_row_among_the_failures(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("words")
    (tmp_path / "c.png").touch()
    (tmp_path / "d.webp").write_bytes(b"RIFF\x10\0\0\0WEBPVP8 ")
    (tmp_path / "e.dcm").write_text("words")
    found = find_sources(tmp_path)
    assert outputs(found) == ["a", "b", "c", "d", "e"]
    for source, error in zip(found.sources[1:], (FormatError, EmptyFileError, FormatError, FormatError), strict=True):
        with pytest.raises(error, match=source.name):
            read_source(source)


def test_a_broken_link_stays_for_its_row(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(VanishedError, match="a.png: no such file"):
        read_source(find_sources(tmp_path).sources[0])


def test_a_ring_of_links_ends(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "deeper").symlink_to(tmp_path)
    found = find_sources(tmp_path, recursive=True)
    assert outputs(found) == ["a"]
    assert found.ignored == 1


def test_a_link_that_leads_to_itself_is_a_failure(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "b.png")
    found = find_sources(tmp_path)
    assert outputs(found) == ["a"]
    assert found.failures[0][0] == tmp_path / "b.png"


def test_a_linked_file_is_read(tmp_path):
    picture(tmp_path / "x" / "a.png", 7)
    (tmp_path / "b.png").symlink_to(tmp_path / "x" / "a.png")
    assert read_source(find_sources(tmp_path).sources[0]).pixels.max() == 7


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_block(tmp_path):
    picture(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    found = find_sources(tmp_path)
    assert outputs(found) == ["a"]
    assert found.ignored == 1


def test_the_folder_of_the_results_is_left_out(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "out" / "a_mask.png")
    assert outputs(find_sources(tmp_path, recursive=True, exclude=tmp_path / "x" / ".." / "out")) == ["a"]
    assert outputs(find_sources(tmp_path, recursive=True, exclude=tmp_path / "elsewhere")) == ["a", "out/a_mask"]


def test_results_beside_their_pictures_are_refused(tmp_path):
    picture(tmp_path / "a.png")
    with pytest.raises(SettingsError, match="is the folder of the pictures and of the results; choose another"):
        find_sources(tmp_path, exclude=tmp_path)


@pytest.mark.parametrize("names", [("a.png", "a.jpg"), ("a.png", "A.png"), ("\u00e9.png", "e\u0301.jpg")])
def test_two_results_of_one_name_are_refused(tmp_path, names):
    for name in names:
        picture(tmp_path / name)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk takes the two names for one")
    with pytest.raises(CollisionError, match="would both be written as .*; rename one of each pair, or put them into two folders") as caught:
        find_sources(tmp_path)
    assert all(name in str(caught.value) for name in names)


def test_up_to_five_pairs_of_one_name_are_told_at_once(tmp_path):
    for number in range(1, 8):
        for ending in ("png", "jpg"):
            picture(tmp_path / f"{number}.{ending}")
    with pytest.raises(CollisionError) as caught:
        find_sources(tmp_path)
    assert str(caught.value).count("would both be written as") == 5
    assert f"{tmp_path / '1.jpg'} and {tmp_path / '1.png'} would both be written as 1.png; " in str(caught.value)
    assert "5.png; and 2 more pairs; rename one of each pair" in str(caught.value)


def test_masks_that_end_otherwise_are_no_collision(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.tif", kind="TIFF")
    for name in ("a.nii", "a.nii.gz"):
        (tmp_path / name).write_bytes(b"cut short")
    found = find_sources(tmp_path)
    assert outputs(found) == ["a"] * 4
    assert sorted(_mask_endings(source) for source in found.sources) == [(".nii",), (".nii.gz",), (".png",), (".tif",)]
    with pytest.raises(CollisionError, match="would both be written as a;"):
        check_outputs(found.sources, beside=True)


def test_a_mask_beside_a_folder_of_its_name_collides(tmp_path):
    picture(tmp_path / "in" / "a.PNG" / "b.jpg", kind="JPEG")
    picture(tmp_path / "in" / "a.jpg", kind="JPEG")
    with pytest.raises(CollisionError, match=r"a\.jpg would be written as a\.png, which is a folder of other results; rename"):
        find_sources(tmp_path / "in", recursive=True)
    (tmp_path / "in" / "a.jpg").unlink()
    assert outputs(find_sources(tmp_path / "in", recursive=True)) == ["a.PNG/b"]


def test_a_file_whose_mask_could_end_either_way_collides(tmp_path):
    """A single DICOM slice gets a PNG, one of several frames NIfTI."""
    picture(tmp_path / "a.png")
    dicom(tmp_path / "a.dcm")
    with pytest.raises(CollisionError, match=r"a\.png and .*a\.dcm would both be written as a\.png"):
        find_sources(tmp_path)


def test_what_its_bytes_do_not_tell_the_name_of_a_file_does(tmp_path):
    for name, endings in (("a.tif", (".tif",)), ("a.jpg", (".png",)), ("a", (".png", ".tif", ".nii", ".nii.gz"))):
        assert _mask_endings(Source((tmp_path / name,), PurePath("a"))) == endings
    assert _mask_endings(Source((tmp_path / "1.dcm", tmp_path / "2.dcm"), PurePath("a"))) == (".nii.gz",)


def test_the_same_name_in_two_folders_is_no_collision(tmp_path):
    picture(tmp_path / "x" / "a.png")
    picture(tmp_path / "y" / "a.png")
    assert outputs(find_sources(tmp_path, recursive=True)) == ["x/a", "y/a"]


@pytest.mark.parametrize(("recursive", "deeper"), [(False, "; for its subfolders add --recursive"), (True, "")])
def test_nothing_found(tmp_path, recursive, deeper):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(SettingsError, match=r"no pictures found \(looked for \.png, .*\.nii\.gz, .*; 1 other files\)" + deeper + "$"):
        find_sources(tmp_path, recursive=recursive)


def test_no_such_folder(tmp_path):
    with pytest.raises(VanishedError, match="no such file or folder"):
        find_sources(tmp_path / "gone")


def deny(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    original = os.scandir

    def scandir(path: object) -> object:
        if path == folder:
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_may_not_be_listed_is_a_failure_and_the_rest_goes_on(tmp_path, monkeypatch):
    picture(tmp_path / "x" / "a.png")
    picture(tmp_path / "b.png")
    deny(monkeypatch, tmp_path / "x")
    found = find_sources(tmp_path, recursive=True)
    assert outputs(found) == ["b"]
    assert [(path, type(error)) for path, error in found.failures] == [(tmp_path / "x", DeniedError)]


def test_the_folder_itself_may_not_be_listed(tmp_path, monkeypatch):
    deny(monkeypatch, tmp_path)
    with pytest.raises(DeniedError, match="permission denied"):
        find_sources(tmp_path)


@pytest.mark.parametrize("name", ["two words.png", "-x.png", "new\nline.png", "\U0001f52c.png", os.fsdecode(b"\xff.png")])
def test_odd_names_are_found_and_read(tmp_path, name):
    try:
        picture(tmp_path / "a.png", 7).rename(tmp_path / name)
    except OSError:
        pytest.skip("this disk does not take such a name")
    assert read_source(find_sources(tmp_path).sources[0]).pixels.max() == 7


# DICOM ---------------------------------------------------------------------------------------------------------------


def test_the_files_of_a_series_are_one_source_named_like_their_folder(tmp_path):
    for number in (3, 1, 2):
        dicom(tmp_path / "patient" / f"IM{number}.dcm", number=number)
    found = find_sources(tmp_path, recursive=True)
    assert outputs(found) == ["patient"]
    assert found.sources[0].name == str(tmp_path / "patient")
    assert read_source(found.sources[0]).pixels[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_the_input_may_be_the_folder_of_the_series_itself(tmp_path):
    for number in (1, 2):
        dicom(tmp_path / "patient" / f"IM{number}", number=number)
    assert outputs(find_sources(tmp_path / "patient")) == ["patient"]
    assert read_image(tmp_path / "patient").shape == (2, 4, 5)


def test_several_series_in_a_folder_are_numbered(tmp_path):
    for series in (1, 2):
        for number in (1, 2):
            dicom(tmp_path / "patient" / f"{series}-{number}.dcm", f"1.2.3.{series}", number)
    assert outputs(find_sources(tmp_path / "patient")) == ["patient_series1", "patient_series2"]
    assert outputs(find_sources(tmp_path, recursive=True)) == ["patient_series1", "patient_series2"]


def test_a_series_of_one_file_is_named_like_the_file(tmp_path):
    for number in (1, 2):
        dicom(tmp_path / f"xray{number}.dcm", f"1.2.3.{number}", number)
    found = find_sources(tmp_path)
    assert outputs(found) == ["xray1", "xray2"]
    assert read_source(found.sources[0]).shape == (4, 5)


def test_dicom_without_pixels_is_counted_as_another_file(tmp_path):
    dicom(tmp_path / "a.dcm")
    dicom(tmp_path / "plan.dcm", "1.2.3.9", pixels=False)
    found = find_sources(tmp_path)
    assert outputs(found) == ["a"]
    assert found.ignored == 1


def test_names_that_are_long_numbers_have_no_ending(tmp_path):
    dicom(tmp_path / "1.2.840.10008.1")
    assert outputs(find_sources(tmp_path)) == ["1.2.840.10008.1"]


def test_a_folder_of_several_pictures_is_no_image(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    with pytest.raises(UnsupportedError, match="is a folder of 2 pictures, not one DICOM series; name one of its files"):
        read_image(tmp_path)


def test_who_waits_is_told_how_many_were_found_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segkit.io.files._TOLD_EVERY", 2)
    for name in "abcde":
        picture(tmp_path / f"{name}.png")
    told: list[int] = []
    find_sources(tmp_path, tell=told.append)
    assert told == [0, 2, 4]
