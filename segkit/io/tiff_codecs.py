"""Two decoders lent to tifffile, which without the imagecodecs package has none for LZW, and one for Deflate that knows no limit."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import tifffile
from PIL.TiffImagePlugin import TiffImageFile

_LZW = 5
_DEFLATE = (8, 32946)


def lend_codecs() -> None:
    """Fill the two gaps in tifffile's table of decoders; where imagecodecs is installed there are none."""
    decoders = tifffile.TIFF.DECOMPRESSORS
    if _LZW not in decoders:
        decoders._codecs[_LZW] = lzw_decode  # type: ignore[attr-defined]
    for code in _DEFLATE:
        if decoders[code].__module__ == "tifffile._imagecodecs":
            decoders._codecs[code] = deflate_decode  # type: ignore[attr-defined]


def is_lent_lzw(compression: int) -> bool:
    """Whether it is our LZW that will be used: it can't unpack pixels of less than a byte, whose size tifffile does not tell it."""
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


def deflate_decode(data: bytes, *, out: int) -> bytes:
    """The first `out` bytes that `data` unpacks to, so that a strip of a few kilobytes can't fill the memory.

    Raises
    ------
    zlib.error
        `data` is damaged or breaks off.
    """
    stream = zlib.decompressobj()
    unpacked = stream.decompress(data, out + 1)  # one more, so that a stream of the right length comes to its checksum
    if len(unpacked) <= out and not stream.eof:
        raise zlib.error("incomplete stream")
    return unpacked[:out]
