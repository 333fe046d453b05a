"""What tifffile lacks without the imagecodecs package, made up for by Pillow: a decoder for LZW, and whole pages in JPEG, CCITT or pixels of 2 or 4 bits.

Its decoder for Deflate, which knows no limit, is replaced too.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError
from PIL.TiffImagePlugin import TiffImageFile

from segkit.io.raster_origin import as_stored, known_orientation

_LZW = 5
_DEFLATE = (8, 32946)
_JPEG = 7
_CCITT = (2, 3, 4)
_PACKED = (1, _LZW, *_DEFLATE, 32773)  # compressions of pixels smaller than a byte
_ORIENTATION = 274


def lend_codecs() -> None:
    """Fill the two gaps in tifffile's table of decoders; where imagecodecs is installed there are none."""
    decoders = tifffile.TIFF.DECOMPRESSORS
    if _LZW not in decoders:
        decoders._codecs[_LZW] = lzw_decode  # type: ignore[attr-defined]
    for code in _DEFLATE:
        if decoders[code].__module__ == "tifffile._imagecodecs":
            decoders._codecs[code] = deflate_decode  # type: ignore[attr-defined]


def is_for_pillow(page: tifffile.TiffPage) -> bool:
    """Whether a page is one that tifffile can't decode alone and `PillowPages` can."""
    if page.extrasamples or (page.planarconfig != 1 and page.samplesperpixel > 1):
        return False
    if (page.compression == _JPEG and page.bitspersample == 8) or (page.compression in _CCITT and page.bitspersample == 1):
        return page.compression not in tifffile.TIFF.DECOMPRESSORS
    # our LZW can't unpack pixels of less than a byte, whose size tifffile does not tell it
    return page.compression in _PACKED and (page.bitspersample in (2, 4) or (page.bitspersample == 1 and page.compression == _LZW))


class PillowPages:
    """The pages of an open TIFF, which Pillow reads on from where it was."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @cached_property
    def _picture(self) -> TiffImageFile:
        self._file.seek(0)
        return TiffImageFile(self._file)

    def samples(self, pages: Sequence[int], like: tifffile.TiffPage) -> NDArray[Any]:
        """(P, *like.shape): the numbers that the file stores in these pages, counted from 0, each of the kind of `like`; YCbCr becomes RGB.

        Raises
        ------
        ValueError
            Pillow doesn't know such pixels; its words name the imagecodecs package.
        NotImplementedError
            More pixels than Pillow decodes.
        OSError, EOFError, LookupError, TypeError
            Damaged, or no such page.
        """
        try:
            with warnings.catch_warnings(action="ignore"):  # of large pictures, by a limit that is not ours
                return np.stack([_stored(self._picture, page, like) for page in pages])
        except SyntaxError as error:
            raise ValueError(f"{error}; another decoder comes with the 'imagecodecs' package") from error
        except DecompressionBombError as error:
            raise NotImplementedError("has more pixels than can be decoded from such a TIFF") from error


def _stored(picture: TiffImageFile, page: int, like: tifffile.TiffPage) -> NDArray[Any]:
    """What Pillow has turned upright, inverted and scaled to 8 bits becomes again what the file stores."""
    picture.seek(page)
    orientation = known_orientation(picture.getexif().get(_ORIENTATION))
    pixels = as_stored(np.asarray(picture), orientation, 0)
    if like.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        pixels = ~pixels
    if picture.mode == "L":
        pixels = pixels // (255 // (2**like.bitspersample - 1))
    return pixels.astype(like.dtype).reshape(like.shape)


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
