"""PNG below the level of Pillow: a header before anything is decoded, damage noticed, and colours of 16 bits, which Pillow cuts to 8.

PNG Specification, third edition, W3C 2025, https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segkit.errors import CorruptFileError

Array = NDArray[Any]

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> samples in a pixel: grey, RGB, palette, grey and alpha, RGB and alpha
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL", b"fcTL", b"fdAT")  # what changes pixels; texts and profiles don't

# First row and column, and the steps between rows and columns, of the seven passes of an interlaced picture.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


@dataclass(frozen=True)
class Header:
    """What a PNG says of itself."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def samples(self) -> int:
        """Samples in a pixel: palette indices count once."""
        return _SAMPLES[self.colour]

    @property
    def is_deep(self) -> bool:
        """More than one sample of 16 bits in a pixel: what Pillow would cut."""
        return self.depth == 16 and self.samples > 1


@dataclass(frozen=True)
class Chunks:
    """The parts of a PNG that matter for its pixels, each with its checksum verified."""

    header: Header
    parts: tuple[tuple[bytes, bytes], ...]

    def joined(self, kind: bytes) -> bytes:
        """The data of all chunks of a kind."""
        return b"".join(data for name, data in self.parts if name == kind)

    def as_file(self) -> bytes:
        """The same picture without its texts, profiles and private chunks."""
        return b"".join([SIGNATURE, *(piece for name, data in self.parts for piece in _pieces(name, data))])

    def without_pixels(self) -> Chunks:
        """All that is small."""
        return Chunks(self.header, tuple(part for part in self.parts if part[0] not in (b"IDAT", b"fdAT")))

    @property
    def transparent(self) -> tuple[int, ...] | None:
        """The grey value or colour that stands for transparency, as stored; None where there is none (a palette keeps its own)."""
        data = self.joined(b"tRNS")
        if self.header.colour not in (0, 2) or len(data) != 2 * self.header.samples:
            return None
        return struct.unpack(f">{self.header.samples}H", data)


def _pieces(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """A chunk as the file has it: length, kind, data, checksum."""
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def read_header(file: BinaryIO, name: str) -> Header:
    """The first chunk alone, so that its size can be judged before more is read.

    Raises
    ------
    CorruptFileError
        Cut short, damaged, or numbers that PNG does not know.
    """
    file.seek(len(SIGNATURE))
    kind, data = _next_chunk(file, name)
    if kind != b"IHDR" or len(data) != 13:
        raise CorruptFileError(f"{name}: the PNG does not begin with its header; copy it anew from where it came")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", data)
    if 0 in (width, height) or depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise CorruptFileError(f"{name}: the PNG header says {width}x{height}, colour type {colour}, {depth} bits, which PNG does not know; write it anew")
    return Header(width, height, depth, colour, bool(interlace))


def read_chunks(file: BinaryIO, name: str) -> Chunks:
    """All that matters for the pixels; texts and profiles, however large, are passed over.

    Raises
    ------
    CorruptFileError
        Cut short, or a checksum is wrong.
    """
    header = read_header(file, name)
    file.seek(len(SIGNATURE))
    parts = [_next_chunk(file, name)]
    while parts[-1][0] != b"IEND":
        kind, data = _next_chunk(file, name)
        if kind in _KEPT:
            parts.append((kind, data))
    return Chunks(header, tuple(parts))


def deep_pixels(chunks: Chunks, name: str) -> NDArray[np.uint16]:
    """(C, H, W) of a picture with several samples of 16 bits in a pixel.

    Raises
    ------
    CorruptFileError
        The compressed pixels are damaged or too few.
    """
    header = chunks.header
    passes = _ADAM7 if header.interlaced else ((0, 0, 1, 1),)
    sizes = [(len(range(row, header.height, down)), len(range(column, header.width, right))) for row, column, down, right in passes]
    stride = 2 * header.samples
    data = _inflated(chunks.joined(b"IDAT"), sum(rows * (1 + columns * stride) for rows, columns in sizes if columns), name)
    pixels = np.zeros((header.height, header.width, header.samples), np.uint16)
    start = 0
    for (row, column, down, right), (rows, columns) in zip(passes, sizes, strict=True):
        if rows and columns:
            lines = data[start : start + rows * (1 + columns * stride)].reshape(rows, 1 + columns * stride)
            start += lines.size
            pixels[row::down, column::right] = _unfiltered(lines, stride, name).view(">u2").reshape(rows, columns, header.samples)
    return np.moveaxis(pixels, -1, 0)


def _next_chunk(file: BinaryIO, name: str) -> tuple[bytes, bytes]:
    start = file.read(8)
    length, kind = struct.unpack(">I4s", start) if len(start) == 8 else (0, b"")
    if kind and kind not in _KEPT:
        file.seek(length + 4, 1)
        return kind, b""
    left = max(0, os.fstat(file.fileno()).st_size - file.tell())  # a part that was passed over may claim to end behind the file
    data, checksum = file.read(min(length, left)), file.read(4)  # a length of 4 GB in a file of 100 bytes is not worth 4 GB of memory
    if len(start) < 8 or len(data) < length or len(checksum) < 4:
        raise CorruptFileError(f"{name}: the PNG is cut short; copy it anew from where it came")
    if zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
        raise CorruptFileError(f"{name}: the checksum of its {kind.decode('ascii')} part is wrong, the PNG is damaged; copy it anew from where it came")
    return kind, data


def _inflated(packed: bytes, size: int, name: str) -> NDArray[np.uint8]:
    try:
        data = zlib.decompressobj().decompress(packed, size)
    except zlib.error as error:
        raise CorruptFileError(f"{name}: the compressed pixels are damaged ({error}); copy it anew from where it came") from error
    if len(data) < size:
        raise CorruptFileError(f"{name}: holds {len(data)} of {size} bytes of pixels, the PNG is cut short; copy it anew from where it came")
    return np.frombuffer(data, np.uint8)


def _unfiltered(lines: NDArray[np.uint8], stride: int, name: str) -> NDArray[np.uint8]:
    """Undo the five filters: each byte is stored as its difference from a guess by its neighbours to the left and above.

    A pixel needs its left, upper and upper left neighbours, so all pixels of one anti-diagonal can be done at once::

        0 1 2 3
        1 2 3 4     the number is the step
        2 3 4 5
    """
    filters, stored = lines[:, 0], lines[:, 1:]
    if filters.max() > 4:
        raise CorruptFileError(f"{name}: names a PNG filter {int(filters.max())}, there are only 0 to 4; the PNG is damaged: copy it anew from where it came")
    height, width = stored.shape[0], stored.shape[1] // stride
    stored = stored.reshape(height, width, stride)
    done = np.zeros((height + 1, width + 1, stride), np.int16)  # a border of zeros above and to the left
    for step in range(height + width - 1):
        rows = np.arange(max(0, step - width + 1), min(height, step + 1))
        columns = step - rows
        guess = _guess(filters[rows, None], done[rows + 1, columns], done[rows, columns + 1], done[rows, columns])
        done[rows + 1, columns + 1] = (stored[rows, columns] + guess) & 0xFF
    return np.ascontiguousarray(done[1:, 1:].astype(np.uint8)).reshape(height, width * stride)


def _guess(filters: NDArray[np.uint8], left: Array, above: Array, corner: Array) -> Array:
    toward = left + above - corner
    to_left, to_above, to_corner = abs(toward - left), abs(toward - above), abs(toward - corner)
    paeth = np.where((to_left <= to_above) & (to_left <= to_corner), left, np.where(to_above <= to_corner, above, corner))
    return np.choose(filters, [np.zeros_like(left), left, above, (left + above) >> 1, paeth])
