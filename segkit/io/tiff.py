"""TIFF, decoded by tifffile: which axis is channels and which is pages, and what the numbers mean.

TIFF 6.0, Adobe 1992, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

from __future__ import annotations

import logging
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from segkit.errors import CodecError, CorruptFileError, MultiPageError, SegkitError, TooLargeError, UnsupportedError
from segkit.image import Image
from segkit.io.origin import ReadSettings
from segkit.io.pixels import Notes, check_samples, finite, label_values, narrow, without_alpha, without_opaque_alpha
from segkit.io.raster_origin import RasterOrigin, known_orientation, upright
from segkit.io.sniff import open_file
from segkit.io.tiff_codecs import PillowPages, is_for_pillow, lend_codecs

Array = NDArray[Any]

MAX_PAGES = 100_000

_DESCRIBED = ("shaped", "imagej", "ome", "lsm", "stk", "fluoview", "mmstack")  # kinds of TIFF that name their axes
_ORIENTATION = 274
_NUMBERS = ("samplesperpixel", "bitspersample", "photometric", "compression", "tilewidth", "tilelength", "tiledepth", "imagedepth", "rowsperstrip")
_ALPHA = (1, 2)  # values of ExtraSamples: alpha that the colours are multiplied with, alpha that they are not
_JPEG = (6, 7, 33007, 34892)
_MM = {"nm": 1e-6, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "\\u00b5m": 1e-3, "micron": 1e-3, "microns": 1e-3, "mm": 1.0, "cm": 10.0, "inch": 25.4}
_DAMAGE = (  # what tifffile raises on broken files; its own TiffFileError is a ValueError
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
)

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it has to say is said by errors here, not printed beside them


def read(path: Path, settings: ReadSettings) -> Image:
    """A picture (C, H, W) of whole or floating-point numbers, turned upright; pages may be a stack (S, C, H, W).

    Raises
    ------
    CorruptFileError, TooLargeError, MultiPageError, UnsupportedError, CodecError, EmptyContentError
        Damaged or cut short; too many samples or pages; several pages; colours of no plain meaning; no decoder; no finite pixel.
    """
    with _opened(path, settings) as wanted:
        seen = [_seen(array, block.page, path) for block, array in wanted.decoded()]
        orientation, spacing_mm = wanted.orientation, wanted.spacing_mm
    pixels, of_content = finite(narrow(wanted.joined([pixels for pixels, _ in seen]), str(path)), str(path))
    pixels = np.ascontiguousarray(upright(pixels, orientation, pixels.ndim - 2))
    notes = (*dict.fromkeys(note for _, of_block in seen for note in of_block), *of_content)
    if orientation != 1:
        notes += (f"turned upright by orientation tag {orientation}; masks are written onto the stored pixels",)
    return Image(pixels, spacing_mm, path, RasterOrigin(orientation, wanted.is_stack, ".tif"), notes)


def read_values(path: Path, settings: ReadSettings) -> tuple[Array, int]:
    """The numbers (H, W) or (S, H, W) of a mask as the file stores them, and its orientation: palette indices, never inverted.

    Raises
    ------
    MaskValuesError
        Pixels that are transparent, numbers that are not whole, channels that make no colour.
    CorruptFileError, TooLargeError, MultiPageError, UnsupportedError, CodecError
        As for a picture.
    """
    with _opened(path, settings) as wanted:
        meant = [_meant(array, block.page, path) for block, array in wanted.decoded()]
        return label_values(wanted.joined(meant), str(path)), wanted.orientation


@dataclass(frozen=True)
class _Block:
    """Pages of one size and kind that tifffile decodes in one go."""

    page: tifffile.TiffPage  # speaks for all
    source: Any  # a TiffPage, TiffFrame or TiffPageSeries
    axes: str
    shape: tuple[int, ...]

    @property
    def page_axes(self) -> str:
        return "".join(axis for axis in self.axes if axis not in "CSYX")

    @property
    def num_pages(self) -> int:
        return math.prod(size for axis, size in zip(self.axes, self.shape, strict=True) if axis in self.page_axes)

    @property
    def pages(self) -> list[Any]:
        """A TiffPage or TiffFrame each; None where the file lacks one."""
        return list(self.source.pages) if isinstance(self.source, tifffile.TiffPageSeries) else [self.source]

    def first(self) -> _Block:
        """Only the first page, where it can be decoded alone; channels that are pages of their own can't."""
        if not self.page_axes or not self.axes.startswith(self.page_axes) or "C" in self.axes:
            return self
        first = self.source.pages[0] if isinstance(self.source, tifffile.TiffPageSeries) else self.source
        return self if first is self.source else _Block(self.page, first, self.page.axes, self.page.shape)


@dataclass(frozen=True)
class _Wanted:
    """What of an open file is to be read."""

    path: Path
    file: tifffile.TiffFile
    pillow: PillowPages
    blocks: tuple[_Block, ...]
    is_stack: bool

    def decoded(self) -> Iterator[tuple[_Block, Array]]:
        """Each block with its samples, (P, C, S, H, W): pages, channels stored as pages, samples of a pixel."""
        for block in self.blocks:
            with _damage(self.path):
                array = self._by_pillow(block) if is_for_pillow(block.page) else block.source.asarray()
            if array.shape != block.shape:
                raise CorruptFileError(f"{self.path}: its pixels are of shape {array.shape}, its header says {block.shape}; copy it anew from where it came")
            yield block, _arranged(array, block.axes)

    def _by_pillow(self, block: _Block) -> Array:
        return self.pillow.samples([page.index for page in block.pages], block.page).reshape(block.shape)

    def joined(self, arrays: list[Array]) -> Array:
        """(P, C, S, H, W) of each block -> (P, C * S, H, W) of all; a single picture without P."""
        kinds = sorted({f"{array.shape[1] * array.shape[2]} x {array.shape[3]}x{array.shape[4]} {array.dtype}" for array in arrays})
        if len(kinds) > 1:
            raise MultiPageError(f"{self.path}: its pages differ in channels, size or type ({', '.join(kinds)}); choose --pages first, or split the file")
        pages = [array.reshape(array.shape[0], -1, *array.shape[3:]) for array in arrays]
        whole = pages[0] if len(pages) == 1 else np.concatenate(pages)  # of one page no copy: it may be a slide
        return whole if self.is_stack else whole[0]

    @property
    def orientation(self) -> int:
        """1 .. 8 of the first page."""
        return known_orientation(self.blocks[0].page.tags.valueof(_ORIENTATION))

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Of the upright grid, where OME or ImageJ give a physical size; a resolution in dots per inch is that of a printer or screen."""
        stored = _physical_size(self.file, self.blocks[0].page)  # slice, row, column
        if stored is None:
            return None
        slices, *in_plane = stored
        upright_plane = in_plane[::-1] if self.orientation > 4 else in_plane
        sizes = [slices if self.blocks[0].page_axes == "Z" else math.nan, *upright_plane] if self.is_stack else upright_plane
        return tuple(sizes) if all(math.isfinite(size) and size > 0 for size in sizes) else None


@contextmanager
def _opened(path: Path, settings: ReadSettings) -> Iterator[_Wanted]:
    lend_codecs()
    with open_file(path) as file:
        _check_directories(file, path)
        with _damage(path):
            tiff = tifffile.TiffFile(file, _multifile=False)  # an OME-TIFF may name files beside it: they are other pictures here
            blocks = _blocks(tiff)
        yield _Wanted(path, tiff, PillowPages(file), *_chosen(blocks, settings, path))


def _blocks(tiff: tifffile.TiffFile) -> list[_Block]:
    """All pages; thumbnails and transparency masks, which say so themselves, are passed over."""
    if any(getattr(tiff, f"is_{kind}") for kind in _DESCRIBED):
        return [_Block(series.keyframe, series, series.axes, series.shape) for series in tiff.series]
    pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
    whole = [page for page in pages if not (page.is_reduced or page.is_mask)] or pages[:1]
    return [_Block(page, page, page.axes, page.shape) for page in whole]


def _chosen(blocks: list[_Block], settings: ReadSettings, path: Path) -> tuple[tuple[_Block, ...], bool]:
    """The blocks to read, and whether they are a stack; judged by the headers alone."""
    if not blocks or not all(isinstance(size, int) and size > 0 for block in blocks for size in block.shape):
        raise CorruptFileError(f"{path}: holds no page with a size, the TIFF is damaged; copy it anew from where it came")
    num_pages = sum(block.num_pages for block in blocks)
    if num_pages > 1 and settings.pages == "error":
        raise MultiPageError(f"{path}: holds {num_pages} pages where one is expected; choose --pages first, or --pages all for a stack of slices")
    wanted = [blocks[0].first()] if settings.pages == "first" else blocks
    check_samples(sum(math.prod(block.shape) for block in wanted), settings.max_pixels, str(path))
    for block in wanted:
        _check_readable(block, path)
        _check_complete(block, path)
    return tuple(wanted), settings.pages == "all" and num_pages > 1


def _check_readable(block: _Block, path: Path) -> None:
    page = block.page
    if not all(isinstance(getattr(page, number), int) for number in _NUMBERS):
        raise CorruptFileError(f"{path}: its header has lists where single numbers belong, the TIFF is damaged; copy it anew from where it came")
    if page.dtype is None:
        raise UnsupportedError(f"{path}: its samples are of {page.bitspersample} bits and sample format {page.sampleformat}; convert it to 8, 16 or 32 bits")
    if "X" not in block.axes or "Y" not in block.axes:
        raise UnsupportedError(f"{path}: its axes are {block.axes}; expected rows and columns (Y and X): save it as a plain TIFF")


def _check_complete(block: _Block, path: Path) -> None:
    """What lies nowhere in the file would be read as zeros: a writer that was killed leaves such files."""
    with _damage(path):
        pages = block.pages
    for page in pages:
        if page is None:
            raise CorruptFileError(f"{path}: describes pages that it does not hold; copy it anew from where it came")
        with _damage(path):  # texts may stand where numbers belong
            strips, end = math.prod(block.page.chunked), page.parent.filehandle.size
            held = sum(1 for offset, size in zip(page.dataoffsets, page.databytecounts, strict=False) if 0 < offset < end and 0 < size <= end)
        if held < strips:
            raise CorruptFileError(f"{path}: holds {held} of {strips} strips or tiles of its pixels, it was cut short; copy it anew from where it came")


def _arranged(array: Array, axes: str) -> Array:
    """Any order of axes -> (P, C, S, H, W)."""
    at = {axis: [index for index, name in enumerate(axes) if name == axis] for axis in "CSYX"}
    pages = [index for index, name in enumerate(axes) if name not in "CSYX"]
    count = [math.prod(array.shape[index] for index in group) for group in (pages, at["C"], at["S"])]
    ordered = array.transpose(*pages, *at["C"], *at["S"], *at["Y"], *at["X"])
    return ordered.reshape(*count, *ordered.shape[-2:])


def _seen(samples: Array, page: tifffile.TiffPage, path: Path) -> tuple[Array, Notes]:
    """(P, C, S, H, W) as stored -> grey or colours as a person sees them, on black where they are transparent."""
    bits = int(page.bitspersample)
    notes: Notes = ()
    if bits in (1, 2, 4) and page.photometric != tifffile.PHOTOMETRIC.PALETTE:
        samples = samples.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
        bits, notes = 8, (f"grey values of {bits} bit{'s' * (bits > 1)} scaled to 0..255",)
    colours, alpha = _split_alpha(samples, page)
    colours, of_kind = _colours(colours, page, bits, path)
    notes += of_kind
    if alpha is None:
        return colours, notes
    colours, of_alpha = without_alpha(np.concatenate([colours, alpha], axis=-3), premultiplied=_ALPHA[0] in page.extrasamples)
    return colours, notes + of_alpha


def _meant(samples: Array, page: tifffile.TiffPage, path: Path) -> Array:
    """(P, C, S, H, W) as stored -> the same as a mask means it: without alpha, which has to be opaque."""
    numbers, alpha = _split_alpha(samples, page)
    return numbers if alpha is None else without_opaque_alpha(np.concatenate([numbers, alpha], axis=-3), str(path))


def _colours(samples: Array, page: tifffile.TiffPage, bits: int, path: Path) -> tuple[Array, Notes]:
    kinds = tifffile.PHOTOMETRIC
    match page.photometric:
        case kinds.MINISBLACK | kinds.RGB | kinds.MASK:  # three samples make colours, whichever of these the file says
            return samples, ()
        case kinds.MINISWHITE:
            return _inverted(samples, bits)
        case kinds.PALETTE:
            return _from_palette(samples, page.colormap, path), ()
        case kinds.SEPARATED if samples.shape[2] == 4 and samples.dtype.kind == "u":
            return _from_cmyk(samples), ("CMYK colours converted to RGB",)
        case kinds.YCBCR if page.compression in _JPEG:
            return samples, ()  # the JPEG decoder has made RGB of it
    kind = getattr(page.photometric, "name", page.photometric)
    raise UnsupportedError(f"{path}: its colours are of kind {kind} with {samples.shape[2]} samples in a pixel; convert the file to grey or RGB")


def _inverted(samples: Array, bits: int) -> tuple[Array, Notes]:
    """Pixels whose 0 is white, turned so that larger is brighter."""
    if samples.dtype.kind == "f":
        return samples, ("0 is said to be white, which means nothing for floating-point numbers: left as stored",)
    white = 2**bits - 1 if samples.dtype.kind == "u" else -1  # -1 - x turns the whole range of a signed type round
    return (white - samples).astype(samples.dtype), ("stored with 0 as white: inverted",)


def _from_palette(indices: Array, colormap: Array | None, path: Path) -> Array:
    is_palette = isinstance(colormap, np.ndarray) and colormap.ndim == 2 and len(colormap) == 3 and colormap.dtype.kind in "iu"
    if colormap is None or not is_palette or indices.shape[2] != 1 or int(indices.max()) >= colormap.shape[1]:
        raise CorruptFileError(f"{path}: its palette is missing or too short for its pixels; convert the file to grey or RGB")
    eight_bits = colormap >> 8 if colormap.max() > 255 else colormap  # some writers store 0..255 where TIFF means 0..65535
    return np.moveaxis(eight_bits.astype(np.uint8)[:, indices[:, :, 0].astype(np.intp)], 0, 2)


def _from_cmyk(inks: Array) -> Array:
    full = np.iinfo(inks.dtype).max
    light = full - inks.astype(np.uint64)
    return ((light[:, :, :3] * light[:, :, 3:] + full // 2) // full).astype(inks.dtype)


def _split_alpha(samples: Array, page: tifffile.TiffPage) -> tuple[Array, Array | None]:
    """Colours and other channels, and the first channel that is declared as alpha."""
    first_extra = int(page.samplesperpixel) - len(page.extrasamples)
    alpha = next((first_extra + index for index, kind in enumerate(page.extrasamples) if kind in _ALPHA), None)
    if alpha is None or alpha >= samples.shape[2]:
        return samples, None
    return np.delete(samples, alpha, axis=2), samples[:, :, alpha : alpha + 1]


def _physical_size(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> tuple[float, float, float] | None:
    """Millimetres from slice to slice, row to row and column to column of the stored grid, as OME or ImageJ give them; NaN where they don't."""
    if tiff.is_ome:
        return _ome_size(tiff.ome_metadata or "")
    if tiff.is_imagej:
        return _imagej_size(tiff.imagej_metadata or {}, page)
    return None


def _ome_size(xml: str) -> tuple[float, float, float]:
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    attributes = dict(re.findall(r'(PhysicalSize[XYZ](?:Unit)?)="([^"]*)"', pixels.group(0))) if pixels else {}

    def size_mm(axis: str) -> float:
        return _number(attributes.get(f"PhysicalSize{axis}")) * _MM.get(attributes.get(f"PhysicalSize{axis}Unit", "µm"), math.nan)

    return size_mm("Z"), size_mm("Y"), size_mm("X")


def _imagej_size(metadata: dict[str, Any], page: tifffile.TiffPage) -> tuple[float, float, float]:
    """ImageJ keeps the number of pixels in a unit of length as the resolution, and the unit in its description."""
    unit = _MM.get(str(metadata.get("unit", "")), math.nan)

    def size_mm(tag: str) -> float:
        match page.tags.valueof(tag):
            case (int(pixels), int(units)) if pixels:
                return units / pixels * unit
        return math.nan

    return _number(metadata.get("spacing")) * unit, size_mm("YResolution"), size_mm("XResolution")


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def _check_directories(file: BinaryIO, path: Path) -> None:
    """Walk the chain of pages before tifffile does: it ends in silence where a chain is broken, and a chain may be a ring."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    is_big = head[2:4] in (b"+\0", b"\0+")
    start, count, entry, link = (8, "Q", 20, "Q") if is_big else (4, "H", 12, "L")
    end = file.seek(0, os.SEEK_END)
    seen: set[int] = set()
    offset = _unpacked(order + link, head[start:], path)
    while offset:
        if offset in seen:
            raise CorruptFileError(f"{path}: its list of pages runs in a ring; write the file anew")
        if len(seen) == MAX_PAGES:
            raise TooLargeError(f"{path}: holds more than {MAX_PAGES} pages; split the file")
        seen.add(offset)
        file.seek(min(offset, end))
        entries = _unpacked(order + count, file.read(struct.calcsize("=" + count)), path)
        file.seek(min(file.tell() + entries * entry, end))
        offset = _unpacked(order + link, file.read(struct.calcsize("=" + link)), path)
    file.seek(0)


def _unpacked(layout: str, data: bytes, path: Path) -> int:
    try:
        return int(struct.unpack_from(layout, data)[0])
    except struct.error as error:
        raise CorruptFileError(f"{path}: the TIFF is cut short, its list of pages lies beyond the end of the file; copy it anew from where it came") from error


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Around calls of tifffile alone: what it raises on a broken file becomes one class."""
    try:
        yield
    except SegkitError:
        raise
    except _DAMAGE as error:
        if "imagecodecs" in str(error):
            raise CodecError(f"{path}: its pixels need a decoder that is not here ({error}); pip install imagecodecs") from error
        if isinstance(error, NotImplementedError) or ("not supported" in str(error) and not isinstance(error, TypeError)):  # "'<' not supported between ..."
            raise UnsupportedError(f"{path}: {error}; convert it to an uncompressed TIFF") from error
        raise CorruptFileError(f"{path}: damaged or cut short ({error}); copy it anew from where it came") from error
