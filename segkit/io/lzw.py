"""LZW for tifffile, which leaves it to the imagecodecs package: many TIFF files use it, and Pillow has a decoder."""

from __future__ import annotations

import struct
from io import BytesIO

import tifffile
from PIL.TiffImagePlugin import TiffImageFile

_LZW = 5


def lend_lzw() -> None:
    """Give tifffile the decoder where it has none of its own; nothing else of it changes."""
    decoders = tifffile.TIFF.DECOMPRESSORS
    if _LZW not in decoders:
        decoders._codecs[_LZW] = lzw_decode  # type: ignore[attr-defined]


def is_lent(compression: int) -> bool:
    """Whether it is our decoder that will be used: it can't unpack pixels of less than a byte, whose size tifffile does not tell it."""
    return compression == _LZW and tifffile.TIFF.DECOMPRESSORS[_LZW] is lzw_decode


def lzw_decode(data: bytes, *, out: int) -> bytes:
    """The `out` bytes that `data` unpacks to, whatever pixels they are: handed to Pillow as a grey picture of one row.

    Raises
    ------
    OSError
        `data` is damaged or holds fewer bytes.
    """
    # ImageWidth, ImageLength, BitsPerSample, Compression, Photometric, StripOffsets, SamplesPerPixel, RowsPerStrip, StripByteCounts
    tags = {256: out, 257: 1, 258: 8, 259: _LZW, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 1, 279: len(data)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return TiffImageFile(BytesIO(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(4) + data)).tobytes()
