"""DICOM: one slice is a picture, a series or a multi-frame file is a volume in the order of its positions.

    pixel data  ->  modality LUT (RescaleSlope, ...)  ->  MONOCHROME1 inverted; PALETTE COLOR and YBR become RGB

No VOI window is applied: the model's own intensity rule does that. No tag that could tell who the patient is
finds its way into a note or an error, which is why nothing that pydicom says is quoted here.
The format: https://dicom.nema.org/medical/dicom/current/output/html/part03.html, sections C.7.6 and C.11.1
"""

from __future__ import annotations

import io
import logging
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import pydicom
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from segkit.errors import CodecError, CorruptFileError, EmptyFileError, FormatError, ReadError, SegkitError, ShapeError, TooLargeError, UnsupportedError
from segkit.image import Image
from segkit.io.nifti import NiftiOrigin
from segkit.io.origin import Array, ReadSettings
from segkit.io.pixels import check_samples, finite, narrow
from segkit.io.raster_origin import RasterOrigin
from segkit.io.sniff import Format, as_read_error, named, open_file

logging.getLogger("pydicom").propagate = False  # it quotes the values of tags

_PYDICOM_FAULTS = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError, RuntimeError, StopIteration),
    *(EOFError, struct.error, zlib.error, pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException),
)
"""What pydicom was seen to raise on damaged files; caught around its own calls only."""

_PIXEL_DATA = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NOT_PICTURES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation object (SEG), which is a mask",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "a whole-slide image in tiles; save the wanted region as TIFF",
}
_WITHOUT_IMAGES = {
    **{"RTPLAN": "a radiation plan", "PLAN": "a plan", "RTSTRUCT": "outlines", "RTRECORD": "a record of treatment", "SR": "a report"},
    **{"PR": "a way to present images", "KO": "a selection of images", "DOC": "a document", "REG": "a registration"},
    **{"ECG": "an electrocardiogram", "AU": "sound", "HD": "haemodynamic curves"},
}
_LARGEST_INFLATED = 2**28  # bytes that a deflated data set may hold; pydicom itself knows no limit
_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    **dict.fromkeys(("PixelSpacing", "ImagerPixelSpacing", "SpacingBetweenSlices", "SliceThickness"), "PixelMeasuresSequence"),
    **dict.fromkeys(("RescaleSlope", "RescaleIntercept"), "PixelValueTransformationSequence"),
}
"""Where enhanced multi-frame files keep what others keep at the top."""

_SAME = 1e-2  # of directions (cosines) and, relatively, of spacings
_SAME_PLACE_MM = 1e-3
_UNEVEN = 0.1  # of a step that a slice may lie off its place
_ROUNDED_MM = 0.1  # so far off may headers lie that round positions to a tenth of a millimetre


def read(path: Path, settings: ReadSettings) -> Image:
    """A DICOM file -> a picture (C, H, W), or, of several frames, a volume (S, C, H, W) in the order of their positions.

    Stored integers keep their type unless a modality LUT makes them float32; C is 1, or 3 for colours.

    Raises
    ------
    VanishedError, DeniedError, EmptyFileError, FormatError
        Not there, not readable, no bytes, no DICOM.
    CorruptFileError
        Cut short, damaged, or a header that can't be true.
    TooLargeError
        More samples than `settings.max_pixels`, known before anything is decoded.
    CodecError
        Compressed in a way that needs another package.
    UnsupportedError
        Not an image (RTPLAN, ...), or frames that are no stack of slices.
    """
    header = _header(path, settings)
    pixels, notes = _pixels(path, header)
    notes = (*notes, *_spacing_notes(header))
    frames = len(pixels)
    if frames == 1:
        return Image(pixels[0], _plane(header, 0, path.name).spacing_mm, path, RasterOrigin(), notes)
    planes = [_plane(header, frame, f"frame {frame + 1}") for frame in range(frames)]
    stack = _stack(planes, str(path), "save its frames as single files")
    return _volume(pixels[stack.order], stack, path, notes)


def read_series(paths: Sequence[Path], settings: ReadSettings) -> Image:
    """The files of one series, one slice each -> a volume (S, C, H, W), sorted along the normal of the slices.

    Where a file has no position or orientation all are sorted by InstanceNumber; names never count. `source` is the folder.

    Raises
    ------
    ShapeError
        The slices differ in size, channels, orientation or spacing (a localiser among them, or two series).
    UnsupportedError
        Two slices at the same place, one missing or shifted, multi-frame files among others, or nothing that tells the order.
    ReadError
        As in `read`, of any of the files.
    """
    if not paths:
        raise ValueError("paths is empty; a series needs at least one file")
    folder = paths[0].parent
    headers = [_header(path, settings) for path in paths]
    for header in headers:
        _check_belongs(header, headers[0], folder)
    check_samples(sum(header.samples for header in headers), settings.max_pixels, str(folder))
    stack = _stack([_plane(header, 0, header.path.name) for header in headers], str(folder), "list the files in a manifest (CSV, column image)")
    slices, notes = zip(*(_pixels(headers[index].path, headers[index]) for index in stack.order), strict=True)
    pixels = narrow(np.concatenate(slices), str(folder))  # int32 beside float32 makes float64
    said = dict.fromkeys(note for each in notes for note in each)
    return _volume(pixels, stack, folder, (*said, *_spacing_notes(headers[0])))


def series_of(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """SeriesInstanceUID -> the files that are its slices, in the order given; only headers are read.

    Alone, under its own path, stands what is no slice among others: several frames in a file, or pictures without a position and an
    orientation in space (radiographs, ultrasound and photographs share a series, but make no volume). So does a file that is named
    .dcm or begins as DICOM but can't be read: reading it names the fault, and no slice is lost in silence.
    What is not DICOM, or DICOM without a picture (RTPLAN, DICOMDIR, ...), is left out.
    """
    series: dict[str, list[Path]] = {}
    for path in paths:
        key = _series_key(path)
        if key is not None:
            series.setdefault(key, []).append(path)
    return series


class _Header(NamedTuple):
    """A data set without its pixels, sizes checked."""

    path: Path
    data: pydicom.Dataset
    shape: tuple[int, int]
    frames: int
    channels: int

    @property
    def samples(self) -> int:
        return math.prod(self.shape) * self.frames * self.channels


class _Plane(NamedTuple):
    """Where one slice lies in the patient, millimetres, LPS+; None is unknown."""

    name: str
    position: Array | None  # (3,) centre of the first pixel
    directions: Array | None  # (2, 3) unit vectors along a row (column index grows) and along a column
    spacing_mm: tuple[float, float] | None  # (row, column)
    distance_mm: float | None  # to the next slice, as the header claims
    number: int | None  # InstanceNumber, or that of the frame

    @property
    def is_placed(self) -> bool:
        return self.position is not None and self.directions is not None


class _Stack(NamedTuple):
    """The order of the slices, and the grid that they make."""

    order: list[int]
    spacing_mm: tuple[float, float, float] | None
    affine: Array | None  # (4, 4) voxel (column, row, slice) -> millimetres, RAS+
    notes: tuple[str, ...]


def _volume(pixels: Array, stack: _Stack, source: Path, notes: tuple[str, ...]) -> Image:
    slices, _, height, width = pixels.shape
    spacing = stack.spacing_mm
    known = (1.0, 1.0, 1.0) if spacing is None else (spacing[2], spacing[1], spacing[0])
    origin = NiftiOrigin.from_affine((width, height, slices), stack.affine, known)
    return Image(pixels, stack.spacing_mm, source, origin, (*notes, *stack.notes))


# ---- from the file to a data set


def _header(path: Path, settings: ReadSettings) -> _Header:
    data = _data_set(path, stop_before_pixels=True)
    kind = _get(data, path, "SOPClassUID")
    if str(kind) in _NOT_PICTURES:
        raise UnsupportedError(f"{path}: is {_NOT_PICTURES[str(kind)]}")
    rows, columns = _whole(data, path, "Rows"), _whole(data, path, "Columns")
    if rows is None or columns is None:
        if _should_be_image(kind):
            raise CorruptFileError(f"{path}: its header has no Rows and Columns, it is cut short or damaged; copy it anew from where it came")
        raise UnsupportedError(f"{path}: is not an image: {_without_pixels(data, path)}; leave it out")
    frames, samples = _whole(data, path, "NumberOfFrames") or 1, _whole(data, path, "SamplesPerPixel") or 1
    if min(rows, columns, frames) < 1:
        raise CorruptFileError(f"{path}: its header claims {frames} frames of {rows}x{columns} pixels; write it anew")
    if samples not in (1, 3):
        raise UnsupportedError(f"{path}: has {samples} samples a pixel; expected 1 or 3")
    palette = _get(data, path, "PhotometricInterpretation") == "PALETTE COLOR"
    header = _Header(path, data, (rows, columns), frames, 3 if palette else samples)
    check_samples(header.samples, settings.max_pixels, str(path))
    return header


def _data_set(path: Path, **how: Any) -> pydicom.Dataset:
    with open_file(path) as file:
        _check_mark(file, path)
        with _reading(path):
            meta = _meta(file)
            deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        source: Any = _inflated(path, meta) if deflated else _Bounded(file)
        with _reading(path):
            source.seek(0)
            return pydicom.dcmread(source, **how)


class _Bounded:
    """A file that is asked for no more bytes than it has: a damaged length may claim gigabytes, for which memory would be taken."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        self._size = os.fstat(file.fileno()).st_size

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self.tell())
        return self._read(left if size < 0 else min(size, left))


def _check_mark(file: BinaryIO, path: Path) -> None:
    if file.read(132)[128:] != b"DICM":
        raise FormatError(f"{path}: has no DICOM preamble (DICM at byte 128); if it is DICOM of the old kind, write it anew, e.g. with dcmconv of DCMTK")


def _meta(file: BinaryIO) -> pydicom.dataset.FileMetaDataset:
    """The group of tags behind the mark, which says how the others are stored; as pydicom reads it, so that both see the same."""
    for is_implicit in (False, True):  # a few writers know only one way
        file.seek(132)
        group = read_dataset(cast(BinaryIO, _Bounded(file)), is_implicit, True, stop_when=lambda tag, *_: tag >> 16 != 2)
        meta = pydicom.dataset.FileMetaDataset(group)
        meta.set_original_encoding(is_implicit, True, "iso8859")
        with suppress(NotImplementedError):  # a kind of value that there is none of
            if meta:
                meta[next(iter(meta.keys()))]
            break
    return meta


def _inflated(path: Path, meta: pydicom.dataset.FileMetaDataset) -> io.BytesIO:
    """The same file with its data set inflated, as far as `_LARGEST_INFLATED`: pydicom would inflate without an end."""
    with open_file(path) as file, _reading(path):
        file.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))  # preamble and mark; the length itself; what it counts
        inflator = zlib.decompressobj(-zlib.MAX_WBITS)
        content = inflator.decompress(file.read(), _LARGEST_INFLATED + 1)
    if len(content) > _LARGEST_INFLATED:
        raise TooLargeError(f"{path}: its deflated data set holds more than {_LARGEST_INFLATED} bytes; write it anew without deflating")
    if not inflator.eof:
        raise CorruptFileError(f"{path}: its deflated data set is cut short; copy it anew from where it came")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = DicomBytesIO()
    buffer.write(b"\0" * 128 + b"DICM")
    with _reading(path):
        write_file_meta_info(buffer, meta, enforce_standard=False)
    return io.BytesIO(buffer.getvalue() + content)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Around calls of pydicom: what it raises becomes ours, and it stays silent, because it quotes the values of tags."""
    try:
        with pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SegkitError:
        raise
    except OSError as error:
        raise as_read_error(error, path) from error
    except _PYDICOM_FAULTS:
        raise CorruptFileError(f"{path}: its DICOM tags are cut short or damaged; copy it anew from where it came") from None  # its words may quote a patient


def _series_key(path: Path) -> str | None:
    keywords = ("SeriesInstanceUID", "NumberOfFrames", "SOPClassUID", "Rows", "Columns")
    try:
        data = _data_set(path, stop_before_pixels=True, specific_tags=[*keywords, "ImagePositionPatient", "ImageOrientationPatient"])
        series, frames, kind, rows, columns = (_get(data, path, keyword) for keyword in keywords)
        plane = _plane(_Header(path, data, (0, 0), 1, 1), 0, path.name)
    except (EmptyFileError, FormatError):
        return str(path) if named(path) is Format.DICOM else None
    except ReadError:
        return str(path)
    if str(kind) in _NOT_PICTURES or (None in (rows, columns) and not _should_be_image(kind)):
        return None
    is_slice = series and plane.is_placed and frames in (None, 1)
    return str(series) if is_slice else str(path)


# ---- tags


def _should_be_image(kind: Any) -> bool:
    """What a SOPClassUID says; without one the header is damaged, and it may have been an image."""
    return not isinstance(kind, UID) or "Image" in kind.name


def _without_pixels(data: pydicom.Dataset, path: Path) -> str:
    """Says the modality, if it is one of those without images: in a damaged header anything could stand there."""
    modality = str(_get(data, path, "Modality"))
    return f"it holds {_WITHOUT_IMAGES[modality]} ({modality}), no pixels" if modality in _WITHOUT_IMAGES else "it holds no pixels"


def _get(data: pydicom.Dataset, path: Path, keyword: str) -> Any:
    with _reading(path):
        value = data.get(keyword)
    return None if value == "" else value


def _whole(data: pydicom.Dataset, path: Path, keyword: str) -> int | None:
    value = _get(data, path, keyword)
    with _reading(path):
        return None if value is None else int(value)


def _frame_value(header: _Header, frame: int, keyword: str) -> Any:
    """The value for one frame: its own, the one that all frames share, or the one at the top."""
    own = _grouped(header, "PerFrameFunctionalGroupsSequence", frame, keyword)
    if own is not None or (header.frames > 1 and keyword == "ImagePositionPatient"):
        return own  # one place for all frames tells nothing
    shared = _grouped(header, "SharedFunctionalGroupsSequence", 0, keyword)
    return shared if shared is not None else _get(header.data, header.path, keyword)


def _grouped(header: _Header, groups: str, index: int, keyword: str) -> Any:
    with _reading(header.path):
        items = header.data.get(groups) or ()
        nested = items[index].get(_GROUPS[keyword]) if index < len(items) else None
        return _get(nested[0], header.path, keyword) if nested else None


def _numbers(header: _Header, frame: int, keyword: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers, or None."""
    value = _frame_value(header, frame, keyword)
    with _reading(header.path):
        values = [value] if count == 1 else value
        if value is None or isinstance(values, str | float) or len(values) != count or None in values:
            return None
        numbers = tuple(float(number) for number in values)
    return numbers if all(math.isfinite(number) for number in numbers) else None


# ---- pixels


def _pixels(path: Path, header: _Header) -> tuple[Array, tuple[str, ...]]:
    """All frames in the file's order, (frames, C, H, W), and what was done to them."""
    data = _data_set(path)
    if not any(keyword in data for keyword in _PIXEL_DATA):
        raise UnsupportedError(f"{path}: is not an image: {_without_pixels(data, path)}; leave it out")
    stored, kind = _decoded(data, path)
    stored = stored.reshape(header.frames, *header.shape, -1)
    if kind in ("MONOCHROME1", "MONOCHROME2"):
        frames = np.stack([_grey(stored[frame, ..., 0], header, frame, inverted=kind == "MONOCHROME1") for frame in range(header.frames)])[:, None]
    elif kind == "PALETTE COLOR":
        frames = np.moveaxis(_coloured(stored[..., 0], data, path), -1, 1)
    elif kind == "RGB":
        frames = np.moveaxis(stored, -1, 1)
    else:
        raise UnsupportedError(f"{path}: its photometric interpretation is {kind}; expected grey, palette, RGB or YBR_FULL: convert it")
    pixels, notes = finite(narrow(frames, str(path)), str(path))
    if kind == "MONOCHROME1":
        notes = ("stored with white as the lowest value (MONOCHROME1); inverted", *notes)
    return pixels, notes


def _decoded(data: pydicom.Dataset, path: Path) -> tuple[Array, str]:
    """Stored values, unused bits cleared, YBR already RGB; and the photometric interpretation that they have now."""
    syntax = _transfer_syntax(data, path)
    extra = _extra_codec(syntax)
    try:
        decoder: Any = get_decoder(syntax)
    except NotImplementedError as error:
        raise CodecError(f"{path}: is stored as {syntax.name}, which pydicom can't decode; convert it, e.g. with dcmdjpeg of DCMTK") from error
    beyond_pillow = syntax.name.startswith("JPEG Extended") and _whole(data, path, "BitsStored") != 8 and decoder.available_plugins == ("pillow",)
    if not decoder.is_available or beyond_pillow:
        raise CodecError(f"{path}: is compressed as {syntax.name}; to read it, pip install {extra}")
    if not syntax.is_compressed:
        _check_length(data, path)
    try:
        with _reading(path):
            stored, properties = decoder.as_array(data, allow_excess_frames=False)
    except CorruptFileError as error:
        hint = f", or of a kind for which to pip install {extra}" if syntax.is_encapsulated else ""
        raise CorruptFileError(f"{path}: its pixel data ({syntax.name}) can't be decoded: damaged{hint}") from error
    return stored, str(properties["photometric_interpretation"])


def _transfer_syntax(data: pydicom.Dataset, path: Path) -> UID:
    syntax = _get(data.file_meta, path, "TransferSyntaxUID")
    if not (isinstance(syntax, UID) and syntax.is_valid):
        raise CorruptFileError(f"{path}: does not say how its pixels are stored (no TransferSyntaxUID); write it anew")
    return syntax


def _extra_codec(syntax: UID) -> str:
    return "pylibjpeg pylibjpeg-openjpeg" if "2000" in syntax.name else "pylibjpeg pylibjpeg-libjpeg"


def _check_length(data: pydicom.Dataset, path: Path) -> None:
    with _reading(path):
        needed, held = get_expected_length(data), max(len(data[keyword].value or b"") for keyword in _PIXEL_DATA if keyword in data)
        is_short = held < needed  # no number where the tags that it is made of are words
    if is_short:
        raise CorruptFileError(f"{path}: its pixel data should have {needed} bytes, it has {held}; copy it anew from where it came")


def _grey(stored: Array, header: _Header, frame: int, *, inverted: bool) -> Array:
    """(H, W) stored numbers -> values: the modality LUT, then the inversion of MONOCHROME1.

    Inverted means lowest + highest - value, of all values that the header allows, so that each slice of a series gets the same.
    """
    values, extremes = _modality(stored, header, frame)
    if not inverted:
        return values
    wide = np.float64 if values.dtype.kind == "f" else np.int64
    return (extremes - values.astype(wide)).astype(values.dtype)


def _modality(stored: Array, header: _Header, frame: int) -> tuple[Array, float]:
    """Values after the modality LUT; and their lowest + highest."""
    if _get(header.data, header.path, "ModalityLUTSequence"):
        with _reading(header.path):
            values: Array = apply_modality_lut(stored.astype(np.int32), header.data)
        return values, np.iinfo(values.dtype).max
    slope, intercept = _rescale(header, frame)
    extremes = _extremes(stored, header)
    if (slope, intercept) == (1, 0):
        return stored, extremes
    return (stored * np.float64(slope) + intercept).astype(np.float32), slope * extremes + 2 * intercept


def _rescale(header: _Header, frame: int) -> tuple[float, float]:
    """Slope and intercept; missing or empty ones are 1 and 0."""
    slope, intercept = _frame_value(header, frame, "RescaleSlope"), _frame_value(header, frame, "RescaleIntercept")
    with _reading(header.path):
        numbers = float(1 if slope is None else slope), float(0 if intercept is None else intercept)
    if not all(map(math.isfinite, numbers)) or numbers[0] == 0:
        raise CorruptFileError(
            f"{header.path}: its values are rescaled by slope {numbers[0]:g} and intercept {numbers[1]:g}; expected finite ones, slope not 0"
        )
    return numbers


def _extremes(stored: Array, header: _Header) -> int:
    """Lowest + highest value that fits into the stored bits; 0 for floats."""
    if stored.dtype.kind == "f":
        return 0
    return -1 if stored.dtype.kind == "i" else 2 ** (_whole(header.data, header.path, "BitsStored") or 8 * stored.itemsize) - 1


def _coloured(indices: Array, data: pydicom.Dataset, path: Path) -> Array:
    """(...) palette indices -> (..., 3) uint8 or uint16; indices beyond the palette get its last colour."""
    if _transfer_syntax(data, path) == ExplicitVRBigEndian:
        raise UnsupportedError(f"{path}: has a palette in big-endian order; convert it to little endian")
    with _reading(path):
        entries, first, _ = data.RedPaletteColorLookupTableDescriptor
        inside = np.clip(indices.astype(np.int32), first, first + (entries or 2**16) - 1)
        colours: Array = apply_color_lut(inside, data)
    return colours[..., :3]


# ---- where the slices lie


def _plane(header: _Header, frame: int, name: str) -> _Plane:
    position, cosines = _numbers(header, frame, "ImagePositionPatient", 3), _numbers(header, frame, "ImageOrientationPatient", 6)
    distances = (_numbers(header, frame, keyword, 1) for keyword in ("SpacingBetweenSlices", "SliceThickness"))
    return _Plane(
        name,
        None if position is None else np.array(position),
        None if cosines is None else _directions(cosines),
        _pixel_spacing(header, frame),
        next((abs(distance[0]) for distance in distances if distance is not None and distance[0] != 0), None),
        frame if header.frames > 1 else _whole(header.data, header.path, "InstanceNumber"),
    )


def _directions(cosines: tuple[float, ...]) -> Array | None:
    """(2, 3) unit vectors, or None where the header's numbers are no two such."""
    directions = np.array(cosines).reshape(2, 3)
    return directions if np.allclose(directions @ directions.T, np.eye(2), atol=_SAME) else None


def _pixel_spacing(header: _Header, frame: int) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        numbers = _numbers(header, frame, keyword, 2)
        if numbers is not None and min(numbers) > 0:
            return numbers[0], numbers[1]
    return None


def _spacing_notes(header: _Header) -> tuple[str, ...]:
    if _pixel_spacing(header, 0) is None:
        return ("the header has no PixelSpacing: the spacing is unknown, areas are in pixels only",)
    if _numbers(header, 0, "PixelSpacing", 2) is None:
        return ("the spacing is that on the detector (ImagerPixelSpacing); in the body it is smaller",)
    return ()


def _stack(planes: Sequence[_Plane], name: str, singly: str) -> _Stack:
    """The order of the slices, and the grid that they make; `singly` says how they could be segmented one by one where they make none."""
    _check_parallel(planes, name)
    first = planes[0]
    positions = [plane.position for plane in planes if plane.position is not None]
    if first.directions is None or len(positions) < len(planes):
        return _unplaced(planes, name)
    normal = np.cross(*first.directions)
    normal /= np.linalg.norm(normal)
    order = [int(index) for index in np.argsort(np.array(positions) @ normal, kind="stable")]
    placed, ordered = np.array(positions)[order], [planes[index] for index in order]
    _check_apart(ordered, placed @ normal, name)
    _check_even(ordered, placed, normal, name, singly)
    return _placed(order, first, placed, normal)


def _placed(order: list[int], like: _Plane, positions: Array, normal: Array) -> _Stack:
    """From the (S, 3) positions in their order: the affine takes the first and the last slice to where they are, those in between are spread evenly.

    ::

        heights   0.0   6.5   13.0        distance 6.5 mm
                  first       last        step = (last - first) / 2, not along the normal where the gantry was tilted
    """
    gaps = np.diff(positions @ normal)
    distance, spacing_mm = float(gaps.mean()) if len(gaps) else like.distance_mm, like.spacing_mm
    if distance is None or spacing_mm is None or like.directions is None:
        return _Stack(order, None, None, ("the distance of pixels or slices is unknown: the mask is written without a place in space",))
    step = (positions[-1] - positions[0]) / len(gaps) if len(gaps) else normal * distance
    affine = np.eye(4)
    affine[:3] = np.column_stack([like.directions[0] * spacing_mm[1], like.directions[1] * spacing_mm[0], step, positions[0]])
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's axes point to the left and the back, NIfTI's to the right and the front
    return _Stack(order, (distance, *spacing_mm), to_ras @ affine, _gap_notes(gaps, step, normal))


def _unplaced(planes: Sequence[_Plane], name: str) -> _Stack:
    """Without positions: the order of the frames in their file, or of the InstanceNumbers."""
    numbers = [plane.number for plane in planes if plane.number is not None]
    if len(set(numbers)) < len(planes):
        raise UnsupportedError(f"{name}: neither positions nor InstanceNumbers tell the order of its slices; convert it to NIfTI with a tool that knows it")
    order = [int(index) for index in np.argsort(numbers)]
    first = planes[0]
    spacing = (first.distance_mm, *first.spacing_mm) if first.spacing_mm is not None and first.distance_mm is not None else None
    distance = "at the distance that the header claims" if spacing else "at an unknown distance"
    note = f"no positions or orientation: slices are in the order of their numbers, {distance}; the mask is written without a place in space"
    return _Stack(order, spacing, None, (note,))


def _gap_notes(gaps: Array, step: Array, normal: Array) -> tuple[str, ...]:
    if not len(gaps):
        return ()
    notes = []
    if np.ptp(gaps) > _SAME * gaps.mean():
        notes.append(f"the distances between slices are uneven, {gaps.min():.4g} to {gaps.max():.4g} mm; taken as {gaps.mean():.4g}")
    if np.linalg.norm(np.cross(step, normal)) > _SAME * np.linalg.norm(step):
        notes.append("the slices are shifted against each other (a tilted gantry); the volume is sheared, not resampled")
    return tuple(notes)


def _check_apart(planes: Sequence[_Plane], heights: Array, name: str) -> None:
    for before, after, gap in zip(planes, planes[1:], np.diff(heights), strict=False):
        if gap < _SAME_PLACE_MM:
            raise UnsupportedError(
                f"{name}: {before.name} and {after.name} lie at the same place; a volume has one slice a place: "
                "save each time point, echo or reconstruction as a series of its own"
            )


def _check_even(planes: Sequence[_Plane], positions: Array, normal: Array, name: str, singly: str) -> None:
    """No slice lies further from its place on the even grid than a small part of a step: a mask would be drawn into another part of the body.

    ::

        heights   -12.5   -7.5         2.5    7.5        even steps of 6.67 mm from first to last
        places    -12.5      -5.8   0.8       7.5        the second slice lies 1.7 mm off: the widest gap is 10 mm, the others are 5
    """
    if len(planes) < 3:
        return
    heights, off = positions @ normal, positions - np.linspace(positions[0], positions[-1], len(planes))          # (S,) and (S, 3)
    sideways = off - np.outer(off @ normal, normal)
    gaps = np.diff(heights)
    allowed = max(_UNEVEN * gaps.mean(), min(_ROUNDED_MM, gaps.mean() / 4))
    if np.abs(off @ normal).max() > allowed:
        usual = np.sort(gaps)[(len(gaps) - 1) // 2]
        at = int(np.argmax(np.abs(gaps - usual)))
        ends = f"{planes[at].name} and {planes[at + 1].name} (at {heights[at]:.5g} and {heights[at + 1]:.5g} mm)"
        found = f"between {ends} lie {gaps[at]:.4g} mm, between other slices {usual:.4g} mm"
    elif np.linalg.norm(sideways, axis=1).max() > allowed:
        jumps = np.linalg.norm(np.diff(sideways, axis=0), axis=1)
        at = int(np.argmax(jumps))
        found = f"{planes[at].name} and {planes[at + 1].name} are shifted sideways against each other, by {jumps[at]:.4g} mm more than other slices"
    else:
        return
    raise UnsupportedError(f"{name}: {found}; a volume has even steps: bring what is missing, or {singly} to have each segmented by itself")


def _check_parallel(planes: Sequence[_Plane], name: str) -> None:
    """All slices look the same way and have pixels of the same size."""
    first = planes[0]
    for plane in planes[1:]:
        if not _alike(first.directions, plane.directions, atol=_SAME):
            raise ShapeError(f"{name}: {first.name} and {plane.name} look into different directions; a localiser among the slices? Leave it out")
        if not _alike(first.spacing_mm, plane.spacing_mm, rtol=_SAME):
            raise ShapeError(
                f"{name}: {first.name} and {plane.name} have different pixel spacings, {first.spacing_mm} and {plane.spacing_mm} mm; leave one out"
            )


def _alike(ours: Any, theirs: Any, *, rtol: float = 0.0, atol: float = 0.0) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return np.allclose(ours, theirs, rtol=rtol, atol=atol)


def _check_belongs(header: _Header, first: _Header, folder: Path) -> None:
    """Slices of one series, of one size."""
    if header.frames > 1:
        raise UnsupportedError(f"{folder}: {header.path.name} holds {header.frames} frames, a volume by itself; read it alone")
    series, own = (_get(each.data, each.path, "SeriesInstanceUID") for each in (first, header))
    if series != own:
        raise UnsupportedError(f"{folder}: {first.path.name} and {header.path.name} belong to different series; read each series alone")
    if (header.shape, header.channels) != (first.shape, first.channels):
        raise ShapeError(
            f"{folder}: {header.path.name} is {header.shape[0]}x{header.shape[1]} with {header.channels} channels, {first.path.name} is "
            f"{first.shape[0]}x{first.shape[1]} with {first.channels}; a localiser among the slices? Leave it out"
        )
