"""Small whole files of every format that segkit reads, made of nothing, and what can happen to their bytes."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
import tifffile
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    RTPlanStorage,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def grey(size: tuple[int, ...] = (9, 7), dtype: Any = np.uint8) -> np.ndarray[Any, Any]:
    """Noise, the same each time."""
    return np.random.default_rng(0).integers(0, 250, size).astype(dtype)


# Whole files.


def by_pillow(pixels: np.ndarray[Any, Any], kind: str, **how: Any) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, format=kind, **how)
    return file.getvalue()


def png(pixels: np.ndarray[Any, Any] | None = None, **how: Any) -> bytes:
    return by_pillow(grey() if pixels is None else pixels, "PNG", **how)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_by_hand(width: int, height: int, data: bytes, depth: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    """`data` is what the pixels are compressed from: a byte for the filter in front of each row."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def deep_png(interlaced: int = 0) -> bytes:
    """Colours of 16 bits, 7x5, each row by another filter."""
    rows = [bytes([row % 5]) + bytes(range(7 * 6)) for row in range(5)]
    return png_by_hand(7, 5, b"".join(rows), depth=16, colour=2) if not interlaced else png_by_hand(1, 1, b"\0abcdef", 16, 2, 1)


def tiff(pixels: np.ndarray[Any, Any] | None = None, **how: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, grey() if pixels is None else pixels, **({"photometric": "minisblack", "metadata": None} | how))
    return file.getvalue()


def nifti(shape: tuple[int, ...] = (5, 7, 3), dtype: Any = np.int16, kind: Any = Nifti1Header, **fields: Any) -> bytes:
    """Header, four bytes that say that nothing follows it, voxels."""
    header = kind()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["magic"] = b"n+1" if kind is Nifti1Header else header["magic"]
    header["vox_offset"] = header.sizeof_hdr + 4
    header["pixdim"][1:4] = 0.5, 0.7, 3
    header["qform_code"] = 1
    for name, value in fields.items():
        header[name] = value
    return bytes(header.binaryblock) + bytes(4) + np.zeros(int(np.prod(shape)), dtype).tobytes()


def dicom(pixels: np.ndarray[Any, Any] | None = None, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> bytes:
    """One slice (H, W), or frames (N, H, W); `tags` are added or, with None, taken away."""
    pixels = grey(dtype=np.uint16) if pixels is None else pixels
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID, data.Modality = CTImageStorage, "1.2.3", "1.2.4", "CT"
    data.PatientName, data.Rows, data.Columns, data.SamplesPerPixel = "Doe^Jane", *pixels.shape[-2:], 1
    data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelSpacing, data.ImagePositionPatient, data.ImageOrientationPatient = [0.5, 0.7], [1, 2, 3], [1, 0, 0, 0, 1, 0]
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    data["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian if syntax == RLELossless else syntax)
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    if syntax == RLELossless:
        data.compress(RLELossless, generate_instance_uid=False)
    for keyword, value in tags.items():
        if value is None:
            del data[keyword]
        else:
            setattr(data, keyword, value)
    file = io.BytesIO()
    pydicom.dcmwrite(file, data, enforce_file_format=True)
    return file.getvalue()


PICTURES: dict[str, Callable[[], list[bytes]]] = {
    "png": lambda: [
        png(),
        deep_png(),
        deep_png(interlaced=1),
        png(grey((9, 7, 4))),
        by_pillow(grey() > 99, "PNG"),
        by_pillow(grey((9, 7)), "PNG", transparency=3),
        in_palette("PNG"),
        _animated("PNG"),
    ],
    "tiff": lambda: [
        tiff(),
        tiff(compression="zlib", rowsperstrip=2),
        tiff(grey(dtype=np.float32), bigtiff=True),
        tiff(grey((3, 9, 7)), byteorder=">"),
        tiff(grey((9, 7, 3)), photometric="rgb", planarconfig="separate"),
        tiff(grey((17, 19)), tile=(16, 16), predictor=True, compression="zlib"),
        tiff(grey((2, 3, 9, 7)), imagej=True, metadata={"axes": "ZCYX", "spacing": 2, "unit": "um"}, resolution=(3, 3)),
        tiff(grey((2, 9, 7)), ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}),
        tiff(grey() > 99, photometric="miniswhite"),
        by_pillow(grey(), "TIFF", compression="tiff_lzw"),
        by_pillow(grey() > 99, "TIFF", compression="group4"),
        by_pillow(grey((9, 7, 3)), "TIFF", compression="jpeg"),
        in_palette("TIFF"),
    ],
    "nifti": lambda: [
        nifti(),
        nifti((5, 7), np.float32, scl_slope=0.5, scl_inter=1),
        nifti((5, 7, 3, 1), np.uint8, Nifti2Header),
        nifti((5, 1, 3), np.float64, sform_code=1, srow_x=[1, 2, 0, 0], srow_y=[0, 1, 0, 0], srow_z=[0, 0, 1, 0]),
        nifti((5, 7, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])),
    ],
    "dicom": lambda: [
        dicom(),
        dicom(syntax=ImplicitVRLittleEndian),
        dicom(grey(), syntax=RLELossless),
        dicom(grey((3, 9, 7))),
        dicom(PhotometricInterpretation="MONOCHROME1", RescaleSlope="2", RescaleIntercept="-1000"),
        dicom(grey((9, 6)), PhotometricInterpretation="PALETTE COLOR", **_palette_tags()),
        dicom(syntax=DeflatedExplicitVRLittleEndian),
    ],
    "jpeg": lambda: [by_pillow(grey((9, 7)), "JPEG"), by_pillow(grey((17, 19, 3)), "JPEG", progressive=True, exif=_turned())],
    "gif": lambda: [by_pillow(grey(), "GIF"), _animated("GIF")],
    "bmp": lambda: [by_pillow(grey(), "BMP"), by_pillow(grey((9, 7, 3)), "BMP")],
}
"""Format -> whole files of many kinds, some hundred bytes each."""


def in_palette(kind: str) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(grey()).convert("P").save(file, format=kind)
    return file.getvalue()


def _animated(kind: str) -> bytes:
    file, frames = io.BytesIO(), [Pillow.fromarray(grey() + number) for number in range(3)]
    frames[0].save(file, format=kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def _turned() -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return exif


def _palette_tags() -> dict[str, Any]:
    tags: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = bytes(512)
    return tags


# What happens to bytes.

NUMBERS = [
    *(0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
    *(0x7FC00000, 0x7F800000),
]
"""At the ends of the types; the last two are not-a-number and infinity as float32."""

WORDS = [
    *(b"", b"\0", b"\xff\xff", b"\n", b"\t", b": ", b"- ", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"<<: ", b"!!", b"? ", b"#", b"'", b'"', b"\\", b"%", b"|\n"),
    *(b"1e999", b".nan", b"-.inf", b"-1", b"2001-02-03", b"0x7fffffffffffffffff", b"null", b"~", b"\xc3\xa9", b"\xed\xa0\x80", b"9" * 5000, b"[" * 2000),
]

HOWS = ("flip", "set", "number", "cut", "drop", "double", "insert")


@dataclass(frozen=True)
class Change:
    """One thing that happens to bytes: `value` is understood as each of the ways needs it."""

    how: str
    place: int
    value: int

    def apply(self, data: bytes) -> bytes:
        place, value = self.place % (len(data) + 1), self.value
        before, after = data[:place], data[place:]
        match self.how:
            case "flip":
                return before + bytes([after[0] ^ 1 << value % 8]) + after[1:] if after else data
            case "set":
                return before + bytes([value % 256]) + after[1:]
            case "number":
                number = _as_bytes(value)
                return (before + number + after[len(number) :])[: len(data)]
            case "cut":
                return before
            case "drop":
                return before + after[value % 16 + 1 :]
            case "double":
                return before + after[: value % 64] * 2 + after[value % 64 :]
            case "insert":
                return before + WORDS[value % len(WORDS)] + after
        raise ValueError(f"{self.how}: no such change; there are {', '.join(HOWS)}")


def _as_bytes(value: int) -> bytes:
    """One of `NUMBERS` in 1, 2, 4 or 8 bytes of either order."""
    value, order = divmod(value, 2)
    value, size = divmod(value, 4)
    return (NUMBERS[value % len(NUMBERS)] % 2 ** (8 << size)).to_bytes(1 << size, "little" if order else "big")


def changed(data: bytes, changes: Iterable[Change]) -> bytes:
    for change in changes:
        data = change.apply(data)
    return data


def random_changes(rng: random.Random) -> Iterator[Change]:
    """One or a few; a cut is rare, because it hides what comes behind it."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        how = rng.choices(HOWS, (6, 4, 8, 1, 1, 1, 1))[0]
        yield Change(how, rng.randrange(2**20), rng.randrange(2**20))


def as_it_is(data: bytes) -> bytes:
    return data


def with_checksums(data: bytes) -> bytes:
    """A damaged PNG whose checksums are right again, so that what comes behind them is met too."""
    sealed, place = data[:8], 8
    while place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        sealed += data[place : place + 8] + body + struct.pack(">I", zlib.crc32(kind + body))
        place += 12 + length
    return sealed


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


# Files that can't be used, and files that are odd but can: by their names, as they might lie in a folder.


def with_chunk(data: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with one more part, behind its header."""
    return data[:33] + chunk(kind, content) + data[33:]


def flipped(data: bytes, place: int) -> bytes:
    return Change("flip", place, 0).apply(data)


def in_a_ring() -> bytes:
    """A TIFF whose first page says that the next one is itself."""
    data = tiff()
    entries = int.from_bytes(data[8:10], "little")
    pointer = 10 + 12 * entries
    return data[:pointer] + struct.pack("<I", 8) + data[pointer + 4 :]


def with_holes(share: float) -> np.ndarray[Any, Any]:
    pixels = grey(dtype=np.float32)
    pixels.flat[: round(share * pixels.size)] = np.nan
    return pixels


def cmyk_jpeg() -> bytes:
    file = io.BytesIO()
    Pillow.frombytes("CMYK", (7, 9), grey((9, 7, 4)).tobytes()).save(file, format="JPEG")
    return file.getvalue()


def nifti_of(*dim: int, **fields: Any) -> bytes:
    """A NIfTI file that claims these sizes and holds a few voxels."""
    return nifti(dim=[len(dim), *dim, *[1] * (7 - len(dim))], **fields)


def plan() -> bytes:
    """DICOM without a picture."""
    return dicom(SOPClassUID=RTPlanStorage, Modality="RTPLAN", PixelData=None, Rows=None, Columns=None)


@dataclass(frozen=True)
class Odd:
    """row : of the table in docs/faults.md
    make : its bytes
    code : of the error, where it can't be used
    shape : of its mask, where it can
    words : in the message or in the notes
    """

    row: int
    make: Callable[[], bytes]
    code: str = ""
    shape: str = ""
    words: str = ""


REFUSED = {
    "empty.png": Odd(1, bytes, "E_EMPTY", words="is empty"),
    "short.png": Odd(2, lambda: png()[:-20], "E_CORRUPT", words="cut short"),
    "torn.jpg": Odd(2, lambda: by_pillow(grey((64, 64)), "JPEG")[:900], "E_CORRUPT", words="cut short"),
    "flipped.png": Odd(3, lambda: flipped(png(), 60), "E_CORRUPT", words="checksum"),
    "text.png": Odd(4, lambda: b"not a picture at all\n", "E_FORMAT", words="text"),
    "ends.tif": Odd(7, lambda: tiff()[:-9], "E_CORRUPT"),
    "stops.nii": Odd(7, lambda: nifti()[:-9], "E_CORRUPT", words="need 210 bytes, it has 201"),
    "cut.nii.gz": Odd(7, lambda: packed(nifti())[:-9], "E_CORRUPT", words="gzip stream"),
    "plain.nii.gz": Odd(8, nifti, "E_FORMAT", words="rename it to plain.nii"),
    "packed.nii": Odd(8, lambda: packed(nifti()), "E_FORMAT", words="rename it to packed.nii.gz"),
    "bomb.png": Odd(9, lambda: png_by_hand(60_000, 60_000, b""), "E_TOO_LARGE", words="--max-pixels"),
    "large.png": Odd(10, lambda: png_by_hand(20_000, 20_000, bytes(20_000 * 2501), depth=1), "E_TOO_LARGE", words="400000000 samples"),
    "trillions.nii": Odd(11, lambda: nifti_of(30_000, 30_000, 30_000), "E_TOO_LARGE"),
    "negative.nii": Odd(11, lambda: nifti_of(5, -7, 3), "E_CORRUPT", words="impossible dimensions"),
    "claims.nii.gz": Odd(12, lambda: packed(nifti_of(500, 500, 3)), "E_CORRUPT", words="need 1500000 bytes"),
    "archive.png": Odd(12, lambda: b"PK\x03\x04" + bytes(40), "E_FORMAT", words="a zip archive: unpack it first"),
    "ring.tif": Odd(13, in_a_ring, "E_CORRUPT", words="runs in a ring"),
    "stack.tif": Odd(31, lambda: tiff(grey((3, 9, 7))), "E_MULTI", words="--pages all"),
    "five.tif": Odd(32, lambda: tiff(grey((9, 7, 5)), planarconfig="contig"), "E_CHANNELS", words="5 channels"),
    "holes.tif": Odd(34, lambda: tiff(with_holes(1)), "E_EMPTY_CONTENT", words="none of its 63 pixels is finite"),
    "wide.tif": Odd(35, lambda: tiff(grey(dtype=np.int64) << 40), "E_UNSUPPORTED", words="beyond what int32 holds"),
    "film.gif": Odd(36, lambda: _animated("GIF"), "E_MULTI", words="3 pictures"),
    "slope.nii": Odd(49, lambda: nifti(scl_slope=np.inf), "E_CORRUPT", words="must be finite"),
    "moving.nii": Odd(52, lambda: nifti((5, 7, 3, 2)), "E_UNSUPPORTED", words="5x7x3x2"),
    "bare.dcm": Odd(55, lambda: dicom()[132:], "E_FORMAT", words="without its 128-byte preamble"),
    "movie.dcm": Odd(56, lambda: dicom(grey(), MPEG4HP41, PixelData=encapsulate([bytes(8)])), "E_CODEC", words="MPEG"),
    "few.dcm": Odd(59, lambda: dicom(SeriesInstanceUID="1.3.1")[:-30], "E_CORRUPT"),
    "pair.hdr": Odd(8, lambda: nifti(magic=b"ni1"), "E_UNSUPPORTED", words=".hdr"),
}
"""What a run over a folder gives a row in failures.csv."""

TAKEN = {
    "photo.png": Odd(5, lambda: by_pillow(grey(), "JPEG"), shape="9x7", words="its bytes are JPEG: read as JPEG"),
    "picture0001": Odd(6, png, shape="9x7"),
    "inflating.nii.gz": Odd(12, lambda: packed(nifti() + bytes(20_000_000)), shape="3x7x5"),
    "texts.png": Odd(14, lambda: with_chunk(png(), b"iTXt", b"k\0\0\0\0\0" + bytes(3_000_000)), shape="9x7"),
    "two words.png": Odd(17, png, shape="9x7"),
    "new\nline.png": Odd(17, png, shape="9x7"),
    "-dash.png": Odd(17, png, shape="9x7"),
    "smile \N{SMILING FACE WITH SUNGLASSES}.png": Odd(17, png, shape="9x7"),
    "e\N{COMBINING ACUTE ACCENT}.png": Odd(17, png, shape="9x7"),
    "n" * 251 + ".png": Odd(17, png, shape="9x7"),
    "deep.png": Odd(25, lambda: png(grey(dtype=np.uint16) * 200), shape="9x7"),
    "deep2.tif": Odd(25, lambda: tiff(grey(dtype=np.uint16) * 200), shape="9x7"),
    "colours.png": Odd(26, deep_png, shape="5x7"),
    "inks.jpg": Odd(27, cmyk_jpeg, shape="9x7", words="CMYK colours converted to RGB"),
    "palette.png": Odd(28, lambda: in_palette("PNG"), shape="9x7"),
    "glass.png": Odd(29, lambda: png(grey((9, 7, 4))), shape="9x7", words="transparent pixels laid on black"),
    "bits.png": Odd(30, lambda: png(grey() > 99), shape="9x7", words="grey values of 1 bit scaled to 0..255"),
    "planes.tif": Odd(33, lambda: tiff(grey((3, 9, 7)), photometric="rgb", planarconfig="separate"), shape="9x7"),
    "some.tif": Odd(34, lambda: tiff(with_holes(0.5)), shape="9x7", words="32 of 63 pixels were NaN or infinite"),
    "signed.tif": Odd(35, lambda: tiff(grey(dtype=np.int32) - 125), shape="9x7"),
    "turned.jpg": Odd(37, lambda: by_pillow(grey((17, 19, 3)), "JPEG", exif=_turned()), shape="19x17", words="turned upright by Exif orientation 6"),
    "flat.png": Odd(38, lambda: png(np.full((9, 7), 3, np.uint8)), shape="9x7"),
    "dot.png": Odd(39, lambda: png(grey((1, 1))), shape="1x1"),
    "row.png": Odd(39, lambda: png(grey((1, 47))), shape="1x47"),
    "column.png": Odd(39, lambda: png(grey((33, 1))), shape="33x1"),
    "odd.png": Odd(40, lambda: png(grey((33, 47))), shape="33x47"),
    "strip.png": Odd(41, lambda: png(grey((10, 3000))), shape="10x3000"),
    "unscaled.nii": Odd(49, lambda: nifti(scl_slope=np.nan), shape="3x7x5"),
    "nowhere.nii": Odd(51, lambda: nifti(qform_code=0), shape="3x7x5", words="areas are in pixels only"),
    "one.nii": Odd(52, lambda: nifti((5, 7, 3, 1)), shape="3x7x5"),
    "long.nii": Odd(53, lambda: nifti(dtype=np.int64), shape="3x7x5"),
    "white.dcm": Odd(57, lambda: dicom(SeriesInstanceUID="1.3.2", PhotometricInterpretation="MONOCHROME1"), shape="9x7", words="MONOCHROME1"),
    "rescaled.dcm": Odd(58, lambda: dicom(SeriesInstanceUID="1.3.3", RescaleSlope="", RescaleIntercept=""), shape="9x7"),
    "frames.dcm": Odd(60, lambda: dicom(grey((3, 9, 7)), SeriesInstanceUID="1.3.4"), shape="3x9x7", words="in the order of their numbers"),
    "coloured.dcm": Odd(60, lambda: dicom(grey((9, 6)), SeriesInstanceUID="1.3.5", PhotometricInterpretation="PALETTE COLOR", **_palette_tags()), shape="9x6"),
}
"""What it gives a mask and a row in results.csv."""
