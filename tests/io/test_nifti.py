from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from segkit.errors import (
    CorruptFileError,
    EmptyContentError,
    EmptyFileError,
    FormatError,
    MaskValuesError,
    SettingsError,
    ShapeError,
    TooLargeError,
    UnsupportedError,
    VanishedError,
    WriteError,
)
from segkit.image import Image
from segkit.io import read_mask
from segkit.io.nifti import GEOMETRY, RGB, NiftiOrigin, read, read_values
from segkit.io.origin import ReadSettings

SETTINGS = ReadSettings()

# 0.5 x 2 x 0.7 mm, turned about two axes, the second one running backwards: oblique and flipped.
TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]) @ np.array([[1.0, 0.0, 0.0], [0.0, 0.28, -0.96], [0.0, 0.96, 0.28]])
OBLIQUE = nib.affines.from_matvec(TURN * [0.5, -2.0, 0.7], [-91.25, 17.3, 4.125])
STRAIGHT = np.diag([1.0, 1.0, 3.0, 1.0])


def load(path: Path) -> Any:
    """As nibabel sees it."""
    return nib.load(path)


def numbered(shape: tuple[int, ...], dtype: Any = np.int16) -> np.ndarray[Any, Any]:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def save(path: Path, voxels: np.ndarray[Any, Any], affine: Any = STRAIGHT, kind: Any = nib.Nifti1Image, **fields: Any) -> Path:
    """`fields` are set in the header that is on the disk, whatever nibabel thinks of them."""
    nib.save(kind(voxels, affine, dtype=voxels.dtype), path)
    if fields:
        edit(path, **fields)
    return path


def edit(path: Path, **fields: Any) -> None:
    packed = path.name.endswith(".gz")
    data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    kind: Any = nib.Nifti1Header if data[:4] == b"\x5c\x01\0\0" else nib.Nifti2Header
    header = kind(data[: kind.sizeof_hdr], check=False)
    for name, value in fields.items():
        header[name] = value
    changed = header.binaryblock + data[kind.sizeof_hdr :]
    path.write_bytes(gzip.compress(changed) if packed else changed)


# ---- reading


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_voxel_axis_can_run_through_the_slices(tmp_path: Path, axis: int) -> None:
    voxels = numbered((33, 47, 5))
    image = read(save(tmp_path / "a.nii.gz", voxels), ReadSettings(slice_axis=axis))  # type: ignore[arg-type]
    expected = {0: voxels.transpose(0, 2, 1), 1: voxels.transpose(1, 2, 0), 2: voxels.transpose(2, 1, 0)}[axis]
    assert image.pixels.dtype == np.int16
    np.testing.assert_array_equal(image.pixels[:, 0], expected)


def test_a_voxel_is_found_at_slice_row_column(tmp_path: Path) -> None:
    voxels = np.zeros((33, 47, 5), np.uint8)
    voxels[30, 2, 4] = 1
    image = read(save(tmp_path / "a.nii", voxels), SETTINGS)
    assert image.shape == (5, 47, 33)
    assert np.argwhere(image.pixels[:, 0]).tolist() == [[4, 2, 30]]


@pytest.mark.parametrize(("spacing", "axis"), [((1, 1, 1), 2), ((1, 3, 1), 1), ((3, 1, 1), 0), ((2, 2, 1), 1), ((1, 1, 0.9999), 2)])
def test_slices_run_along_the_widest_spacing_and_the_last_axis_among_equals(tmp_path: Path, spacing: tuple[float, ...], axis: int) -> None:
    image = read(save(tmp_path / "a.nii", numbered((7, 9, 11)), np.diag([*spacing, 1])), SETTINGS)
    assert image.origin.slice_axis == axis


def test_a_single_slice_is_a_volume_of_one_however_thin(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((33, 47, 1)), np.diag([2.0, 2.0, 0.5, 1.0])), SETTINGS)
    assert image.shape == (1, 47, 33)
    assert image.spacing_mm == (0.5, 2.0, 2.0)


def test_two_dimensions_are_a_picture(tmp_path: Path) -> None:
    voxels = numbered((33, 47))
    image = read(save(tmp_path / "a.nii", voxels, np.diag([0.5, 2.0, 1.0, 1.0])), SETTINGS)
    assert not image.is_volume
    assert image.spacing_mm == (2.0, 0.5)  # row, column
    np.testing.assert_array_equal(image.pixels[0], voxels.T)


@pytest.mark.parametrize(("unit", "in_mm"), [("micron", 0.001), ("mm", 1.0), ("meter", 1000.0), ("unknown", 1.0)])
def test_spacing_is_in_millimetres_slice_first(tmp_path: Path, unit: str, in_mm: float) -> None:
    code = {"unknown": 0, "meter": 1, "mm": 2, "micron": 3}[unit]
    image = read(save(tmp_path / "a.nii", numbered((3, 4, 5)), np.diag([1.0, 2.0, 4.0, 1.0]), xyzt_units=code), SETTINGS)
    assert image.spacing_mm == pytest.approx((4 * in_mm, 2 * in_mm, 1 * in_mm))


def test_without_qform_and_sform_the_spacing_is_unknown(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((3, 4, 5)), qform_code=0, sform_code=0), SETTINGS)
    assert image.spacing_mm is None
    assert "spacing is unknown" in image.notes[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float32])
def test_types_of_up_to_32_bits_stay(tmp_path: Path, dtype: Any) -> None:
    image = read(save(tmp_path / "a.nii.gz", numbered((3, 4, 5), dtype)), SETTINGS)
    assert image.pixels.dtype == dtype
    assert image.notes == ()


@pytest.mark.parametrize(("dtype", "becomes"), [(np.int64, np.int32), (np.float64, np.float32)])
def test_64_bits_become_32(tmp_path: Path, dtype: Any, becomes: Any) -> None:
    voxels = numbered((3, 4, 5), dtype)
    image = read(save(tmp_path / "a.nii", voxels), SETTINGS)
    assert image.pixels.dtype == becomes
    np.testing.assert_array_equal(image.pixels[:, 0], voxels.transpose(2, 1, 0))


def test_integers_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="beyond what int32 holds"):
        read(save(tmp_path / "a.nii", np.full((3, 4, 5), 2**40, np.int64)), SETTINGS)


def test_scaling_is_applied(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.full((3, 4, 5), 7, np.int16), scl_slope=0.5, scl_inter=-10)
    pixels = read(path, SETTINGS).pixels
    assert pixels.dtype == np.float32
    assert (pixels == -6.5).all()


@pytest.mark.parametrize("fields", [{"scl_slope": 0, "scl_inter": 5}, {"scl_slope": np.nan, "scl_inter": np.nan}, {"scl_slope": 1, "scl_inter": 0}])
def test_no_scaling_leaves_the_type(tmp_path: Path, fields: dict[str, float]) -> None:
    assert read(save(tmp_path / "a.nii", numbered((3, 4, 5)), **fields), SETTINGS).pixels.dtype == np.int16


@pytest.mark.parametrize("fields", [{"scl_slope": np.inf}, {"scl_slope": 2, "scl_inter": np.nan}, {"scl_slope": 1, "scl_inter": -np.inf}])
def test_scaling_that_is_not_finite_is_refused(tmp_path: Path, fields: dict[str, float]) -> None:
    with pytest.raises(CorruptFileError, match="scl_slope .* and scl_inter .* must be finite"):
        read(save(tmp_path / "a.nii", numbered((3, 4, 5)), **fields), SETTINGS)


def test_nan_is_replaced_and_said(tmp_path: Path) -> None:
    voxels = np.full((3, 4, 5), 2.0, np.float32)
    voxels[0, 0, 0] = np.nan
    image = read(save(tmp_path / "a.nii", voxels), SETTINGS)
    assert (image.pixels == 2.0).all()
    assert "1 of 60 pixels were NaN" in image.notes[0]


def test_all_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyContentError, match="none of its 60 pixels is finite"):
        read(save(tmp_path / "a.nii", np.full((3, 4, 5), np.nan, np.float32)), SETTINGS)


def test_rgb_voxels_are_three_channels(tmp_path: Path) -> None:
    colours = numbered((33, 47, 5, 3), np.uint8)
    image = read(save(tmp_path / "a.nii.gz", colours.view(RGB)[..., 0]), SETTINGS)
    assert image.pixels.shape == (5, 3, 47, 33)
    np.testing.assert_array_equal(image.pixels, colours.transpose(2, 3, 1, 0))


def test_opaque_rgba_loses_its_alpha(tmp_path: Path) -> None:
    colours = numbered((3, 4, 5, 4), np.uint8)
    colours[..., 3] = 255
    rgba = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])
    image = read(save(tmp_path / "a.nii", colours.view(rgba)[..., 0]), SETTINGS)
    np.testing.assert_array_equal(image.pixels, colours[..., :3].transpose(2, 3, 1, 0))
    assert "alpha" in image.notes[0]


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="voxels are of type complex64"):
        read(save(tmp_path / "a.nii", numbered((3, 4, 5), np.complex64)), SETTINGS)


def test_an_unknown_data_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="unknown data type 777"):
        read(save(tmp_path / "a.nii", numbered((3, 4, 5)), datatype=777), SETTINGS)


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(">i2"))
    voxels = numbered((3, 4, 5))
    nib.save(nib.Nifti1Image(voxels, STRAIGHT, header), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == b"\0\0\x01\x5c"
    image = read(tmp_path / "a.nii", SETTINGS)
    assert image.pixels.dtype.isnative
    assert image.spacing_mm == (3.0, 1.0, 1.0)
    np.testing.assert_array_equal(image.pixels[:, 0], voxels.transpose(2, 1, 0))


def test_pixels_can_be_written_to(tmp_path: Path) -> None:
    assert read(save(tmp_path / "a.nii", numbered((3, 4, 5))), SETTINGS).pixels.flags.writeable


# ---- faults


def test_several_volumes_are_refused_with_their_shape(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="has shape 3x4x5x2; .*save each volume"):
        read(save(tmp_path / "a.nii", numbered((3, 4, 5, 2))), SETTINGS)


@pytest.mark.parametrize("dim", [[3, -4, 4, 5, 1, 1, 1, 1], [3, 0, 4, 5, 1, 1, 1, 1], [0, 3, 4, 5, 1, 1, 1, 1], [9, 3, 4, 5, 1, 1, 1, 1]])
def test_impossible_dimensions_are_refused(tmp_path: Path, dim: list[int]) -> None:
    with pytest.raises(CorruptFileError, match="impossible dimensions"):
        read(save(tmp_path / "a.nii", numbered((3, 4, 5)), dim=dim), SETTINGS)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_trillions_of_voxels_are_refused_before_any_memory_is_taken(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, numbered((3, 4, 5)), dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    with pytest.raises(TooLargeError, match="holds 27000000000000 samples"):
        read(path, SETTINGS)


def test_colours_count_three_times(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", numbered((3, 4, 5, 3), np.uint8).view(RGB)[..., 0])
    assert read(path, ReadSettings(max_pixels=180)).channels == 3
    with pytest.raises(TooLargeError, match="180 samples, more than the 179"):
        read(path, ReadSettings(max_pixels=179))


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", numbered((3, 4, 5)), dim=[3, 3, 4, 50, 1, 1, 1, 1])
    with pytest.raises(CorruptFileError, match="3x4x50 voxels of int16 need 1200 bytes, it has 120"):
        read(path, SETTINGS)


def test_a_packed_header_that_claims_more_than_gzip_can_pack_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", numbered((3, 4, 5)), dim=[3, 500, 500, 500, 1, 1, 1, 1])
    with pytest.raises(CorruptFileError, match="need 250000000 bytes"):
        read(path, SETTINGS)


@pytest.mark.parametrize("offset", [0, 200, -5, np.inf, np.nan, 2**40])
def test_voxels_that_begin_nowhere_are_refused(tmp_path: Path, offset: float) -> None:
    with pytest.raises(CorruptFileError, match="claims that the voxels begin at byte"):
        read(save(tmp_path / "a.nii", numbered((3, 4, 5)), vox_offset=offset), SETTINGS)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, name: str, kind: Any) -> None:
    whole = save(tmp_path / name, np.random.default_rng(0).integers(0, 999, (5, 7, 3), np.int16), kind=kind).read_bytes()
    for length in [*range(1, len(whole), 23), len(whole) - 1]:
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises((CorruptFileError, FormatError), match="a.nii"):
            read(tmp_path / name, SETTINGS)


def test_a_flipped_bit_fails_the_checksum_of_gzip(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 999, (5, 7, 3), np.int16))
    damaged = bytearray(path.read_bytes())
    damaged[-6] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CorruptFileError, match="gzip stream is cut short or damaged"):
        read(path, SETTINGS)


def test_what_lies_behind_the_voxels_is_not_inflated(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", numbered((3, 4, 5)))
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes() + bytes(2**20)) + b"no gzip, and nobody looks")
    assert read(packed, SETTINGS).shape == (5, 4, 3)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    with pytest.raises(EmptyFileError, match=r"a\.nii: .*empty"):
        read(tmp_path / "a.nii", SETTINGS)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VanishedError, match=r"a\.nii: no such file"):
        read(tmp_path / "a.nii", SETTINGS)


def test_text_is_no_nifti(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_text("slice, row, column\n" * 100)
    with pytest.raises(FormatError, match="does not begin with a NIfTI header"):
        read(tmp_path / "a.nii", SETTINGS)


def test_one_half_of_a_pair_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(numbered((3, 4, 5)), STRAIGHT), tmp_path / "a.img")
    with pytest.raises(UnsupportedError, match="header of a .hdr/.img pair"):
        read(tmp_path / "a.hdr", SETTINGS)


def test_analyze_is_refused(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(numbered((3, 4, 5)), STRAIGHT), tmp_path / "a.img")
    with pytest.raises(FormatError, match="Analyze"):
        read(tmp_path / "a.hdr", SETTINGS)


# ---- there and back


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_mask_has_the_geometry_of_its_image_bit_by_bit(tmp_path: Path, name: str, kind: Any, axis: int) -> None:
    path = save(tmp_path / name, numbered((33, 47, 5)), OBLIQUE, kind, xyzt_units=10, dim_info=57, qform_code=1, sform_code=4, descrip=b"Doe^Jane")
    image = read(path, ReadSettings(slice_axis=axis))  # type: ignore[arg-type]
    mask = (image.pixels[:, 0] % 3).astype(np.uint8)
    out = tmp_path / f"mask{image.origin.mask_suffix}"
    image.origin.write(mask, out)
    before, after = load(path), load(out)
    assert type(after) is kind
    assert image.origin.mask_suffix == name[1:]
    for field in GEOMETRY:
        assert before.header[field].tobytes() == after.header[field].tobytes(), field
    np.testing.assert_array_equal(np.asarray(after.dataobj), numbered((33, 47, 5)) % 3)
    assert after.get_data_dtype() == np.uint8
    assert b"Doe" not in out.read_bytes()
    np.testing.assert_array_equal(read_values(out, image, SETTINGS), mask)


def test_the_header_of_a_mask_on_the_disk_has_no_scaling(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((3, 4, 5)), scl_slope=0.1, scl_inter=3, cal_max=99), SETTINGS)
    image.origin.write(np.ones((5, 4, 3), np.uint8), tmp_path / "mask.nii")
    header = nib.Nifti1Header((tmp_path / "mask.nii").read_bytes()[:348])
    assert [float(header[name]) for name in ("scl_slope", "scl_inter", "cal_min", "cal_max")] == [1, 0, 0, 0]


@pytest.mark.parametrize("shape", [(33, 47), (33, 47, 5), (33, 47, 1), (33, 47, 5, 1), (33, 47, 5, 1, 1)])
def test_to_file_undoes_from_file_for_any_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    voxels = numbered(shape)
    path = save(tmp_path / "a.nii", voxels)
    edit(path, dim=[len(shape), *shape, *[1] * (7 - len(shape))])  # nibabel leaves out what it finds needless
    image = read(path, SETTINGS)
    np.testing.assert_array_equal(image.origin.to_file(image.origin.from_file(voxels)), voxels)
    further = np.stack([voxels, voxels + 1], axis=-1)
    np.testing.assert_array_equal(image.origin.to_file(image.origin.from_file(further)), further)
    image.origin.write(np.ones(image.shape, np.uint8), tmp_path / "mask.nii")
    assert load(tmp_path / "mask.nii").header["dim"].tolist() == [len(shape), *shape, *[1] * (7 - len(shape))]


def test_large_label_values_are_written_as_uint16(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((3, 4, 5))), SETTINGS)
    image.origin.write(np.full((5, 4, 3), 300, np.int64), tmp_path / "mask.nii.gz")
    assert load(tmp_path / "mask.nii.gz").get_data_dtype() == np.uint16
    assert (read_values(tmp_path / "mask.nii.gz", image, SETTINGS) == 300).all()


def test_colours_are_written_as_rgb_and_read_as_numbers(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((3, 4, 5))), SETTINGS)
    colours = np.zeros((5, 4, 3, 3), np.uint8)
    colours[4, 3, 2] = (255, 128, 1)
    image.origin.write(colours, tmp_path / "mask.nii")
    values = read_values(tmp_path / "mask.nii", image, SETTINGS)
    assert values[4, 3, 2] == 0xFF8001
    assert np.count_nonzero(values) == 1


@pytest.mark.parametrize("shape", [(33, 47, 5), (33, 47), (33, 47, 5, 1)])
def test_probabilities_are_the_fourth_dimension(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.nii", numbered(shape), OBLIQUE)
    edit(path, dim=[len(shape), *shape, *[1] * (7 - len(shape))])
    image = read(path, SETTINGS)
    probabilities = np.random.default_rng(0).random((*image.shape, 3), np.float32)
    image.origin.write(probabilities, tmp_path / "p.nii.gz")
    written = load(tmp_path / "p.nii.gz")
    assert written.shape == (*shape[:3], *[1] * (3 - len(shape)), 3)
    assert written.get_data_dtype() == np.float32
    np.testing.assert_array_equal(written.affine, load(path).affine)
    np.testing.assert_array_equal(image.origin.from_file(np.asarray(written.dataobj).reshape(*shape, 3)), probabilities)


def test_the_same_mask_gives_the_same_bytes(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((3, 4, 5))), SETTINGS)
    for name in ("one.nii.gz", "two.nii.gz"):
        image.origin.write(np.ones((5, 4, 3), np.uint8), tmp_path / name)
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (np.zeros((5, 3, 4), np.uint8), ShapeError, "the grid of the file is"),
        (np.zeros((5, 4, 3, 2), np.uint8), ShapeError, "expected one integer a pixel"),
        (np.zeros((5, 4, 3), np.float32), MaskValuesError, "type float32; expected whole numbers"),
        (np.full((5, 4, 3), -1), MaskValuesError, "expected whole numbers from 0 to 65535"),
        (np.full((5, 4, 3), 65536), MaskValuesError, "expected whole numbers from 0 to 65535"),
    ],
)
def test_what_is_no_mask_is_not_written(tmp_path: Path, values: Any, error: type[Exception], words: str) -> None:
    image = read(save(tmp_path / "a.nii", numbered((3, 4, 5))), SETTINGS)
    with pytest.raises(error, match=words):
        image.origin.write(values, tmp_path / "mask.nii")
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_a_mask_is_not_written_under_another_ending(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((3, 4, 5))), SETTINGS)
    with pytest.raises(SettingsError, match=r"mask\.png: .*written as \.nii or \.nii\.gz"):
        image.origin.write(np.zeros((5, 4, 3), np.uint8), tmp_path / "mask.png")


def test_a_folder_in_the_way_is_a_write_error(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((3, 4, 5))), SETTINGS)
    (tmp_path / "mask.nii").mkdir()
    with pytest.raises(WriteError, match=r"mask\.nii: not written"):
        image.origin.write(np.zeros((5, 4, 3), np.uint8), tmp_path / "mask.nii")


# ---- masks beside images


def test_a_mask_follows_the_slice_axis_of_its_image(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((7, 9, 11))), ReadSettings(slice_axis=0))
    voxels = numbered((7, 9, 11), np.uint8) % 4
    mask = save(tmp_path / "m.nii", voxels)
    np.testing.assert_array_equal(read_values(mask, image, SETTINGS), voxels.transpose(0, 2, 1))
    np.testing.assert_array_equal(read_values(mask, None, SETTINGS), voxels.transpose(2, 1, 0))


def test_a_mask_with_a_trailing_one_fits(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((7, 9, 11))), SETTINGS)
    mask = save(tmp_path / "m.nii", np.ones((7, 9, 11), np.uint8))
    edit(mask, dim=[4, 7, 9, 11, 1, 1, 1, 1])
    assert read_values(mask, image, SETTINGS).shape == image.shape


def test_whole_numbers_stored_as_floats_are_integers(tmp_path: Path) -> None:
    voxels = numbered((3, 4, 5), np.float32) % 3
    values = read_values(save(tmp_path / "m.nii.gz", voxels), None, SETTINGS)
    assert values.dtype.kind == "i"
    np.testing.assert_array_equal(values, voxels.transpose(2, 1, 0))


def test_scaled_label_values_are_rounded(tmp_path: Path) -> None:
    path = save(tmp_path / "m.nii", np.full((3, 4, 5), 255, np.uint8), scl_slope=1 / 255, scl_inter=0)
    assert (read_values(path, None, SETTINGS) == 1).all()


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_a_mask_of_no_whole_numbers_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(MaskValuesError, match="60 of 60 mask values are not whole numbers"):
        read_values(save(tmp_path / "m.nii", np.full((3, 4, 5), value, np.float32)), None, SETTINGS)


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((7, 9, 11))), SETTINGS)
    with pytest.raises(ShapeError, match=r"m\.nii has 7x9x10 voxels, its image .*a\.nii has 7x9x11"):
        read_values(save(tmp_path / "m.nii", numbered((7, 9, 10), np.uint8)), image, SETTINGS)
    with pytest.raises(ShapeError, match=r"m\.nii has 7x9x10 voxels, its truth .*a\.nii has 7x9x11"):
        read_mask(tmp_path / "m.nii", image, SETTINGS, like_is="truth")


def test_a_mask_elsewhere_in_space_is_refused(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((7, 9, 11)), OBLIQUE), SETTINGS)
    with pytest.raises(ShapeError, match=r"m\.nii lies on another grid than its image .*a\.nii: same numbers of voxels"):
        read_values(save(tmp_path / "m.nii", numbered((7, 9, 11), np.uint8), np.diag([0.5, 2.0, 0.7, 1.0])), image, SETTINGS)


@pytest.mark.parametrize("shift_mm", [1e-5, 0.2])
def test_a_mask_half_a_voxel_away_at_most_is_accepted(tmp_path: Path, shift_mm: float) -> None:
    image = read(save(tmp_path / "a.nii", numbered((7, 9, 11)), OBLIQUE), SETTINGS)
    moved = OBLIQUE.copy()
    moved[0, 3] += shift_mm  # the smallest voxel edge is 0.5 mm
    assert read_values(save(tmp_path / "m.nii", numbered((7, 9, 11), np.uint8), moved), image, SETTINGS).shape == image.shape


def test_a_mask_in_micrometres_lies_where_its_image_in_millimetres_does(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((7, 9, 11)), OBLIQUE, xyzt_units=2), SETTINGS)
    mask = save(tmp_path / "m.nii", numbered((7, 9, 11), np.uint8), np.diag([1000, 1000, 1000, 1]) @ OBLIQUE, xyzt_units=3)
    assert read_values(mask, image, SETTINGS).shape == image.shape


def test_a_mask_that_does_not_say_where_it_lies_is_accepted(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.nii", numbered((7, 9, 11)), OBLIQUE), SETTINGS)
    mask = save(tmp_path / "m.nii", numbered((7, 9, 11), np.uint8), qform_code=0, sform_code=0)
    assert read_values(mask, image, SETTINGS).shape == image.shape


def test_a_volume_of_one_slice_is_the_mask_of_a_picture(tmp_path: Path) -> None:
    mask = save(tmp_path / "m.nii", numbered((33, 47, 1), np.uint8))
    assert read_values(mask, Image(np.zeros((1, 47, 33))), SETTINGS).shape == (47, 33)


# ---- a grid from an affine


def test_a_grid_from_an_affine_has_both_forms(tmp_path: Path) -> None:
    origin = NiftiOrigin.from_affine((33, 47, 5), OBLIQUE)
    origin.write(np.zeros((5, 47, 33), np.uint8), tmp_path / "m.nii")
    image = load(tmp_path / "m.nii")
    np.testing.assert_allclose(image.get_sform(), OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), OBLIQUE, atol=1e-4)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_a_sheared_grid_has_no_qform() -> None:
    sheared = np.array([[1, 0, 0.3, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    origin = NiftiOrigin.from_affine((3, 4, 5), sheared)
    assert (int(origin.header["qform_code"]), int(origin.header["sform_code"])) == (0, 1)


def test_a_grid_without_an_affine_keeps_its_spacing() -> None:
    origin = NiftiOrigin.from_affine((3, 4, 5), None, (0.5, 0.6, 3.0))
    assert origin.affine_mm is None
    assert [float(size) for size in origin.header.get_zooms()] == pytest.approx([0.5, 0.6, 3.0])


def test_a_grid_too_long_for_version_1_is_version_2() -> None:
    assert isinstance(NiftiOrigin.from_affine((40000, 2, 1), None).header, nib.Nifti2Header)
