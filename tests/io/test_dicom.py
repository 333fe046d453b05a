from __future__ import annotations

import io
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG4HP41,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    RTPlanStorage,
    SegmentationStorage,
    generate_uid,
)

from segkit.errors import (
    CodecError,
    CorruptFileError,
    EmptyContentError,
    EmptyFileError,
    FormatError,
    ReadError,
    ShapeError,
    TooLargeError,
    UnsupportedError,
    VanishedError,
)
from segkit.io import dicom
from segkit.io.dicom import read, read_series, series_of
from segkit.io.nifti import read_values
from segkit.io.origin import ReadSettings

SETTINGS = ReadSettings()
SERIES = generate_uid(entropy_srcs=["series"])
PATIENT = "Doe^Jane"

# Rows run to the patient's left and a little up, columns to the back: oblique, in LPS.
ROW, COLUMN = (0.8, 0.0, 0.6), (0.0, 1.0, 0.0)
NORMAL = np.cross(ROW, COLUMN)


def load(path: Path) -> Any:
    """As nibabel sees it."""
    return nib.load(path)


def numbered(shape: tuple[int, ...], dtype: Any = np.uint16) -> np.ndarray[Any, Any]:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def data_set(pixels: np.ndarray[Any, Any], **tags: Any) -> Dataset:
    """(H, W), (H, W, 3), or the same with frames in front; `tags` are added or, with None, taken away."""
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    rows, columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID, data.Modality = CTImageStorage, generate_uid(), SERIES, "CT"
    data.PatientName, data.PatientID = PATIENT, "4711"
    data.Rows, data.Columns, data.SamplesPerPixel = rows, columns, 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    if pixels.ndim > (3 if colour else 2):
        data.NumberOfFrames = len(pixels)
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
    data.PixelSpacing = [0.5, 0.7]
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    data["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for keyword, value in tags.items():
        if value is None:
            del data[keyword]
        else:
            setattr(data, keyword, value)
    return data


def save(path: Path, data: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)
    return path


def stand(height: float, **tags: Any) -> dict[str, Any]:
    """The tags of a slice at that height along the normal."""
    return {"ImagePositionPatient": [float(x) for x in np.array([10, 20, 30]) + height * NORMAL], "ImageOrientationPatient": [*ROW, *COLUMN], **tags}


def series(folder: Path, heights: dict[str, float], **tags: Any) -> list[Path]:
    """A file for each name; its pixels hold its height."""
    return [save(folder / name, data_set(np.full((33, 47), height, np.int16), **stand(height, **tags))) for name, height in heights.items()]


# ---- one slice


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_stored_integers_keep_their_type(tmp_path: Path, dtype: Any, syntax: str) -> None:
    pixels = numbered((33, 47), dtype)
    image = read(save(tmp_path / "a.dcm", data_set(pixels), syntax), SETTINGS)
    assert image.pixels.dtype == dtype
    assert image.spacing_mm == (0.5, 0.7)  # row, column
    assert image.notes == ()
    np.testing.assert_array_equal(image.pixels, pixels[None])


def test_big_endian_pixels_are_read(tmp_path: Path) -> None:
    data = data_set(numbered((33, 47)))
    data.PixelData = numbered((33, 47)).astype(">u2").tobytes()
    image = read(save(tmp_path / "a.dcm", data, ExplicitVRBigEndian), SETTINGS)
    assert image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels[0], numbered((33, 47)))


def test_a_deflated_data_set_is_read(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.dcm", data_set(numbered((33, 47))), DeflatedExplicitVRLittleEndian), SETTINGS)
    np.testing.assert_array_equal(image.pixels[0], numbered((33, 47)))
    assert image.spacing_mm == (0.5, 0.7)


def test_run_lengths_are_read(tmp_path: Path) -> None:
    data = data_set(numbered((33, 47)))
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read(save(tmp_path / "a.dcm", data, RLELossless), SETTINGS).pixels[0], numbered((33, 47)))


def test_bits_above_those_stored_are_cleared_with_the_sign_kept(tmp_path: Path) -> None:
    pixels = np.full((33, 47), 0x7FFF, np.int16)  # of 12 bits all are 1: that is -1
    image = read(save(tmp_path / "a.dcm", data_set(pixels, BitsStored=12, HighBit=11)), SETTINGS)
    assert (image.pixels == -1).all()


@pytest.mark.parametrize("tags", [{}, {"RescaleSlope": "", "RescaleIntercept": ""}, {"RescaleSlope": "1", "RescaleIntercept": "0"}, {"RescaleIntercept": "0"}])
def test_no_rescaling_leaves_the_type(tmp_path: Path, tags: dict[str, str]) -> None:
    assert read(save(tmp_path / "a.dcm", data_set(numbered((33, 47)), **tags)), SETTINGS).pixels.dtype == np.uint16


@pytest.mark.parametrize(("tags", "value"), [({"RescaleSlope": "2", "RescaleIntercept": "-1024"}, -1010), ({"RescaleIntercept": "-1000"}, -993)])
def test_rescaling_makes_float32(tmp_path: Path, tags: dict[str, str], value: float) -> None:
    pixels = read(save(tmp_path / "a.dcm", data_set(np.full((33, 47), 7, np.uint16), **tags)), SETTINGS).pixels
    assert pixels.dtype == np.float32
    assert (pixels == value).all()


def test_a_modality_table_is_applied(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4, 10, 16], [100, 200, 300, 400]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    pixels = np.array([[9, 10, 11], [12, 13, 99]], np.uint8)
    image = read(save(tmp_path / "a.dcm", data_set(pixels, ModalityLUTSequence=Sequence([table]))), SETTINGS)
    assert image.pixels.tolist() == [[[100, 100, 200], [300, 400, 400]]]


@pytest.mark.parametrize(
    ("pixels", "tags", "value"),
    [
        (np.full((3, 5), 5, np.uint16), {"BitsStored": 12, "HighBit": 11}, 4090),  # 4095 - 5
        (np.full((3, 5), 5, np.int16), {}, -6),  # -32768 + 32767 - 5
        (np.full((3, 5), 0, np.uint16), {}, 65535),
        (np.full((3, 5), 5, np.uint8), {"RescaleSlope": "2", "RescaleIntercept": "-100"}, 400),  # lowest -100, highest 410, value -90
    ],
)
def test_monochrome1_is_inverted_after_the_modality_table(tmp_path: Path, pixels: Any, tags: dict[str, Any], value: float) -> None:
    image = read(save(tmp_path / "a.dcm", data_set(pixels, PhotometricInterpretation="MONOCHROME1", **tags)), SETTINGS)
    assert image.pixels.dtype == (np.float32 if "RescaleSlope" in tags else pixels.dtype)
    assert (image.pixels == value).all()
    assert "MONOCHROME1" in image.notes[0]


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_are_three_channels(tmp_path: Path, planar: int) -> None:
    colours = numbered((33, 47, 3), np.uint8)
    data = data_set(colours, PlanarConfiguration=planar)
    data.PixelData = (colours.transpose(2, 0, 1) if planar else colours).tobytes() + b"\0"
    np.testing.assert_array_equal(read(save(tmp_path / "a.dcm", data), SETTINGS).pixels, colours.transpose(2, 0, 1))


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    colours = np.tile(np.array([76, 85, 255], np.uint8), (4, 6, 1))  # pure red
    image = read(save(tmp_path / "a.dcm", data_set(colours, PhotometricInterpretation="YBR_FULL")), SETTINGS)
    assert image.pixels[:, 0, 0] == pytest.approx([254, 0, 0], abs=1)


def test_a_palette_becomes_rgb_and_indices_beyond_it_its_last_colour(tmp_path: Path) -> None:
    palette: dict[str, Any] = {}
    for name, values in (("Red", [0, 255, 9, 1]), ("Green", [0, 0, 9, 2]), ("Blue", [0, 128, 9, 3])):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 8]
        palette[f"{name}PaletteColorLookupTableData"] = bytes(values)
    data = data_set(np.array([[0, 1], [3, 300]], np.uint16), PhotometricInterpretation="PALETTE COLOR", **palette)
    for name in ("Red", "Green", "Blue"):
        data[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
    image = read(save(tmp_path / "a.dcm", data), SETTINGS)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.transpose(1, 2, 0).tolist() == [[[0, 0, 0], [255, 0, 128]], [[1, 2, 3], [1, 2, 3]]]


def test_a_colour_jpeg_becomes_rgb(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Pillow.new("RGB", (48, 32), (200, 100, 50)).save(buffer, "JPEG", quality=95)
    data = data_set(np.zeros((32, 48, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    data.PixelData = encapsulate([buffer.getvalue()])
    image = read(save(tmp_path / "a.dcm", data, JPEGBaseline8Bit), SETTINGS)
    assert image.pixels[:, 16, 24] == pytest.approx([200, 100, 50], abs=3)


def test_float_pixels_without_a_number_are_replaced(tmp_path: Path) -> None:
    values = np.full((3, 5), 2.5, np.float32)
    values[1, 2] = np.nan
    data = data_set(np.zeros((3, 5), np.uint32), PixelData=None, BitsStored=None, HighBit=None, PixelRepresentation=None)
    data.FloatPixelData = values.tobytes()
    image = read(save(tmp_path / "a.dcm", data), SETTINGS)
    assert (image.pixels == 2.5).all()
    assert "1 of 15 pixels were NaN" in image.notes[0]
    data.FloatPixelData = np.full((3, 5), np.inf, np.float32).tobytes()
    with pytest.raises(EmptyContentError, match="none of its 15 pixels is finite"):
        read(save(tmp_path / "b.dcm", data), SETTINGS)


@pytest.mark.parametrize(
    ("tags", "spacing_mm", "words"),
    [
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.1, 0.2]}, (0.1, 0.2), "on the detector"),
        ({"PixelSpacing": None}, None, "spacing is unknown"),
        ({"PixelSpacing": [0, 0]}, None, "spacing is unknown"),
        ({"PixelSpacing": ""}, None, "spacing is unknown"),
    ],
)
def test_where_the_spacing_comes_from_is_said(tmp_path: Path, tags: dict[str, Any], spacing_mm: Any, words: str) -> None:
    image = read(save(tmp_path / "a.dcm", data_set(numbered((33, 47)), **tags)), SETTINGS)
    assert image.spacing_mm == spacing_mm
    assert words in image.notes[0]


def test_the_mask_of_a_single_slice_is_a_png(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.dcm", data_set(numbered((33, 47)))), SETTINGS)
    mask = (numbered((33, 47), np.uint8) % 3).astype(np.uint8)
    assert image.origin.mask_suffix == ".png"
    image.origin.write(mask, tmp_path / "mask.png")
    np.testing.assert_array_equal(np.asarray(Pillow.open(tmp_path / "mask.png")), mask)


# ---- series


def test_slices_are_sorted_by_position_not_by_name_or_number(tmp_path: Path) -> None:
    heights = {"a.dcm": 6.5, "b.dcm": 0.0, "c.dcm": 19.5, "d.dcm": 13.0}
    paths = series(tmp_path, heights)
    for number, path in enumerate(paths):
        data = pydicom.dcmread(path)
        data.InstanceNumber = number
        data.save_as(path)
    image = read_series(paths, SETTINGS)
    assert image.shape == (4, 33, 47)
    assert image.pixels.dtype == np.int16
    assert image.pixels[:, 0, 0, 0].tolist() == [0, 6, 13, 19]
    assert image.spacing_mm == pytest.approx((6.5, 0.5, 0.7))
    assert image.notes == ()
    assert image.source == tmp_path


def test_the_mask_of_a_series_lies_where_its_slices_lie(tmp_path: Path) -> None:
    paths = series(tmp_path, {"a.dcm": 6.0, "b.dcm": 0.0, "c.dcm": 3.0})
    image = read_series(paths, SETTINGS)
    mask = np.zeros(image.shape, np.uint8)
    mask[2, 5, 7] = 1
    assert image.origin.mask_suffix == ".nii.gz"
    image.origin.write(mask, tmp_path / "mask.nii.gz")
    written = load(tmp_path / "mask.nii.gz")
    assert np.argwhere(np.asarray(written.dataobj)).tolist() == [[7, 5, 2]]
    left, back, up = np.array([10, 20, 30]) + 6.0 * NORMAL + 7 * 0.7 * np.array(ROW) + 5 * 0.5 * np.array(COLUMN)
    for affine in (written.get_sform(), written.get_qform()):
        assert (affine @ [7, 5, 2, 1])[:3] == pytest.approx([-left, -back, up], abs=1e-4)
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (1, 1)
    np.testing.assert_array_equal(read_values(tmp_path / "mask.nii.gz", image, SETTINGS), mask)


def test_a_mask_of_thin_slices_is_read_along_them(tmp_path: Path) -> None:
    image = read_series(series(tmp_path, {"a.dcm": 0.0, "b.dcm": 0.1, "c.dcm": 0.2}), SETTINGS)  # the narrowest spacing
    mask = numbered(image.shape, np.uint8)
    image.origin.write(mask, tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read_values(tmp_path / "mask.nii.gz", image, SETTINGS), mask)


def test_a_slice_that_is_missing_is_named_with_the_gap_that_it_leaves(tmp_path: Path) -> None:
    axial = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    paths = [
        save(tmp_path / f"{number}.dcm", data_set(numbered((3, 5)), **axial, ImagePositionPatient=[0, 0, z]))
        for number, z in enumerate([7.5, 2.5, -7.5, -12.5])
    ]
    with pytest.raises(UnsupportedError) as caught:
        read_series(paths, SETTINGS)
    assert str(caught.value) == (
        f"{tmp_path}: between 2.dcm and 1.dcm (at -7.5 and 2.5 mm) lie 10 mm, between other slices 5 mm; a volume has even steps: "
        "bring what is missing, or list the files in a manifest (CSV, column image) to have each segmented by itself"
    )


@pytest.mark.parametrize("missing", range(1, 19))
def test_a_missing_slice_is_found_wherever_it_was(tmp_path: Path, missing: int) -> None:
    planes = [dicom._Plane(f"{index}", index * 2.5 * NORMAL, np.array([ROW, COLUMN]), (0.5, 0.5), None, None) for index in range(20) if index != missing]
    with pytest.raises(UnsupportedError, match=f"between {missing - 1} and {missing + 1} .* lie 5 mm, between other slices 2.5 mm; .*, or do to have"):
        dicom._stack(planes, "series", "do")


@pytest.mark.parametrize(
    ("heights", "notes"),
    [
        ([0.0, 0.6, 1.3, 1.9, 2.5], 1),  # 0.625 mm, rounded to a tenth
        ([0.0, 5.0, 10.2, 15.0], 1),  # 0.2 mm off its place
        ([0.0, 5.0, 10.001, 15.0], 0),
    ],
)
def test_small_unevenness_is_said_and_spread(tmp_path: Path, heights: list[float], notes: int) -> None:
    image = read_series(series(tmp_path, {f"{index}.dcm": height for index, height in enumerate(heights)}), SETTINGS)
    assert image.spacing_mm == pytest.approx((heights[-1] / (len(heights) - 1), 0.5, 0.7))
    assert [note.partition(",")[0] for note in image.notes] == ["the distances between slices are uneven"] * notes


def test_a_slice_that_is_shifted_sideways_is_refused(tmp_path: Path) -> None:
    paths = []
    for index, aside in enumerate([0.0, 1.0, 2.0, 9.0, 10.0]):  # tilted by 1 mm a slice, and once by 7
        tags = {"ImagePositionPatient": [aside, 0.0, 2.0 * index], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        paths.append(save(tmp_path / f"{index}.dcm", data_set(numbered((3, 5)), **tags)))
    with pytest.raises(UnsupportedError, match=r"2\.dcm and 3\.dcm are shifted sideways against each other, by 4\.5 mm more than other slices; a volume"):
        read_series(paths, SETTINGS)  # 7 mm where the mean is 2.5


def test_uneven_frames_are_refused_with_another_way_out(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="between frame 2 and frame 3 .* lie 4 mm, between other slices 2 mm; .* or save its frames as single files"):
        read(save(tmp_path / "a.dcm", enhanced(numbered((3, 33, 47)), [0.0, 2.0, 6.0])), SETTINGS)


def test_a_tilted_gantry_is_said_and_both_ends_lie_right(tmp_path: Path) -> None:
    paths = []
    for index in range(3):
        tags = {"ImagePositionPatient": [0.0, 1.0 * index, 2.0 * index], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        paths.append(save(tmp_path / f"{index}.dcm", data_set(np.full((3, 5), index, np.uint8), **tags)))
    image = read_series(paths, SETTINGS)
    assert image.spacing_mm == pytest.approx((2.0, 0.5, 0.7))
    assert "sheared" in image.notes[0]
    assert (image.origin.affine_mm @ [0, 0, 2, 1])[:3] == pytest.approx([0, -2, 4])


def test_slices_of_different_rescaling_share_one_scale(tmp_path: Path) -> None:
    paths = [
        save(tmp_path / "a.dcm", data_set(np.full((3, 5), 8, np.uint16), **stand(0.0, RescaleSlope="0.5", RescaleIntercept="0"))),
        save(tmp_path / "b.dcm", data_set(np.full((3, 5), 8, np.uint16), **stand(1.0))),
    ]
    image = read_series(paths, SETTINGS)
    assert image.pixels.dtype == np.float32
    assert image.pixels[:, 0, 0, 0].tolist() == [4, 8]


def test_without_positions_the_instance_numbers_tell_the_order(tmp_path: Path) -> None:
    paths = [
        save(tmp_path / f"{name}.dcm", data_set(np.full((3, 5), n, np.uint8), InstanceNumber=n, SliceThickness=4)) for name, n in (("a", 7), ("b", 2), ("c", 5))
    ]
    image = read_series(paths, SETTINGS)
    assert image.pixels[:, 0, 0, 0].tolist() == [2, 5, 7]
    assert image.spacing_mm == (4.0, 0.5, 0.7)
    assert "in the order of their numbers, at the distance that the header claims" in image.notes[0]
    assert image.origin.affine_mm is None
    image.origin.write(np.zeros(image.shape, np.uint8), tmp_path / "m.nii.gz")
    header = load(tmp_path / "m.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)


def test_a_series_of_one_file_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    image = read_series(series(tmp_path, {"a.dcm": 0.0}, SpacingBetweenSlices=-3), SETTINGS)
    assert image.shape == (1, 33, 47)
    assert image.spacing_mm == (3.0, 0.5, 0.7)
    assert image.origin.affine_mm is not None


def test_an_unknown_distance_is_said(tmp_path: Path) -> None:
    image = read_series(series(tmp_path, {"a.dcm": 0.0}), SETTINGS)
    assert image.spacing_mm is None
    assert "distance of pixels or slices is unknown" in image.notes[0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"Rows": 47, "Columns": 33}, ShapeError, r"c\.dcm is 47x33 with 1 channels, a\.dcm is\s+33x47 with 1; a localiser"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, 1]}, ShapeError, r"a\.dcm and c\.dcm look into different directions"),
        ({"PixelSpacing": [1, 1]}, ShapeError, r"a\.dcm and c\.dcm have different pixel spacings"),
        ({"SeriesInstanceUID": "1.2.3"}, UnsupportedError, r"a\.dcm and c\.dcm belong to different series"),
        ({"ImagePositionPatient": stand(1.0)["ImagePositionPatient"]}, UnsupportedError, r"b\.dcm and c\.dcm lie at the same place"),
        ({"ImagePositionPatient": ""}, UnsupportedError, "neither positions nor InstanceNumbers"),
    ],
)
def test_slices_that_make_no_volume_are_named(tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str) -> None:
    paths = series(tmp_path, {"a.dcm": 0.0, "b.dcm": 1.0})
    paths.append(save(tmp_path / "c.dcm", data_set(np.zeros((33, 47), np.int16), **{**stand(2.0), **change})))
    with pytest.raises(error, match=words):
        read_series(paths, SETTINGS)


def test_a_multi_frame_file_is_no_slice(tmp_path: Path) -> None:
    paths = series(tmp_path, {"a.dcm": 0.0})
    paths.append(save(tmp_path / "b.dcm", data_set(numbered((4, 33, 47)))))
    with pytest.raises(UnsupportedError, match=r"b\.dcm holds 4 frames, a volume by itself"):
        read_series(paths, SETTINGS)


def test_no_files_are_no_series() -> None:
    with pytest.raises(ValueError, match="at least one file"):
        read_series([], SETTINGS)


def test_a_series_counts_all_its_slices(tmp_path: Path) -> None:
    paths = series(tmp_path, {"a.dcm": 0.0, "b.dcm": 1.0})
    with pytest.raises(TooLargeError, match="holds 3102 samples"):
        read_series(paths, ReadSettings(max_pixels=2 * 33 * 47 - 1))


# ---- which files belong together


def test_files_are_grouped_by_series_and_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    ours = series(tmp_path, {"a.dcm": 0.0, "b.dcm": 1.0})
    theirs = [save(tmp_path / "c.dcm", data_set(numbered((3, 5)), **stand(0.0, SeriesInstanceUID="1.2.3")))]
    plan = save(tmp_path / "plan.dcm", data_set(numbered((3, 5)), SOPClassUID=RTPlanStorage, Rows=None, Columns=None, PixelData=None))
    mask = save(tmp_path / "seg.dcm", data_set(numbered((3, 5)), SOPClassUID=SegmentationStorage))
    (tmp_path / "readme.txt").write_text("no DICOM")
    assert series_of([ours[1], *theirs, plan, mask, tmp_path / "readme.txt", ours[0]]) == {SERIES: [ours[1], ours[0]], "1.2.3": theirs}


def test_what_is_no_slice_of_a_volume_stands_alone(tmp_path: Path) -> None:
    slices = series(tmp_path, {"a.dcm": 0.0})
    film = save(tmp_path / "film.dcm", data_set(numbered((4, 3, 5))))
    radiographs = [save(tmp_path / f"{name}.dcm", data_set(numbered((3, 5)))) for name in ("left", "right")]
    assert series_of([*slices, film, *radiographs]) == {SERIES: slices, **{str(path): [path] for path in (film, *radiographs)}}


@pytest.mark.parametrize("lacking", [{"ImagePositionPatient": ""}, {"ImageOrientationPatient": ""}, {"ImageOrientationPatient": [0] * 6}])
def test_without_a_position_or_an_orientation_each_slice_stands_alone(tmp_path: Path, lacking: dict[str, Any]) -> None:
    paths = [save(tmp_path / f"{n}.dcm", data_set(numbered((3, 5)), InstanceNumber=n, **{**stand(float(n)), **lacking})) for n in (1, 2)]
    assert series_of(paths) == {str(path): [path] for path in paths}


def test_damaged_files_stand_alone_so_that_reading_them_names_the_fault(tmp_path: Path) -> None:
    damaged, empty, missing = tmp_path / "damaged", tmp_path / "empty.dcm", tmp_path / "missing.dcm"
    shutil.copy(save(tmp_path / "a.dcm", data_set(numbered((3, 5)), Rows=None)), damaged)
    damaged.write_bytes(damaged.read_bytes()[:200])
    empty.touch()
    groups = series_of([damaged, empty, missing])
    assert groups == {str(path): [path] for path in (damaged, empty, missing)}
    for path in groups:
        with pytest.raises(ReadError):
            read(Path(path), SETTINGS)


# ---- several frames


def enhanced(pixels: np.ndarray[Any, Any], heights: list[float], **tags: Any) -> Dataset:
    """Frames with places of their own, and everything else shared."""
    frames = []
    for height in heights:
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = stand(height)["ImagePositionPatient"]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    measures, orientation, values, shared = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.4, 0.6], 9
    orientation.ImageOrientationPatient = [*ROW, *COLUMN]
    values.RescaleSlope, values.RescaleIntercept = 2, -1
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([values])
    groups = {"PerFrameFunctionalGroupsSequence": Sequence(frames), "SharedFunctionalGroupsSequence": Sequence([shared])}
    return data_set(pixels, SOPClassUID=EnhancedMRImageStorage, PixelSpacing=None, **groups, **tags)


def test_frames_are_slices_in_the_order_of_their_positions(tmp_path: Path) -> None:
    pixels = np.stack([np.full((33, 47), frame, np.uint16) for frame in range(3)])
    image = read(save(tmp_path / "a.dcm", enhanced(pixels, [5.0, 0.0, 2.5])), SETTINGS)
    assert image.shape == (3, 33, 47)
    assert image.spacing_mm == pytest.approx((2.5, 0.4, 0.6))
    assert image.pixels[:, 0, 0, 0].tolist() == [1, 3, -1]  # 2 * frame - 1
    assert image.origin.mask_suffix == ".nii.gz"
    assert (image.origin.affine_mm @ [0, 0, 0, 1])[:3] == pytest.approx([-10, -20, 30], abs=1e-4)


def test_frames_at_the_same_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="frame 1 and frame 3 lie at the same place"):
        read(save(tmp_path / "a.dcm", enhanced(numbered((3, 33, 47)), [0.0, 2.5, 0.0])), SETTINGS)


def test_frames_without_positions_keep_their_order(tmp_path: Path) -> None:
    film = numbered((4, 33, 47, 3), np.uint8)
    image = read(save(tmp_path / "a.dcm", data_set(film, ImagePositionPatient=[0, 0, 0])), SETTINGS)
    np.testing.assert_array_equal(image.pixels, film.transpose(0, 3, 1, 2))
    assert image.spacing_mm is None
    assert "at an unknown distance" in image.notes[0]


def test_a_single_frame_is_a_picture(tmp_path: Path) -> None:
    assert not read(save(tmp_path / "a.dcm", enhanced(numbered((1, 33, 47)), [0.0])), SETTINGS).is_volume


# ---- faults


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VanishedError, match=r"a\.dcm: no such file"):
        read(tmp_path / "a.dcm", SETTINGS)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").touch()
    with pytest.raises(EmptyFileError, match="empty"):
        read(tmp_path / "a.dcm", SETTINGS)


def test_a_missing_preamble_is_refused_with_a_hint(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", data_set(numbered((33, 47))))
    path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(FormatError, match="no DICOM preamble .* dcmconv"):
        read(path, SETTINGS)


@pytest.mark.parametrize("left_out", [("Rows", "Columns", "PixelData"), ("PixelData",)])
def test_a_plan_is_not_an_image(tmp_path: Path, left_out: tuple[str, ...]) -> None:
    data = data_set(numbered((33, 47)), SOPClassUID=RTPlanStorage, Modality="RTPLAN", **dict.fromkeys(left_out))
    with pytest.raises(UnsupportedError, match=r"is not an image: it holds a radiation plan \(RTPLAN\), no pixels; leave it out"):
        read(save(tmp_path / "a.dcm", data), SETTINGS)


def test_a_modality_that_may_hold_anything_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"is not an image: it holds no pixels; leave it out"):
        read(save(tmp_path / "a.dcm", data_set(numbered((33, 47)), Modality="DOE", PixelData=None)), SETTINGS)


def test_a_segmentation_object_is_not_a_picture(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"segmentation object \(SEG\)"):
        read(save(tmp_path / "a.dcm", data_set(numbered((33, 47)), SOPClassUID=SegmentationStorage)), SETTINGS)


@pytest.mark.parametrize(
    ("syntax", "package"),
    [(JPEGLosslessSV1, "pylibjpeg pylibjpeg-libjpeg"), (JPEGLSLossless, "pylibjpeg pylibjpeg-libjpeg"), (JPEGExtended12Bit, "pylibjpeg pylibjpeg-libjpeg")],
)
def test_a_missing_codec_is_named(tmp_path: Path, syntax: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_set(numbered((33, 47)), PixelData=encapsulate([b"\xff\xd8\xff\xd9"]), BitsStored=12, HighBit=11)
    decoder = get_decoder(UID(syntax))
    monkeypatch.setattr(decoder, "_available", {name: call for name, call in decoder._available.items() if name == "pillow"})  # also where it is installed
    with pytest.raises(CodecError, match=f"compressed as .*; to read it, pip install {package}"):
        read(save(tmp_path / "a.dcm", data, syntax), SETTINGS)


def test_a_film_can_not_be_decoded(tmp_path: Path) -> None:
    data = data_set(numbered((33, 47, 3), np.uint8), PixelData=encapsulate([b"film"]))
    with pytest.raises(CodecError, match="stored as MPEG-4 .*pydicom can't decode"):
        read(save(tmp_path / "a.dcm", data, MPEG4HP41), SETTINGS)


@pytest.mark.parametrize(("syntax", "words"), [(JPEGBaseline8Bit, "JPEG Baseline"), (JPEG2000Lossless, "JPEG 2000"), (RLELossless, "RLE Lossless")])
def test_damaged_compressed_pixels_are_refused(tmp_path: Path, syntax: str, words: str) -> None:
    data = data_set(numbered((33, 47), np.uint8), PixelData=encapsulate([b"\xff\xd8 damaged for certain"]))
    with pytest.raises(CorruptFileError, match=f"pixel data .{words}.* can't be decoded: damaged"):
        read(save(tmp_path / "a.dcm", data, syntax), SETTINGS)


def test_short_pixel_data_is_refused(tmp_path: Path) -> None:
    data = data_set(numbered((33, 47)), PixelData=bytes(3000))
    with pytest.raises(CorruptFileError, match="should have 3102 bytes, it has 3000"):
        read(save(tmp_path / "a.dcm", data), SETTINGS)


def test_no_decoder_sees_more_frames_than_claimed(tmp_path: Path) -> None:
    data = data_set(numbered((4, 33, 47)), NumberOfFrames=2)
    assert read(save(tmp_path / "a.dcm", data), SETTINGS).shape == (2, 33, 47)


def test_too_many_pixels_are_refused_before_they_are_read(tmp_path: Path) -> None:
    data = data_set(numbered((33, 47)), Rows=60000, Columns=60000, NumberOfFrames=100)
    with pytest.raises(TooLargeError, match="holds 360000000000 samples"):
        read(save(tmp_path / "a.dcm", data), SETTINGS)


@pytest.mark.parametrize("tags", [{"Rows": 0}, {"NumberOfFrames": -3}])
def test_impossible_sizes_are_refused(tmp_path: Path, tags: dict[str, int]) -> None:
    with pytest.raises(CorruptFileError, match="header claims .* frames of .* pixels"):
        read(save(tmp_path / "a.dcm", data_set(numbered((33, 47)), **tags)), SETTINGS)


def test_two_samples_a_pixel_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="2 samples a pixel; expected 1 or 3"):
        read(save(tmp_path / "a.dcm", data_set(numbered((33, 47)), SamplesPerPixel=2)), SETTINGS)


def test_a_colour_space_of_the_past_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="photometric interpretation is HSV"):
        read(save(tmp_path / "a.dcm", data_set(numbered((33, 47, 3), np.uint8), PhotometricInterpretation="HSV")), SETTINGS)


@pytest.mark.parametrize(("slope", "words"), [("0", "slope 0"), ("nan", "slope nan"), ("inf", "slope inf")])
def test_a_slope_that_makes_no_sense_is_refused(tmp_path: Path, slope: str, words: str) -> None:
    path = save(tmp_path / "a.dcm", data_set(numbered((33, 47)), RescaleSlope="777", RescaleIntercept="0"))
    path.write_bytes(path.read_bytes().replace(b"777 ", slope.ljust(4).encode()))
    with pytest.raises(CorruptFileError, match=f"rescaled by {words}"):
        read(path, SETTINGS)


def test_a_file_that_does_not_say_how_it_is_stored_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", data_set(numbered((33, 47))))
    name = struct.pack("<HH2sH", 2, 0x10, b"UI", 20)
    assert name in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(name, struct.pack("<HH2sH", 2, 0x11, b"UI", 20)))
    with pytest.raises(CorruptFileError, match="no TransferSyntaxUID"):
        read(path, SETTINGS)


def deflated(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """A deflated file whose inflated data set has been changed."""
    whole = save(path, data_set(numbered((33, 47))), DeflatedExplicitVRLittleEndian).read_bytes()
    start = 144 + int(pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength)
    deflator = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(whole[:start] + deflator.compress(change(zlib.decompress(whole[start:], -zlib.MAX_WBITS))) + deflator.flush())
    return path


def test_a_deflate_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "_LARGEST_INFLATED", 2**20)
    path = deflated(tmp_path / "a.dcm", lambda content: content + bytes(2**24))
    assert path.stat().st_size < 2**16
    with pytest.raises(TooLargeError, match="deflated data set holds more than 1048576 bytes"):
        read(path, SETTINGS)
    assert series_of([path]) == {str(path): [path]}


def test_a_deflated_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = deflated(tmp_path / "a.dcm", lambda content: content)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptFileError, match="deflated data set is cut short"):
        read(path, SETTINGS)


def test_a_file_cut_short_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", data_set(numbered((33, 47)), **stand(0.0)))
    whole = path.read_bytes()
    for length in [*range(1, 1200, 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ReadError, match=r"a\.dcm: "):
            read(path, SETTINGS)


def test_damage_of_any_kind_is_a_read_error_that_names_no_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.dcm", enhanced(numbered((3, 7, 5)), [0.0, 1.0, 2.0]))
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(132, len(whole), 4):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            told = " ".join(read(path, SETTINGS).notes)
        except (ReadError, ShapeError) as error:
            told = str(error)
        assert "Doe" not in told and "4711" not in told
    assert "Doe" not in "".join(capfd.readouterr())


def test_notes_and_errors_never_quote_a_patient(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", data_set(numbered((33, 47)), RescaleSlope="777", RescaleIntercept="0"))
    path.write_bytes(path.read_bytes().replace(b"777 ", b"Doe^"))
    with pytest.raises(CorruptFileError) as caught:
        read(path, SETTINGS)
    assert "Doe" not in str(caught.value)
    assert caught.value.__suppress_context__
