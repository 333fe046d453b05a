from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from segkit.errors import (
    CodecError,
    CorruptFileError,
    EmptyContentError,
    MaskValuesError,
    MultiPageError,
    ReadError,
    ShapeError,
    TooLargeError,
    UnsupportedError,
)
from segkit.image import Image
from segkit.io import ReadSettings, mask_suffix, read_image, read_mask, tiff, write_mask
from segkit.io.tiff_codecs import deflate_decode, lzw_decode
from segkit.labels import Labels, Mask

H, W = 33, 47
FIRST, ALL = ReadSettings(pages="first"), ReadSettings(pages="all")
LABELS = Labels(("background", "vessel"), (0, 255))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def save(path: Path, array: np.ndarray, **how: object) -> Path:
    how = {"photometric": "minisblack", "metadata": None} | how
    tifffile.imwrite(path, array, **how)
    return path


def pages(path: Path, *arrays: np.ndarray, **how: object) -> Path:
    with tifffile.TiffWriter(path) as file:
        for array in arrays:
            file.write(array, **({"photometric": "minisblack", "metadata": None} | how))
    return path


def by_hand(tags: dict[int, int], *, next_directory: int = 0, data: bytes = b"") -> bytes:
    """A small TIFF: one directory of LONG tags at byte 8, the pixels behind it."""
    tags = dict(sorted(({273: 14 + 12 * (len(tags) + 2), 279: len(data)} | tags).items())) if 273 not in tags else tags
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", next_directory) + data


# numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}, {"bigtiff": True}])
def test_numbers_come_back_as_they_were_written(tmp_path, rng, dtype, order, how):
    if "predictor" in how and dtype == "f4":
        pytest.skip("needs imagecodecs")
    values = (rng.random((H, W)) * 2**30).astype(dtype)
    image = read_image(save(tmp_path / "a.tif", values, byteorder=order, **how))
    assert image.pixels.dtype == np.dtype(dtype)
    assert image.pixels.dtype.isnative
    assert (image.pixels[0] == values).all()
    assert image.notes == ()
    assert image.spacing_mm is None


@pytest.mark.parametrize(("dtype", "becomes"), [("f2", "f4"), ("f8", "f4"), ("i8", "i4"), ("u8", "u4")])
def test_types_that_a_network_does_not_take_are_cast(tmp_path, dtype, becomes):
    image = read_image(save(tmp_path / "a.tif", np.array([[0, 1, 1000]], dtype)))
    assert image.pixels.dtype == np.dtype(becomes)
    assert image.pixels.tolist() == [[[0, 1, 1000]]]


@pytest.mark.parametrize(("dtype", "value"), [("i8", 2**31), ("i8", -(2**31) - 1), ("u8", 2**32), ("f8", 1e39)])
def test_values_beyond_32_bits_are_refused(tmp_path, dtype, value):
    with pytest.raises(UnsupportedError, match="a.tif: its values run from .* beyond what .*32 holds; scale them"):
        read_image(save(tmp_path / "a.tif", np.array([[0, value]], dtype)))


def test_complex_numbers_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="of type complex64; expected whole or floating-point numbers"):
        read_image(save(tmp_path / "a.tif", np.zeros((2, 2), np.complex64)))


def test_numbers_that_are_not_finite_take_the_smallest_finite_value(tmp_path):
    image = read_image(save(tmp_path / "a.tif", np.array([[np.nan, -2, 5], [np.inf, -np.inf, 0]], np.float32)))
    assert image.pixels.tolist() == [[[-2, -2, 5], [-2, -2, 0]]]
    assert image.notes == ("3 of 6 pixels were NaN or infinite; replaced by the smallest finite value, -2",)


def test_no_finite_number_at_all(tmp_path):
    with pytest.raises(EmptyContentError, match="a.tif: none of its 6 pixels is finite"):
        read_image(save(tmp_path / "a.tif", np.full((2, 3), np.nan, np.float32)))


@pytest.mark.parametrize("size", [(1, 1), (1, 47), (33, 1)])
def test_the_narrowest_pictures(tmp_path, size):
    assert read_image(save(tmp_path / "a.tif", np.full(size, 7, np.uint8))).shape == size


def test_lzw_is_read_without_further_packages(tmp_path, rng):
    """Written by another library, in several strips."""
    colours = rng.integers(0, 9, (200, 301, 3), np.uint8)
    Pillow.fromarray(colours).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert (np.moveaxis(read_image(tmp_path / "a.tif").pixels, 0, -1) == colours).all()


def test_lzw_of_16_bits_keeps_its_numbers(tmp_path, rng):
    grey = rng.integers(0, 65536, (H, W), np.uint16)
    Pillow.fromarray(grey).save(tmp_path / "a.tif", compression="tiff_lzw")
    assert (read_image(tmp_path / "a.tif").pixels[0] == grey).all()


def test_lzw_by_hand():
    """Clear (256), 7, the entry that is being made (258), end (257): codes of 9 bits, thus 7 7 7."""
    codes = 0
    for code in (256, 7, 258, 257):
        codes = codes << 9 | code
    assert lzw_decode((codes << 4).to_bytes(5, "big"), out=3) == b"\7\7\7"


def test_deflate_stops_at_what_is_needed():
    bomb = zlib.compress(bytes(10_000_000))
    assert deflate_decode(bomb, out=5) == bytes(5)
    assert deflate_decode(zlib.compress(b"12345"), out=5) == b"12345"
    with pytest.raises(zlib.error, match="incomplete"):
        deflate_decode(zlib.compress(b"12345")[:-3], out=5)


def test_a_missing_decoder_is_named(tmp_path):
    """JPEG 2000, JPEG of 12 bits, and CCITT whose pixels are said to be a transparency mask."""
    if tifffile.tifffile.imagecodecs.__name__ == "imagecodecs":
        pytest.skip("every decoder is here")
    for bits, compression, photometric in ((8, 34712, 1), (12, 7, 1), (1, 4, 4)):
        (tmp_path / "a.tif").write_bytes(by_hand({256: 8, 257: 1, 258: bits, 259: compression, 262: photometric, 277: 1, 278: 1}, data=bytes(12)))
        with pytest.raises(CodecError, match="a.tif: its pixels need a decoder that is not here .*pip install imagecodecs"):
            read_image(tmp_path / "a.tif")


def test_a_compression_that_no_one_reads_is_not_called_damage(tmp_path):
    (tmp_path / "a.tif").write_bytes(by_hand({256: 8, 257: 1, 258: 8, 259: 32809, 262: 1, 277: 1, 278: 1}, data=bytes(8)))
    with pytest.raises(UnsupportedError, match="THUNDERSCAN.* not supported; convert it to an uncompressed TIFF"):
        read_image(tmp_path / "a.tif")


# what Pillow decodes where imagecodecs is not installed ---------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr", "CMYK"])
def test_jpeg_inside_a_tiff_keeps_its_colours(tmp_path, mode):
    rows, columns = np.mgrid[:H, :W]
    colours = np.stack([rows * 5, columns * 4, rows + columns], axis=-1).astype(np.uint8)
    picture = Pillow.fromarray(colours).convert(mode)
    picture.save(tmp_path / "a.tif", compression="jpeg", quality=95)
    image = read_image(tmp_path / "a.tif")
    meant = np.array(picture if mode == "L" else picture.convert("RGB"))
    assert image.shape == (H, W)
    assert np.abs(np.moveaxis(image.pixels, 0, -1).squeeze().astype(int) - meant).max() <= 4
    assert image.notes == (("CMYK colours converted to RGB",) if mode == "CMYK" else ())


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "tiff_lzw"])
@pytest.mark.parametrize("zero_is_white", [True, False])
@pytest.mark.parametrize("orientation", [1, 6])
def test_one_bit_is_the_same_in_every_compression(tmp_path, rng, compression, zero_is_white, orientation):
    bits = Pillow.fromarray(rng.integers(0, 2, (H, W)).astype(bool))
    for name, how in (("plain.tif", {}), ("packed.tif", {"compression": compression})):
        bits.save(tmp_path / name, tiffinfo={262: int(not zero_is_white), 274: orientation}, **how)
    plain, packed = (read_image(tmp_path / name) for name in ("plain.tif", "packed.tif"))
    assert (packed.pixels == plain.pixels).all()
    assert packed.notes == plain.notes
    assert packed.shape == ((H, W) if orientation == 1 else (W, H))
    assert (read_mask(tmp_path / "packed.tif") == read_mask(tmp_path / "plain.tif")).all()


@pytest.mark.parametrize(
    ("bits", "packed", "stored", "seen"),
    [(2, b"\x1b", [0, 1, 2, 3], [0, 85, 170, 255]), (4, b"\x01\x2f", [0, 1, 2, 15], [0, 17, 34, 255])],
)
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("photometric", [0, 1])
def test_pixels_of_2_and_4_bits_are_grey_as_a_picture_and_numbers_as_a_mask(tmp_path, bits, packed, stored, seen, compression, photometric):
    tags = {256: 4, 257: 1, 258: bits, 259: compression, 262: photometric, 277: 1, 278: 1}
    (tmp_path / "a.tif").write_bytes(by_hand(tags, data=packed if compression == 1 else zlib.compress(packed)))
    assert read_mask(tmp_path / "a.tif").tolist() == [stored]
    assert read_image(tmp_path / "a.tif").pixels.tolist() == [[seen if photometric else [255 - value for value in seen]]]


@pytest.mark.parametrize("compression", ["jpeg", "group4"])
def test_compressed_pages_keep_their_order(tmp_path, compression):
    """Page 1 is white in its first column, page 2 in its second, ..."""
    columns = np.eye(32, dtype=np.uint8)[:3, None].repeat(16, axis=1) * 255                     # (3, 16, 32)
    frames = [Pillow.fromarray(page).convert("1" if compression == "group4" else "L") for page in columns]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], compression=compression)
    assert read_image(tmp_path / "a.tif", ALL).pixels[:, 0, 0].argmax(axis=-1).tolist() == [0, 1, 2]
    assert read_image(tmp_path / "a.tif", FIRST).shape == (16, 32)


def test_a_compressed_page_beyond_what_pillow_decodes(tmp_path, monkeypatch):
    Pillow.new("L", (W, H)).save(tmp_path / "a.tif", compression="jpeg")
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UnsupportedError, match="a.tif: has more pixels than can be decoded from such a TIFF; convert it"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["jpeg", "group4"])
def test_a_compressed_tiff_cut_short_or_changed_raises_only_our_own_errors(tmp_path, rng, compression):
    picture = Pillow.fromarray(rng.integers(0, 256, (H, W), np.uint8)).convert("1" if compression == "group4" else "L")
    picture.save(tmp_path / "a.tif", compression=compression)
    whole = (tmp_path / "a.tif").read_bytes()
    for place in range(1, len(whole) - 16, len(whole) // 15):
        for data in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :]):
            (tmp_path / "a.tif").write_bytes(data)
            with contextlib.suppress(ReadError):
                read_image(tmp_path / "a.tif")


# channels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("channels", [2, 3, 5])
def test_channels_are_channels_however_they_are_stored(tmp_path, rng, planar, channels):
    values = rng.integers(0, 65536, (channels, H, W), np.uint16)
    stored = values if planar == "separate" else np.moveaxis(values, 0, -1)
    path = save(tmp_path / "a.tif", stored, planarconfig=planar, extrasamples=["unspecified"] * (channels - 1))
    image = read_image(path)
    assert image.shape == (H, W)
    assert (image.pixels == values).all()


def test_colours_that_are_said_to_be_grey_are_three_channels(tmp_path, rng):
    """Photometric 1 with three samples and no ExtraSamples, as public endoscopy files have it."""
    colours = rng.integers(0, 256, (H, W, 3), np.uint8)
    tags = {256: W, 257: H, 258: 8, 259: 1, 262: 1, 277: 3, 278: H}
    (tmp_path / "a.tif").write_bytes(by_hand(tags, data=colours.tobytes()))
    image = read_image(tmp_path / "a.tif")
    assert (np.moveaxis(image.pixels, 0, -1) == colours).all()


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("kind", "seen"), [("unassalpha", [40, 20, 10]), ("assocalpha", [200, 100, 50]), ("unspecified", [200, 100, 50, 51])])
def test_alpha_is_what_extrasamples_says(tmp_path, planar, kind, seen):
    colours = np.array([[[200, 100, 50, 51], [0, 0, 0, 0]]], np.uint8)
    stored = np.moveaxis(colours, -1, 0) if planar == "separate" else colours
    image = read_image(save(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, extrasamples=[kind]))
    assert image.pixels[:, 0, 0].tolist() == seen
    assert len(image.notes) == (kind != "unspecified")


def test_a_palette_is_colours_as_a_picture_and_numbers_as_a_mask(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 1], colours[:, 2] = (65535, 0, 0), (256 * 38, 256 * 39, 256 * 40)
    path = save(tmp_path / "a.tif", np.array([[0, 1, 2]], np.uint8), photometric="palette", colormap=colours)
    assert read_image(path).pixels[:, 0].T.tolist() == [[0, 0, 0], [255, 0, 0], [38, 39, 40]]
    assert read_mask(path).tolist() == [[0, 1, 2]]


def test_cmyk_becomes_rgb_as_pillow_does_it(tmp_path, rng):
    inks = rng.integers(0, 256, (H, W, 4), np.uint8)
    Pillow.fromarray(inks, mode="CMYK").save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif")
    assert np.abs(np.moveaxis(image.pixels, 0, -1).astype(int) - np.array(Pillow.open(tmp_path / "a.tif").convert("RGB"))).max() <= 1
    assert image.notes == ("CMYK colours converted to RGB",)


@pytest.mark.parametrize(("dtype", "stored", "seen"), [("u1", [0, 1, 255], [255, 254, 0]), ("u2", [0, 65535], [65535, 0]), ("i2", [-32768, 0], [32767, -1])])
def test_white_as_zero_is_inverted_for_a_picture_not_for_a_mask(tmp_path, dtype, stored, seen):
    path = save(tmp_path / "a.tif", np.array([stored], dtype), photometric="miniswhite")
    image = read_image(path)
    assert image.pixels.tolist() == [[seen]]
    assert image.notes == ("stored with 0 as white: inverted",)
    assert read_mask(path).tolist() == [stored]


def test_white_as_zero_means_nothing_for_floating_point_numbers(tmp_path):
    image = read_image(save(tmp_path / "a.tif", np.array([[0.5, 2]], np.float32), photometric="miniswhite"))
    assert image.pixels.tolist() == [[[0.5, 2]]]
    assert "left as stored" in image.notes[0]


def test_one_bit_is_black_and_white_as_a_picture_and_0_and_1_as_a_mask(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[True, False, True]]))
    image = read_image(path)
    assert image.pixels.tolist() == [[[255, 0, 255]]]
    assert image.notes == ("grey values of 1 bit scaled to 0..255",)
    assert read_mask(path).tolist() == [[1, 0, 1]]


def test_colours_of_no_plain_meaning_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="of kind CIELAB with 3 samples in a pixel; convert"):
        read_image(save(tmp_path / "a.tif", np.zeros((4, 4, 3), np.uint8), photometric="cielab"))


def test_a_palette_that_is_missing(tmp_path):
    (tmp_path / "a.tif").write_bytes(by_hand({256: 2, 257: 1, 258: 8, 259: 1, 262: 3, 277: 1, 278: 1}, data=b"\0\1"))
    with pytest.raises(CorruptFileError, match="its palette is missing"):
        read_image(tmp_path / "a.tif")


# pages ---------------------------------------------------------------------------------------------------------------


def test_several_pages_are_refused_unless_asked_for(tmp_path, rng):
    stack = rng.integers(0, 256, (3, H, W), np.uint8)
    path = save(tmp_path / "a.tif", stack)
    with pytest.raises(MultiPageError, match="a.tif: holds 3 pages where one is expected; choose --pages first, or --pages all"):
        read_image(path)
    assert (read_image(path, FIRST).pixels == stack[:1]).all()
    assert (read_image(path, ALL).pixels[:, 0] == stack).all()


def test_one_page_is_a_picture_also_where_all_are_wanted(tmp_path):
    assert not read_image(save(tmp_path / "a.tif", np.zeros((H, W), np.uint8)), ALL).is_volume


@pytest.mark.parametrize("settings", [FIRST, ALL])
@pytest.mark.parametrize("axes", ["TZCYX", "ZCYX", "CZYX", "ZYXC", "CYX", "TYX"])
@pytest.mark.parametrize("kind", ["ome", "shaped", "imagej"])
def test_axes_that_are_named_are_channels_or_pages(tmp_path, rng, kind, axes, settings):
    sizes = {"T": 2, "Z": 3, "C": 4, "Y": 5, "X": 7}
    if (kind, axes) in (("imagej", "CZYX"), ("imagej", "ZYXC"), ("ome", "ZYXC")):
        pytest.skip("this kind does not know this order")
    values = rng.integers(0, 256, [sizes[axis] for axis in axes], np.uint8)
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": axes}, imagej=kind == "imagej", ome=kind == "ome")
    order = [axis for axis in axes if axis in "TZ"] + [axis for axis in "CYX" if axis in axes]
    expected = values.transpose([axes.index(axis) for axis in order]).reshape(-1, 4 if "C" in axes else 1, 5, 7)
    image = read_image(path, settings)
    is_stack = settings is ALL and len(expected) > 1
    assert (image.pixels == (expected if is_stack else expected[0])).all()
    assert image.pixels.ndim == (4 if is_stack else 3)


def test_pages_of_unequal_size_are_no_stack(tmp_path):
    path = pages(tmp_path / "a.tif", np.zeros((3, 4), np.uint8), np.ones((5, 6), np.uint8))
    with pytest.raises(MultiPageError, match=r"its pages differ in channels, size or type \(1 x 3x4 uint8, 1 x 5x6 uint8\); choose --pages first"):
        read_image(path, ALL)
    assert read_image(path, FIRST).shape == (3, 4)


def test_pages_keep_their_order_whatever_their_compression(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for value, compression in enumerate([None, "zlib", None, "zlib"]):
            file.write(np.full((3, 4), value, np.uint8), compression=compression, photometric="minisblack", metadata=None)
    assert read_image(tmp_path / "a.tif", ALL).pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_a_thumbnail_is_no_page(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((H, W), np.uint8), photometric="minisblack", metadata=None)
        file.write(np.zeros((3, 4), np.uint8), photometric="minisblack", metadata=None, subfiletype=1)
    assert read_image(tmp_path / "a.tif").shape == (H, W)


OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image ID="Image:0">'
    '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="7" SizeY="5" SizeC="1" SizeZ="2" SizeT="1">'
    '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{}</Pixels></Image></OME>'
)


def test_an_ome_tiff_that_names_another_file_gives_only_its_own_pages(tmp_path):
    here, there = ('<TiffData IFD="0" FirstZ="{}" PlaneCount="1"><UUID FileName="{}.ome.tif">urn:uuid:{}</UUID></TiffData>' for _ in range(2))
    save(tmp_path / "b.ome.tif", np.full((5, 7), 2, np.uint8))
    path = save(tmp_path / "a.ome.tif", np.full((5, 7), 1, np.uint8), description=OME.format(here.format(0, "a", 1) + there.format(1, "b", 2)))
    assert read_image(path, ALL).pixels.tolist() == np.ones((1, 5, 7)).tolist()


def test_pages_that_are_described_but_missing_are_not_read_as_zeros(tmp_path):
    data = '<TiffData IFD="0" FirstZ="0" PlaneCount="1"/>'
    path = save(tmp_path / "a.ome.tif", np.ones((5, 7), np.uint8), description=OME.format(data))
    with pytest.raises(CorruptFileError, match="describes pages that it does not hold"):
        read_image(path, ALL)


def test_strips_that_were_never_written_are_not_read_as_zeros(tmp_path):
    path = save(tmp_path / "a.tif", np.ones((64, 64), np.uint8), rowsperstrip=16)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["StripByteCounts"].overwrite([1024, 1024, 0, 0])
    with pytest.raises(CorruptFileError, match="holds 2 of 4 strips or tiles of its pixels, it was cut short"):
        read_image(path)


def test_many_planes_behind_one_directory_as_imagej_writes_them(tmp_path, rng):
    stack = rng.integers(0, 256, (3, 5, 7), np.uint8)
    path = save(tmp_path / "a.tif", stack[0], description="ImageJ=1.53k\nimages=3\nslices=3\n")
    path.write_bytes(path.read_bytes() + stack[1:].tobytes())
    assert (read_image(path, ALL).pixels[:, 0] == stack).all()
    assert (read_image(path, FIRST).pixels[0] == stack[0]).all()


# spacing and orientation ---------------------------------------------------------------------------------------------


def test_the_physical_size_of_ome_is_the_spacing(tmp_path):
    size = {"axes": "ZYX", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "mm", "PhysicalSizeZ": 2000}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((2, 5, 7), np.uint8), photometric="minisblack", metadata=size)
    assert read_image(tmp_path / "a.ome.tif", ALL).spacing_mm == pytest.approx((2, 0.5, 0.00025))
    assert read_image(tmp_path / "a.ome.tif", FIRST).spacing_mm == pytest.approx((0.5, 0.00025))


def test_the_resolution_of_imagej_is_the_spacing_where_a_unit_is_given(tmp_path):
    stack = np.zeros((2, 5, 7), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(4, 2), metadata={"axes": "ZYX", "unit": "um", "spacing": 3})
    assert read_image(tmp_path / "a.tif", ALL).spacing_mm == pytest.approx((0.003, 0.0005, 0.00025))
    tifffile.imwrite(tmp_path / "b.tif", stack, imagej=True, resolution=(4, 2), metadata={"axes": "ZYX"})
    assert read_image(tmp_path / "b.tif", ALL).spacing_mm is None


def test_without_a_distance_between_slices_the_spacing_of_a_stack_is_unknown(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 5, 7), np.uint8), imagej=True, resolution=(4, 2), metadata={"axes": "TYX", "unit": "mm"})
    assert read_image(tmp_path / "a.tif", ALL).spacing_mm is None
    assert read_image(tmp_path / "a.tif", FIRST).spacing_mm == (0.5, 0.25)


def test_a_resolution_in_dots_per_inch_is_no_spacing(tmp_path):
    path = save(tmp_path / "a.tif", np.zeros((3, 4), np.uint8), resolution=(254, 254), resolutionunit="inch")
    assert read_image(path).spacing_mm is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_is_undone_for_the_mask(tmp_path, rng, orientation):
    stored = rng.integers(0, 2, (H, W), np.uint8)
    image = read_image(save(tmp_path / "a.tif", stored, extratags=[(274, 3, 1, orientation, True)]))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    Pillow.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    assert (image.pixels == read_image(tmp_path / "a.png").pixels).all()
    write_mask(Mask(image.pixels[0], LABELS), image, tmp_path / "m.tif")
    assert (tifffile.imread(tmp_path / "m.tif") == stored * 255).all()
    assert (read_mask(tmp_path / "m.tif", image) == image.pixels[0] * 255).all()


# damage --------------------------------------------------------------------------------------------------------------


def encoded(**how: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8), metadata=None, rowsperstrip=16, **how)
    return file.getvalue()


@pytest.mark.parametrize("how", [{}, {"compression": "zlib"}, {"bigtiff": True}])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_file_cut_short_is_corrupt(tmp_path, how, share):
    data = encoded(**how)
    (tmp_path / "a.tif").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CorruptFileError, match="a.tif: .*cut short.*copy it anew"):
        read_image(tmp_path / "a.tif")


def test_damaged_strips_are_noticed(tmp_path):
    data = bytearray(encoded(compression="zlib"))
    data[-100] ^= 4
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(CorruptFileError, match="a.tif: damaged or cut short"):
        read_image(tmp_path / "a.tif")


def test_damaged_lzw_is_noticed(tmp_path):
    file = io.BytesIO()
    Pillow.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)).save(file, format="TIFF", compression="tiff_lzw")
    data = bytearray(file.getvalue())
    data[8:60] = b"\xff" * 52
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(CorruptFileError, match="a.tif: damaged or cut short"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("how", [{"rowsperstrip": 16}, {"rowsperstrip": 16, "compression": "zlib"}, {"bigtiff": True}, {"tile": (16, 16)}])
def test_no_damage_raises_anything_but_our_own_errors(tmp_path, how):
    """Each byte of the directory set to something else."""
    rng, whole = np.random.default_rng(2), save(tmp_path / "a.tif", np.ones((64, 64), np.uint8), **how).read_bytes()
    for place in range(4, min(300, len(whole))):
        data = bytearray(whole)
        data[place] = rng.integers(256)
        (tmp_path / "a.tif").write_bytes(data)
        try:
            read_image(tmp_path / "a.tif", ReadSettings(max_pixels=10**6, pages="first"))
        except OSError as error:
            assert type(error).__module__ == "segkit.errors", (place, error)


def test_a_ring_of_pages_ends_in_an_error(tmp_path):
    (tmp_path / "a.tif").write_bytes(by_hand({256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}, next_directory=8, data=b"\7"))
    with pytest.raises(CorruptFileError, match="its list of pages runs in a ring"):
        read_image(tmp_path / "a.tif")


def test_too_many_pages_end_in_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "MAX_PAGES", 3)
    path = pages(tmp_path / "a.tif", *[np.zeros((2, 2), np.uint8)] * 4)
    with pytest.raises(TooLargeError, match="holds more than 3 pages; split the file"):
        read_image(path, ALL)


def test_a_tiff_without_pages(tmp_path):
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHI", b"II", 42, 0))
    with pytest.raises(CorruptFileError, match="holds no page with a size"):
        read_image(tmp_path / "a.tif")


def test_a_claim_of_far_too_much_is_refused_by_the_header(tmp_path):
    (tmp_path / "a.tif").write_bytes(by_hand({256: 60_000, 257: 60_000, 258: 8, 259: 1, 262: 1, 277: 1, 278: 60_000}, data=b"\0"))
    with pytest.raises(TooLargeError, match="holds 3600000000 samples, more than the 268435456 allowed"):
        read_image(tmp_path / "a.tif")


def test_the_limit_counts_all_pages_that_are_wanted(tmp_path):
    path = save(tmp_path / "a.tif", np.zeros((3, H, W), np.uint8))
    assert read_image(path, ReadSettings(pages="first", max_pixels=H * W)).shape == (H, W)
    with pytest.raises(TooLargeError, match=f"holds {3 * H * W} samples"):
        read_image(path, ReadSettings(pages="all", max_pixels=3 * H * W - 1))


def test_samples_of_an_unknown_size_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(by_hand({256: 2, 257: 1, 258: 7, 259: 1, 262: 1, 277: 1, 278: 1, 339: 3}, data=b"\0\0\0"))
    with pytest.raises(UnsupportedError, match="its samples are of 7 bits"):
        read_image(tmp_path / "a.tif")


# masks ---------------------------------------------------------------------------------------------------------------


def test_a_mask_of_floating_point_numbers_that_are_whole(tmp_path):
    values = read_mask(save(tmp_path / "m.tif", np.array([[0, 1, 255]], np.float32)))
    assert values.dtype == np.int64
    assert values.tolist() == [[0, 1, 255]]


@pytest.mark.parametrize(("value", "words"), [(0.5, "0.5"), (np.nan, "nan"), (np.inf, "inf")])
def test_a_mask_of_numbers_that_are_not_whole(tmp_path, value, words):
    with pytest.raises(MaskValuesError, match=f"m.tif: 1 of 3 mask values are not whole numbers, the first is {words}"):
        read_mask(save(tmp_path / "m.tif", np.array([[0, value, 255]], np.float32)))


def test_a_mask_of_complex_numbers(tmp_path):
    with pytest.raises(MaskValuesError, match="the mask is of type complex64"):
        read_mask(save(tmp_path / "m.tif", np.zeros((2, 2), np.complex64)))


def test_a_mask_of_several_different_channels(tmp_path, rng):
    with pytest.raises(MaskValuesError, match="the mask has 5 different channels"):
        read_mask(save(tmp_path / "m.tif", rng.integers(0, 9, (H, W, 5), np.uint8), planarconfig="contig", extrasamples=["unspecified"] * 4))


def test_a_stack_and_its_mask_there_and_back(tmp_path, rng):
    image = read_image(save(tmp_path / "a.tif", np.zeros((3, H, W), np.uint8)), ALL)
    indices = rng.integers(0, 2, (3, H, W), np.uint8)
    assert mask_suffix(image) == ".tif"
    write_mask(Mask(indices, LABELS), image, tmp_path / "m.tif")
    with tifffile.TiffFile(tmp_path / "m.tif") as file:
        assert len(file.pages) == 3
        assert file.pages[0].compression == 8
    assert (read_mask(tmp_path / "m.tif", image, ALL) == indices * 255).all()


def test_a_stack_of_coloured_masks_there_and_back(tmp_path, rng):
    image = Image(np.zeros((3, 1, H, W), np.uint8))
    labels = Labels.from_mapping({"background": "#000000", "nerve": "#ff8001"})
    indices = rng.integers(0, 2, (3, H, W), np.uint8)
    assert mask_suffix(image) == ".tif"
    write_mask(Mask(indices, labels), image, tmp_path / "m.tif")
    assert (labels.encode(read_mask(tmp_path / "m.tif", image, ALL)) == indices).all()


def test_a_mask_of_fewer_slices_than_its_stack(tmp_path):
    image = read_image(save(tmp_path / "a.tif", np.zeros((3, H, W), np.uint8)), ALL)
    with pytest.raises(ShapeError, match=r"m\.tif is 2x33x47, its image .*a\.tif is 3x33x47; masks are never resized"):
        read_mask(save(tmp_path / "m.tif", np.zeros((2, H, W), np.uint8)), image, ALL)
