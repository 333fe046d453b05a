from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from segkit.errors import CorruptFileError, MaskValuesError, MultiPageError, SettingsError, ShapeError, TooLargeError, UnsupportedError
from segkit.image import Image
from segkit.io import ReadSettings, mask_suffix, read_image, read_mask, write_mask
from segkit.io.pixels import label_values, whole
from segkit.io.raster_origin import RasterOrigin, as_stored, upright
from segkit.labels import COLOURS, Labels, Mask

H, W = 33, 47
FIRST, ALL = ReadSettings(pages="first"), ReadSettings(pages="all")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def save(path: Path, array: np.ndarray, mode: str | None = None, **how: object) -> Path:
    picture = Pillow.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **how)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *, interlace: int = 0, before: bytes = b"") -> bytes:
    """A PNG by hand: `rows` are the filtered bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def unfiltered(pixels: np.ndarray) -> bytes:
    """(H, W, C) uint16 as rows of filter 0."""
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)


# pictures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif"])
def test_grey_pictures_come_back_as_they_were_written(tmp_path, rng, name):
    grey = rng.integers(0, 256, (H, W), np.uint8)
    image = read_image(save(tmp_path / name, grey))
    assert image.pixels.dtype == np.uint8
    assert image.shape == (H, W)
    assert (image.pixels == grey).all()
    assert image.spacing_mm is None
    assert image.notes == ()


@pytest.mark.parametrize("name", ["a.png", "a.bmp"])
def test_colours_come_back_as_they_were_written(tmp_path, rng, name):
    colours = rng.integers(0, 256, (H, W, 3), np.uint8)
    image = read_image(save(tmp_path / name, colours))
    assert image.pixels.shape == (3, H, W)
    assert (np.moveaxis(image.pixels, 0, -1) == colours).all()


@pytest.mark.parametrize("at_once", [1, 47 * 10, 47 * 33])
@pytest.mark.parametrize("samples", [1, 3])
def test_large_pictures_are_taken_from_pillow_some_rows_at_a_time(tmp_path, rng, monkeypatch, samples, at_once):
    pixels = rng.integers(0, 256, (H, W, samples), dtype=np.uint8)
    monkeypatch.setattr("segkit.io.raster._COPIED_AT_ONCE", at_once)
    read = read_image(save(tmp_path / "a.png", pixels[..., 0] if samples == 1 else pixels)).pixels
    assert np.array_equal(read, np.moveaxis(pixels, -1, 0))


def test_jpeg_is_read_as_pillow_decodes_it(tmp_path, rng):
    path = save(tmp_path / "a.jpg", rng.integers(0, 256, (H, W, 3), np.uint8))
    assert (np.moveaxis(read_image(path).pixels, 0, -1) == np.array(Pillow.open(path))).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 47), (33, 1)])
def test_the_narrowest_pictures(tmp_path, size):
    assert read_image(save(tmp_path / "a.png", np.full(size, 7, np.uint8))).pixels.tolist() == np.full((1, *size), 7).tolist()


def test_grey_of_16_bits_keeps_its_numbers(tmp_path, rng):
    grey = rng.integers(0, 65536, (H, W), np.uint16)
    image = read_image(save(tmp_path / "a.png", grey))
    assert image.pixels.dtype == np.uint16
    assert (image.pixels[0] == grey).all()


@pytest.mark.parametrize(("colour", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_colours_of_16_bits_keep_their_numbers(tmp_path, rng, colour, samples):
    pixels = rng.integers(0, 65536, (H, W, samples)).astype(np.uint16)
    if samples in (2, 4):
        pixels[..., -1] = 65535
    (tmp_path / "a.png").write_bytes(png(W, H, 16, colour, unfiltered(pixels)))
    image = read_image(tmp_path / "a.png")
    assert image.pixels.dtype == np.uint16
    assert (np.moveaxis(image.pixels, 0, -1) == pixels[..., : 3 if samples > 2 else 1]).all()


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_every_filter_of_16_bit_colours_is_undone(tmp_path, rng, kind):
    """The filters as the PNG specification writes them, byte by byte."""
    pixels = rng.integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    raw = pixels.astype(">u2").view(np.uint8).reshape(5, -1).astype(int)
    rows = b""
    for y, row in enumerate(raw):
        rows += bytes([kind])
        for x, value in enumerate(row):
            a = raw[y, x - 6] if x >= 6 else 0
            b = raw[y - 1, x] if y else 0
            c = raw[y - 1, x - 6] if y and x >= 6 else 0
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            rows += bytes([(value - [0, a, b, (a + b) // 2, nearest][kind]) % 256])
    (tmp_path / "a.png").write_bytes(png(7, 5, 16, 2, rows))
    assert (np.moveaxis(read_image(tmp_path / "a.png").pixels, 0, -1) == pixels).all()


@pytest.mark.parametrize("size", [(9, 13), (1, 1), (2, 5), (33, 47)])
def test_interlaced_colours_of_16_bits(tmp_path, rng, size):
    pixels = rng.integers(0, 65536, (*size, 3)).astype(np.uint16)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(unfiltered(part) for y, x, down, right in passes if (part := pixels[y::down, x::right]).size)
    (tmp_path / "a.png").write_bytes(png(size[1], size[0], 16, 2, rows, interlace=1))
    assert (np.moveaxis(read_image(tmp_path / "a.png").pixels, 0, -1) == pixels).all()


def test_one_bit_is_black_and_white_as_a_picture_and_0_and_1_as_a_mask(tmp_path):
    path = save(tmp_path / "a.png", np.array([[True, False, True]]))
    image = read_image(path)
    assert image.pixels.tolist() == [[[255, 0, 255]]]
    assert image.notes == ("grey values of 1 bit scaled to 0..255",)
    assert read_mask(path).tolist() == [[1, 0, 1]]


@pytest.mark.parametrize(("depth", "row", "values", "scaled"), [(2, 0b00_01_10_11, [0, 1, 2, 3], [0, 85, 170, 255]), (4, 0x0F, [0, 15], [0, 255])])
def test_grey_of_2_and_4_bits_is_scaled_as_a_picture_and_plain_as_a_mask(tmp_path, depth, row, values, scaled):
    (tmp_path / "a.png").write_bytes(png(len(values), 1, depth, 0, bytes([0, row])))
    image = read_image(tmp_path / "a.png")
    assert image.pixels[0, 0].tolist() == scaled
    assert f"{depth} bits" in image.notes[0]
    assert read_mask(tmp_path / "a.png")[0].tolist() == values


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.bmp"])
def test_a_palette_is_colours_as_a_picture_and_numbers_as_a_mask(tmp_path, name):
    picture = Pillow.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 38, 38, 38, 255, 0, 0])
    picture.save(tmp_path / name)
    assert read_image(tmp_path / name).pixels[:, 0].T.tolist() == [[0, 0, 0], [38, 38, 38], [255, 0, 0]]
    assert read_mask(tmp_path / name).tolist() == [[0, 1, 2]]


def test_opaque_alpha_is_left_out_with_a_note(tmp_path, rng):
    colours = rng.integers(0, 256, (H, W, 4), np.uint8)
    colours[..., 3] = 255
    image = read_image(save(tmp_path / "a.png", colours))
    assert (np.moveaxis(image.pixels, 0, -1) == colours[..., :3]).all()
    assert image.notes == ("alpha channel left out (it is opaque everywhere)",)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("stored", "seen"),
    [((200, 100, 50, 255), [200, 100, 50]), ((200, 100, 50, 51), [40, 20, 10]), ((9, 9, 9, 0), [0, 0, 0]), ((90, 51), [18])],
)
def test_transparent_pixels_are_laid_on_black(tmp_path, stored, seen, depth):
    """51 is a fifth of 255. The second pixel is transparent, so that the alpha channel is never opaque everywhere."""
    unit, letter = (1, "B") if depth == 8 else (257, "H")
    row = struct.pack(f">{2 * len(stored)}{letter}", *(value * unit for value in stored), *bytes(len(stored)))
    (tmp_path / "a.png").write_bytes(png(2, 1, depth, 6 if len(stored) == 4 else 4, b"\0" + row))
    image = read_image(tmp_path / "a.png")
    assert image.pixels[:, 0, 0].tolist() == [value * unit for value in seen]
    assert image.notes == ("transparent pixels laid on black",)


def test_a_transparent_entry_of_a_palette_is_laid_on_black_and_keeps_its_number(tmp_path):
    picture = Pillow.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "a.png", transparency=0)
    assert read_image(tmp_path / "a.png").pixels[:, 0].T.tolist() == [[0, 0, 0], [40, 50, 60]]
    assert read_mask(tmp_path / "a.png").tolist() == [[0, 1]]


@pytest.mark.parametrize("depth", [8, 16])
def test_a_grey_value_that_is_declared_transparent_is_laid_on_black(tmp_path, depth):
    row = bytes([0, 7, 9]) if depth == 8 else bytes([0, 0, 7, 0, 9])
    (tmp_path / "a.png").write_bytes(png(2, 1, depth, 0, row, before=chunk(b"tRNS", struct.pack(">H", 7))))
    assert read_image(tmp_path / "a.png").pixels.tolist() == [[[0, 9]]]
    assert read_mask(tmp_path / "a.png").tolist() == [[7, 9]]


def test_cmyk_becomes_rgb_with_a_note(tmp_path):
    picture = Pillow.fromarray(np.full((16, 16, 3), 200, np.uint8)).convert("CMYK")
    picture.save(tmp_path / "a.jpg", quality=100)
    image = read_image(tmp_path / "a.jpg")
    assert image.pixels.shape == (3, 16, 16)
    assert np.abs(image.pixels.astype(int) - 200).max() <= 2
    assert image.notes == ("CMYK colours converted to RGB",)


def test_a_jpeg_named_png_is_read_with_a_note(tmp_path):
    Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png", format="JPEG")
    assert read_image(tmp_path / "a.png").notes == ("named like PNG, but its bytes are JPEG: read as JPEG",)


def test_a_resolution_in_dots_per_inch_is_no_spacing(tmp_path):
    assert read_image(save(tmp_path / "a.png", np.zeros((3, 4), np.uint8), dpi=(254, 254))).spacing_mm is None


def test_texts_and_profiles_however_large_are_passed_over(tmp_path):
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000), 1)) + chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(20_000_000), 1))
    (tmp_path / "a.png").write_bytes(png(1, 1, 8, 0, b"\0\x07", before=bomb))
    assert read_image(tmp_path / "a.png").pixels.tolist() == [[[7]]]


# several pictures in a file ------------------------------------------------------------------------------------------


def animation(path: Path) -> Path:
    frames = [Pillow.fromarray(np.full((H, W), value, np.uint8)) for value in (10, 20, 30)]
    frames[0].save(path, save_all=True, append_images=frames[1:], format="MPO" if path.suffix == ".jpg" else None)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.jpg"])
def test_an_animation_is_refused_unless_asked_for(tmp_path, name):
    with pytest.raises(MultiPageError, match=f"{name}: holds 3 pictures where one is expected; choose --pages first, or --pages all"):
        read_image(animation(tmp_path / name))


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.jpg"])
def test_the_first_picture_of_an_animation(tmp_path, name):
    image = read_image(animation(tmp_path / name), FIRST)
    assert image.pixels.shape[1:] == (H, W)
    assert (image.pixels == 10).all()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.jpg"])
def test_all_pictures_of_an_animation_are_slices_and_the_mask_is_a_tiff(tmp_path, name):
    image = read_image(animation(tmp_path / name), ALL)
    assert image.shape == (3, H, W)
    assert [int(one.max()) for one in image.pixels] == [int(one.min()) for one in image.pixels] == [10, 20, 30]
    assert mask_suffix(image) == ".tif"


def test_a_mask_is_no_animation(tmp_path):
    with pytest.raises(UnsupportedError, match="is an animation.*multi-page TIFF"):
        read_mask(animation(tmp_path / "a.gif"), settings=ALL)


def test_frames_of_unequal_size_are_no_stack(tmp_path):
    frames = [Pillow.fromarray(np.zeros(size, np.uint8)) for size in ((8, 8), (8, 9))]
    frames[0].save(tmp_path / "a.jpg", save_all=True, append_images=frames[1:], format="MPO")
    with pytest.raises(MultiPageError, match="its 2 pictures differ in size .8x8, 8x9."):
        read_image(tmp_path / "a.jpg", ALL)


# damage --------------------------------------------------------------------------------------------------------------


def encoded(name: str) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    Pillow.fromarray(noise).save(file, format=name)
    return file.getvalue()


@pytest.mark.parametrize("name", ["PNG", "JPEG", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_corrupt(tmp_path, name, share):
    data = encoded(name)
    (tmp_path / "a").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CorruptFileError, match=r"a: .*cut short.*copy it anew"):
        read_image(tmp_path / "a")


@pytest.mark.parametrize("place", [20, 40, 1000, -20, -5])
def test_a_flipped_bit_in_a_png_is_noticed(tmp_path, place):
    data = bytearray(encoded("PNG"))
    data[place] ^= 4
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(CorruptFileError, match="a.png: "):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["PNG", "JPEG", "BMP", "GIF"])
def test_no_damage_raises_anything_but_our_own_errors(tmp_path, name):
    """Files that nobody has foreseen: each byte near the front, and some behind, set to something else."""
    rng, whole = np.random.default_rng(2), encoded(name)
    for place in [*range(8, 60), *rng.integers(60, len(whole), 60)]:
        data = bytearray(whole)
        data[place] = rng.integers(256)
        (tmp_path / "a").write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_image(tmp_path / "a", ReadSettings(max_pixels=10**6, pages="first"))
            except OSError as error:
                assert type(error).__module__ == "segkit.errors", (place, error)


@pytest.mark.parametrize(("header", "words"), [((0, 5, 8, 0, 0, 0, 0), "5"), ((5, 5, 3, 0, 0, 0, 0), "3 bits"), ((5, 5, 8, 5, 0, 0, 0), "colour type 5")])
def test_a_png_header_that_makes_no_sense(tmp_path, header, words):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *header)) + chunk(b"IEND", b""))
    with pytest.raises(CorruptFileError, match=f"the PNG header says .*{words}"):
        read_image(tmp_path / "a.png")


def test_a_png_without_a_header(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""))
    with pytest.raises(CorruptFileError, match="does not begin with its header"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("rows", "words"), [(b"\0" * 10, "holds 10 of 14 bytes"), (b"\x05" + bytes(13), "names a PNG filter 5")])
def test_damaged_colours_of_16_bits(tmp_path, rows, words):
    (tmp_path / "a.png").write_bytes(png(1, 2, 16, 2, rows))
    with pytest.raises(CorruptFileError, match=words):
        read_image(tmp_path / "a.png")


def test_16_bit_colours_that_do_not_inflate(tmp_path):
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"junk") + chunk(b"IEND", b""))
    with pytest.raises(CorruptFileError, match="the compressed pixels are damaged"):
        read_image(tmp_path / "a.png")


def test_a_png_that_claims_far_too_much_is_refused_by_its_header(tmp_path):
    (tmp_path / "a.png").write_bytes(png(60_000, 60_000, 8, 0, b""))
    with pytest.raises(TooLargeError, match=r"holds 3600000000 samples, more than the 268435456 allowed; .* raise --max-pixels"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["JPEG", "BMP", "GIF"])
def test_the_limit_counts_all_samples(tmp_path, name):
    (tmp_path / "a").write_bytes(encoded(name))
    assert read_image(tmp_path / "a", ReadSettings(max_pixels=64 * 64 * 3)).channels == 3
    with pytest.raises(TooLargeError, match="holds 12288 samples, more than the 12287 allowed"):
        read_image(tmp_path / "a", ReadSettings(max_pixels=64 * 64 * 3 - 1))


def test_the_limit_counts_all_frames(tmp_path):
    path = animation(tmp_path / "a.png")
    with pytest.raises(TooLargeError, match=f"holds {3 * H * W} samples"):
        read_image(path, ReadSettings(pages="all", max_pixels=3 * H * W - 1))


@pytest.mark.parametrize("name", ["PNG", "JPEG", "BMP", "GIF"])
def test_pillows_own_limit_neither_warns_nor_refuses(tmp_path, monkeypatch, name):
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
    (tmp_path / "a").write_bytes(encoded(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "a").shape == (64, 64)
    assert Pillow.MAX_IMAGE_PIXELS == 100


# orientation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_upright_as_pillow_does_it(tmp_path, rng, orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", rng.integers(0, 256, (H, W, 3), np.uint8), exif=exif)
    seen = np.array(ImageOps.exif_transpose(Pillow.open(path)))
    assert (np.moveaxis(read_image(path).pixels, 0, -1) == seen).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_and_upright_are_there_and_back(rng, orientation):
    pixels = rng.integers(0, 9, (3, 5, 2))
    assert (as_stored(upright(pixels, orientation, 0), orientation, 0) == pixels).all()
    assert (upright(as_stored(pixels, orientation, 1), orientation, 1) == pixels).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_written_onto_the_stored_pixels_and_read_back_upright(tmp_path, rng, orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    stored = rng.integers(0, 2, (H, W), np.uint8)
    image = read_image(save(tmp_path / "a.jpg", stored * 255, exif=exif, quality=100))
    indices = (image.pixels[0] > 127).astype(np.uint8)
    write_mask(Mask(indices, Labels(("background", "vessel"), (0, 255))), image, tmp_path / "m.png")
    assert (np.array(Pillow.open(tmp_path / "m.png")) == stored * 255).all()
    assert (read_mask(tmp_path / "m.png", image) == indices * 255).all()


def test_a_mask_drawn_on_the_upright_picture_stays_as_it_is(tmp_path, rng):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    image = read_image(save(tmp_path / "a.jpg", np.zeros((H, W), np.uint8), exif=exif))
    drawn = rng.integers(0, 2, (W, H), np.uint8)
    assert image.shape == (W, H)
    assert (read_mask(save(tmp_path / "m.png", drawn), image) == drawn).all()


def test_a_mask_with_an_orientation_of_its_own_is_turned_by_it(tmp_path, rng):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    stored = rng.integers(0, 2, (H, W), np.uint8)
    image = read_image(save(tmp_path / "a.png", stored, exif=exif))
    assert (read_mask(save(tmp_path / "m.png", stored, exif=exif), image) == image.pixels[0]).all()


def test_broken_exif_does_not_keep_a_picture_from_being_read(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1, 1, 8, 0, b"\0\x07", before=chunk(b"eXIf", b"junk")))
    image = read_image(tmp_path / "a.png")
    assert image.pixels.tolist() == [[[7]]]
    assert "the pixels are taken as upright" in image.notes[0]


def test_an_orientation_that_does_not_exist_means_nothing(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 99
    assert read_image(save(tmp_path / "a.png", np.zeros((2, 3), np.uint8), exif=exif)).shape == (2, 3)


# masks ---------------------------------------------------------------------------------------------------------------


def test_a_grey_mask_saved_as_rgb_keeps_its_numbers(tmp_path):
    assert read_mask(save(tmp_path / "m.png", np.array([[0, 85, 255]], np.uint8), "RGB")).tolist() == [[0, 85, 255]]


def test_colours_become_one_number(tmp_path):
    values = read_mask(save(tmp_path / "m.png", np.array([[[255, 0, 0], [0, 128, 1], [7, 7, 7]]], np.uint8)))
    assert values.tolist() == [[0xFF0000, 0x008001, 0x070707]]


@pytest.mark.parametrize("alpha", [255, 254])
def test_only_opaque_alpha_is_left_out_of_a_mask(tmp_path, alpha):
    path = save(tmp_path / "m.png", np.array([[[9, 9, 9, 255], [5, 5, 5, alpha]]], np.uint8))
    if alpha == 255:
        assert read_mask(path).tolist() == [[9, 5]]
    else:
        with pytest.raises(MaskValuesError, match="m.png: 1 of 2 pixels are transparent.*save the mask without an alpha channel"):
            read_mask(path)


def test_four_inks_make_no_label(tmp_path):
    path = save(tmp_path / "m.jpg", np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), "CMYK")
    with pytest.raises(MaskValuesError, match="the mask has 4 different channels"):
        read_mask(path)


def test_a_mask_of_another_size_is_never_resized(tmp_path):
    image = read_image(save(tmp_path / "a.png", np.zeros((33, 47), np.uint8)))
    mask = save(tmp_path / "m.png", np.zeros((33, 48), np.uint8))
    with pytest.raises(ShapeError, match=r"mask .*m\.png is 33x48, its image .*a\.png is 33x47; masks are never resized: correct the pair or leave it out"):
        read_mask(mask, image)
    with pytest.raises(ShapeError, match=r"mask .*m\.png is 33x48, its truth .*a\.png is 33x47"):
        read_mask(mask, image, like_is="truth")


@pytest.mark.parametrize("value", [255, 300])
def test_masks_are_written_in_the_narrowest_type(tmp_path, value):
    image = Image(np.zeros((1, 2, 3), np.uint8))
    write_mask(Mask(np.array([[0, 1, 0], [1, 1, 0]], np.uint8), Labels(("a", "b"), (0, value))), image, tmp_path / "m.png")
    assert np.array(Pillow.open(tmp_path / "m.png")).dtype == (np.uint8 if value == 255 else np.uint16)
    assert read_mask(tmp_path / "m.png", image).tolist() == [[0, value, 0], [value, value, 0]]


def test_coloured_masks_there_and_back(tmp_path):
    image = read_image(save(tmp_path / "a.png", np.zeros((2, 2), np.uint8)))
    labels = Labels.from_mapping({"background": "#000000", "nerve": "#ff8001"})
    write_mask(Mask(np.array([[0, 1], [1, 0]], np.uint8), labels), image, tmp_path / "m.png")
    assert Pillow.open(tmp_path / "m.png").mode == "RGB"
    assert labels.encode(read_mask(tmp_path / "m.png", image)).tolist() == [[0, 1], [1, 0]]


def test_a_picture_may_have_its_mask_as_tiff(tmp_path):
    image = read_image(save(tmp_path / "a.png", np.zeros((2, 3), np.uint8)))
    write_mask(Mask(np.array([[0, 1, 0], [1, 1, 0]], np.uint8), Labels(("a", "b"), (0, 255))), image, tmp_path / "m.tif")
    assert read_mask(tmp_path / "m.tif", image).tolist() == [[0, 255, 0], [255, 255, 0]]


def test_a_mask_of_another_shape_than_its_image_is_not_written(tmp_path):
    with pytest.raises(ShapeError, match=r"m\.png: the mask has shape \(2, 2\), its image array has \(2, 3\)"):
        write_mask(Mask(np.zeros((2, 2), np.uint8), Labels(("a", "b"), (0, 1))), Image(np.zeros((1, 2, 3))), tmp_path / "m.png")


@pytest.mark.parametrize(("name", "stack", "words"), [("m.jpg", False, "as .png or .tif"), ("m.png", True, "of several slices is written as .tif")])
def test_a_name_that_no_mask_has(tmp_path, name, stack, words):
    with pytest.raises(SettingsError, match=f"{words}; end the name so"):
        RasterOrigin(is_stack=stack).write(np.zeros((2, 3, 4)[: 3 if stack else 2], np.uint8), tmp_path / name)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (np.zeros((2, 3, 4), np.float32), ShapeError, r"shape \(2, 3, 4\) and type float32; expected one integer"),
        (np.zeros((2, 3), np.float32), MaskValuesError, "type float32; expected whole numbers from 0 to 65535"),
        (np.full((2, 3), -1), MaskValuesError, "whole numbers from 0 to 65535"),
        (np.full((2, 3), 65536), MaskValuesError, "whole numbers from 0 to 65535"),
    ],
)
def test_what_is_no_label_is_not_written(tmp_path, values, error, words):
    with pytest.raises(error, match=words):
        RasterOrigin().write(values, tmp_path / "m.png")


@pytest.mark.parametrize("dtype", ["<u4", ">u4", "<f4"])
def test_numbers_of_32_bits_are_never_taken_for_colours(dtype: str) -> None:
    found = whole(np.array([0, 300], dtype), "a.tif")
    assert (found.dtype, found.tolist()) == (np.dtype(np.int64), [0, 300])
    colours = label_values(np.array([[[0]], [[1]], [[44]]], np.uint8), "a.tif")          # (3, 1, 1): 0x00012c, which is 300
    assert (colours.dtype, colours.tolist()) == (COLOURS, [[300]])
