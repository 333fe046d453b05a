"""PNG, JPEG, BMP and GIF, decoded by Pillow: as pictures to look at, or as masks whose numbers mean something.

Pillow's classes are called by name, not through `PIL.Image.open`, which guesses, and which warns of large pictures by a limit of its own.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Image import DecompressionBombError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile

from segkit.errors import CorruptFileError, MultiPageError, SegkitError, TooLargeError, UnsupportedError
from segkit.image import Image
from segkit.io import png
from segkit.io.origin import ReadSettings
from segkit.io.pixels import Notes, check_samples, label_values, without_alpha, without_opaque_alpha
from segkit.io.raster_origin import RasterOrigin, known_orientation, upright
from segkit.io.sniff import Format, open_file

Array = NDArray[Any]

_EXIF_ORIENTATION = 0x0112
_OPENERS: dict[Format, Callable[[BinaryIO], ImageFile]] = {
    Format.PNG: PngImageFile,
    Format.JPEG: jpeg_factory,
    Format.BMP: BmpImageFile,
    Format.GIF: GifImageFile,
}
_CHANNELS = {"1": 1, "L": 1, "I;16": 1, "LA": 2, "P": 3, "RGB": 3, "RGBA": 4, "CMYK": 4}  # a palette becomes RGB
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, struct.error, zlib.error)  # Pillow's, on broken files
_COPIED_AT_ONCE = 2**22  # pixels
_silence = partial(warnings.catch_warnings, action="ignore")  # Pillow speaks to the terminal of parts that it passes over


def read(path: Path, kind: Format, settings: ReadSettings) -> Image:
    """A picture in grey (1, H, W) or RGB (3, H, W), uint8 or uint16, turned upright; an animation may be a stack (S, C, H, W).

    Raises
    ------
    CorruptFileError, TooLargeError, MultiPageError, UnsupportedError
        Damaged or cut short; too many samples; several pictures; a kind of pixels that has no one meaning.
    """
    with open_file(path) as file:
        opened = _open(file, kind, path, settings)
        orientation, notes = _orientation(opened)
        frames = [_seen(opened) for _ in _frames(opened, settings)]
    pixels = _stacked([pixels for pixels, _ in frames], path) if _is_stack(opened, settings) else frames[0][0]
    notes = tuple(dict.fromkeys(note for _, of_frame in frames for note in of_frame)) + notes
    pixels = np.ascontiguousarray(upright(pixels, orientation, pixels.ndim - 2))
    return Image(pixels, None, path, RasterOrigin(orientation, pixels.ndim == 4, ".tif" if pixels.ndim == 4 else ".png"), notes)


def read_values(path: Path, kind: Format, settings: ReadSettings) -> tuple[Array, int]:
    """The numbers (H, W) of a mask as the file stores them, and its orientation: palette indices, 0 and 1 for one bit, colours as 0xRRGGBB.

    Raises
    ------
    MaskValuesError
        Pixels that are transparent, or channels that make no colour.
    CorruptFileError, TooLargeError, MultiPageError, UnsupportedError
        As for a picture; a mask is never an animation.
    """
    with open_file(path) as file:
        opened = _open(file, kind, path, settings)
        if _is_stack(opened, settings):
            raise UnsupportedError(f"{path}: is an animation, whose frames are blended colours; save a mask of several slices as a multi-page TIFF")
        orientation, _ = _orientation(opened)
        next(_frames(opened, settings))
        return label_values(_meant(opened), str(path)), orientation


@dataclass(frozen=True)
class _Opened:
    """A picture with its header read."""

    path: Path
    picture: ImageFile
    chunks: png.Chunks | None  # of a PNG

    @property
    def num_frames(self) -> int:
        with _damage(self.path):
            return int(getattr(self.picture, "n_frames", 1))

    @property
    def is_deep(self) -> bool:
        """A picture in 16-bit colours, which Pillow would cut to 8 bits: decoded by our own hand."""
        return self.chunks is not None and self.chunks.header.is_deep

    @property
    def grey_bits(self) -> int:
        """Bits of a grey value, less than 8 only where Pillow has scaled it up to 8."""
        return self.chunks.header.depth if self.chunks is not None and self.chunks.header.colour == 0 else 8


def _open(file: BinaryIO, kind: Format, path: Path, settings: ReadSettings) -> _Opened:
    if kind is not Format.PNG:
        with _damage(path):
            opened = _Opened(path, _OPENERS[kind](file), None)
    else:
        header = png.read_header(file, str(path))
        check_samples(header.width * header.height * header.samples, settings.max_pixels, str(path))
        chunks = png.read_chunks(file, str(path))
        with _damage(path):
            opened = _Opened(path, PngImageFile(io.BytesIO(chunks.as_file())), chunks if header.is_deep else chunks.without_pixels())
    picture = opened.picture
    if picture.mode not in _CHANNELS:
        raise UnsupportedError(f"{path}: its pixels are of kind {picture.mode}; convert the file to grey or RGB")
    check_samples(picture.width * picture.height * _CHANNELS[picture.mode], settings.max_pixels, str(path))
    return opened


def _frames(opened: _Opened, settings: ReadSettings) -> Iterator[int]:
    """Step through the frames that are wanted, each decoded when it is handed over."""
    count = opened.num_frames
    if count > 1 and settings.pages == "error":
        raise MultiPageError(f"{opened.path}: holds {count} pictures where one is expected; choose --pages first, or --pages all for a stack of slices")
    picture = opened.picture
    if _is_stack(opened, settings):
        check_samples(count * picture.width * picture.height * _CHANNELS[picture.mode], settings.max_pixels, str(opened.path))
    for frame in range(count if settings.pages == "all" else 1):
        with _damage(opened.path):
            picture.seek(frame)
            if not opened.is_deep:
                picture.load()
        yield frame


def _is_stack(opened: _Opened, settings: ReadSettings) -> bool:
    return settings.pages == "all" and opened.num_frames > 1


def _seen(opened: _Opened) -> tuple[Array, Notes]:
    """The frame as a person sees it: (1, H, W) or (3, H, W)."""
    picture, chunks = opened.picture, opened.chunks
    if picture.mode == "P":
        picture = _converted(picture, "RGBA" if "transparency" in picture.info else "RGB", opened.path)
    notes: Notes = ()
    if picture.mode == "CMYK":
        picture, notes = _converted(picture, "RGB", opened.path), ("CMYK colours converted to RGB",)
    bits = 1 if picture.mode == "1" else opened.grey_bits
    if bits < 8:
        notes = (f"grey values of {bits} bit{'s' * (bits > 1)} scaled to 0..255",)
    pixels = _samples(picture, opened)
    if picture.mode == "1":
        pixels = pixels * np.uint8(255)
    if chunks is not None and chunks.transparent is not None and picture.mode in ("1", "L", "RGB", "I;16"):
        pixels = _with_key(pixels, chunks)
    if pixels.shape[0] in (2, 4):
        pixels, of_alpha = without_alpha(pixels)
        notes += of_alpha
    return pixels, notes


def _meant(opened: _Opened) -> Array:
    """The frame as a mask means it: (C, H, W) of the stored numbers, without alpha."""
    pixels = _samples(opened.picture, opened)
    if opened.picture.mode == "L" and opened.grey_bits < 8:
        pixels = pixels // (255 // (2**opened.grey_bits - 1))
    return without_opaque_alpha(pixels, str(opened.path)) if opened.picture.mode in ("LA", "RGBA") else pixels


def _samples(picture: ImageFile, opened: _Opened) -> Array:
    """(C, H, W) as stored."""
    if opened.chunks is not None and opened.is_deep:
        if opened.num_frames > 1:
            raise UnsupportedError(f"{opened.path}: is an animation in 16-bit colours; save its frames as a 16-bit TIFF")
        return png.deep_pixels(opened.chunks, str(opened.path))
    return _planes(picture)


def _planes(picture: ImageFile) -> Array:
    """(C, H, W) of a decoded picture, some rows at a time: numpy and Pillow would together hold three more copies of it."""
    height, rows = picture.height, max(1, _COPIED_AT_ONCE // picture.width)
    strips = (_strip(picture, first, min(height, first + rows)) for first in range(0, height, rows))
    first = next(strips)
    if len(first[0]) == height:
        return first
    pixels = np.empty((len(first), height, picture.width), first.dtype)
    for number, strip in enumerate(chain([first], strips)):
        pixels[:, number * rows : number * rows + strip.shape[1]] = strip
    return pixels


def _strip(picture: ImageFile, first: int, last: int) -> Array:
    """(C, rows, W)."""
    pixels = np.array(picture.crop((0, first, picture.width, last)))
    pixels = pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels
    return np.atleast_3d(pixels).transpose(2, 0, 1)


def _with_key(pixels: Array, chunks: png.Chunks) -> Array:
    """An alpha channel from the one value or colour that a PNG declares transparent."""
    scale = 255 // (2**chunks.header.depth - 1) if chunks.header.depth < 8 else 1
    key = np.array(chunks.transparent, np.uint32)[:, None, None] * scale
    opaque = (pixels != key).any(axis=0, keepdims=True)
    return np.concatenate([pixels, opaque.astype(pixels.dtype) * np.iinfo(pixels.dtype).max])


def _stacked(frames: list[Array], path: Path) -> Array:
    """(S, C, H, W); grey frames among coloured ones become coloured."""
    sizes = sorted({frame.shape[1:] for frame in frames})
    if len(sizes) > 1:
        listed = ", ".join(f"{height}x{width}" for height, width in sizes)
        raise MultiPageError(f"{path}: its {len(frames)} pictures differ in size ({listed}); choose --pages first, or split the file")
    channels = max(frame.shape[0] for frame in frames)
    return np.stack([np.broadcast_to(frame, (channels, *frame.shape[1:])) for frame in frames])


def _orientation(opened: _Opened) -> tuple[int, Notes]:
    if opened.chunks is not None and not opened.chunks.joined(b"eXIf"):
        return 1, ()  # Pillow would decode the whole picture to look for it behind the pixels
    try:
        with _silence():
            orientation = known_orientation(opened.picture.getexif().get(_EXIF_ORIENTATION))
    except _DAMAGE as error:
        return 1, (f"Exif data could not be read ({error}); the pixels are taken as upright",)
    return orientation, () if orientation == 1 else (f"turned upright by Exif orientation {orientation}; masks are written onto the stored pixels",)


def _converted(picture: ImageFile, mode: str, path: Path) -> Any:
    with _damage(path):
        return picture.convert(mode)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Around calls of Pillow alone: what it raises on a broken file becomes one class."""
    try:
        with _silence():
            yield
    except SegkitError:
        raise
    except DecompressionBombError as error:
        raise TooLargeError(f"{path}: a frame is larger than the picture says and than is safe to decode; convert the file to PNG or TIFF") from error
    except _DAMAGE as error:
        if "-bit layers" in str(error):
            raise UnsupportedError(f"{path}: is a JPEG of more than 8 bits; convert it to a 16-bit PNG or TIFF") from error
        raise CorruptFileError(f"{path}: damaged or cut short ({error}); copy it anew from where it came") from error
