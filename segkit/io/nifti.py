"""NIfTI-1 and NIfTI-2: the header says where each voxel lies, and a mask gets the header of its image.

Voxels are transposed, never resampled or mirrored, so that the way back is exact. Of the two axes within a slice
the first runs along the columns, the second along the rows::

    stored (i, j, k), slices along k   ->   pixels[k, 0, j, i]
    stored (i, j, k), slices along j   ->   pixels[j, 0, k, i]
    stored (i, j, k), slices along i   ->   pixels[i, 0, k, j]
    stored (i, j), a picture           ->   pixels[0, j, i]

Axes of length 1 behind the third one, (i, j, k, 1), are left out in between and come back in the mask's file.
The format: https://nifti.nimh.nih.gov/nifti-1/ and https://nifti.nimh.nih.gov/nifti-2/
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from segkit.errors import CorruptFileError, FormatError, MaskValuesError, SettingsError, ShapeError, UnsupportedError
from segkit.image import Image
from segkit.io.atomic import atomic_path
from segkit.io.origin import Array, ReadSettings, smallest_type
from segkit.io.pixels import check_samples, finite, label_values, narrow, without_alpha, without_opaque_alpha
from segkit.io.sniff import open_file

GEOMETRY = (
    *("pixdim", "dim_info", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
"""The fields that a mask takes from its image. The free-text ones stay behind: people's names are found there."""

RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])

_NIFTI_1: Any = nib.Nifti1Header
_NIFTI_2: Any = nib.Nifti2Header
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown (taken as mm, as everyone does), metre, millimetre, micrometre
_HIGHEST_RATIO = 1032  # deflate packs no more than that into one byte
_LARGEST_EXTENSIONS = 2**26  # bytes between header and voxels; real ones hold a few kB of text
_SAME_GRID = 0.5  # voxels that a corner of the mask's grid may lie off the image's


@dataclass(frozen=True, eq=False)
class NiftiOrigin:
    """The voxel grid of a NIfTI file (or of a DICOM series, whose mask becomes one).

    Attributes
    ----------
    header : nibabel header that holds the geometry and nothing else of the image's header
    stored_shape : the file's own shape, axes of length 1 at the end included
    slice_axis : the voxel axis that runs through the slices; None for a picture
    mask_suffix : ".nii" for the mask of an uncompressed file, else ".nii.gz"
    """

    header: Any
    stored_shape: tuple[int, ...]
    slice_axis: int | None
    mask_suffix: str = ".nii.gz"

    @classmethod
    def from_affine(cls, shape: tuple[int, int, int], affine: Array | None, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> NiftiOrigin:
        """The grid of (columns, rows, slices) voxels whose indices the (4, 4) affine takes to millimetres, RAS+.

        Without an affine the orientation codes are 0 (unknown), and only the spacing, (column, row, slice), is written.
        """
        header = _NIFTI_1() if max(shape) <= np.iinfo(np.int16).max else _NIFTI_2()
        header.set_data_shape(shape)
        header.set_zooms(spacing_mm)
        header.set_xyzt_units("mm")
        if affine is not None:
            header.set_qform(affine, code=1)  # also sets the zooms
            header.set_sform(affine, code=1)
            if not np.allclose(header.get_qform(), affine, atol=1e-3):
                header["qform_code"] = 0  # sheared (a tilted gantry): a qform can only turn
        return cls(header, shape, 2)

    @property
    def upright_shape(self) -> tuple[int, ...]:
        """(H, W) or (S, H, W)."""
        return tuple(self.stored_shape[axis] for axis in self._order)

    @property
    def affine_mm(self) -> Array | None:
        """(4, 4) voxel indices -> millimetres; None where the header doesn't say."""
        if not _is_placed(self.header):
            return None
        try:
            affine: Array = np.array(self.header.get_best_affine(), np.float64)
        except (ValueError, HeaderDataError):  # numbers that are no rotation
            return None
        affine[:3] *= _mm_per_unit(self.header)
        return affine if np.isfinite(affine).all() else None

    def to_file(self, upright: Array) -> Array:
        """(S, H, W, ...) or (H, W, ...) -> the file's own axes, (i, j, k, ...)."""
        order = self._order
        if upright.shape[: len(order)] != self.upright_shape:
            raise ShapeError(f"values have shape {upright.shape}; the grid of the file is {self.upright_shape}")
        further = range(len(order), upright.ndim)
        stored = upright.transpose(*np.argsort(order), *further)
        return stored.reshape(self.stored_shape + upright.shape[len(order) :])

    def from_file(self, stored: Array) -> Array:
        """The way back: (i, j, k, ...) -> (S, H, W, ...) or (H, W, ...)."""
        order = self._order
        tail = stored.shape[len(self.stored_shape) :]
        grid = stored.reshape(self.stored_shape[: len(order)] + tail)
        return grid.transpose(*order, *range(len(order), grid.ndim))

    def write(self, values: Array, path: Path) -> None:
        """Label values (S, H, W) as uint8 or uint16, colours (S, H, W, 3) uint8 as RGB24, probabilities (S, H, W, K) as 4-D float32.

        A picture's values have no S. Geometry and NIfTI version are the image's, bit by bit; nothing else of its header is.

        Raises
        ------
        ShapeError, MaskValuesError
            Values on another grid, or with further axes that are neither colours nor probabilities; values that 16 bits don't hold.
        SettingsError
            An ending that is not NIfTI's.
        WriteError
            The disk says no.
        """
        name = path.name.lower()
        if not name.endswith((".nii", ".nii.gz")):
            raise SettingsError(f"{path}: a mask on the grid of a NIfTI or DICOM volume is written as .nii or .nii.gz; end the name so")
        voxels = self._voxels(values, path)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            if name.endswith(".gz"):
                with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:  # neither name nor time: same mask, same bytes
                    self._write_to(packed, voxels)
            else:
                self._write_to(file, voxels)

    @property
    def _order(self) -> tuple[int, ...]:
        """The stored axis of each upright axis."""
        if self.slice_axis is None:
            return 1, 0
        first, second = (axis for axis in range(3) if axis != self.slice_axis)
        return self.slice_axis, second, first

    def _voxels(self, values: Array, path: Path) -> Array:
        """What the file holds: the file's axes and one of its types."""
        stored = self.to_file(values)
        tail = stored.shape[len(self.stored_shape) :]
        if len(tail) == 1 and stored.dtype.kind == "f":
            return stored.reshape(*_three(self.stored_shape), *tail).astype(np.float32)
        if tail == (3,) and stored.dtype == np.uint8:
            return np.ascontiguousarray(stored).view(RGB)[..., 0]
        if tail:
            raise ShapeError(
                f"{path}: can't write values of shape {values.shape} and type {values.dtype}; expected one integer a pixel, 8-bit RGB or float32 (..., K)"
            )
        if stored.dtype.kind not in "iu" or not 0 <= int(stored.min()) <= int(stored.max()) <= 0xFFFF:
            raise MaskValuesError(f"{path}: can't write label values of type {values.dtype}; expected whole numbers from 0 to 65535")
        return stored.astype(smallest_type(stored))

    def _write_to(self, file: Any, voxels: Array) -> None:
        header = self.header.copy()
        header.set_data_dtype(voxels.dtype)
        header.set_data_shape(voxels.shape)
        header["pixdim"] = self.header["pixdim"]  # the line above set those behind the last axis to 1
        header["scl_slope"], header["scl_inter"] = 1, 0
        header["descrip"] = b"segkit"
        header.write_to(file)
        file.write(voxels.tobytes(order="F"))


def read(path: Path, settings: ReadSettings) -> Image:
    """A NIfTI file -> a picture (C, H, W) or a volume (S, C, H, W); C is 1, or 3 for RGB24.

    Integers keep their type (64 bits become 32 when they fit), scaled values and float64 become float32.

    Raises
    ------
    VanishedError, DeniedError, EmptyFileError, FormatError
        Not there, not readable, no bytes, no NIfTI.
    CorruptFileError
        Cut short, damaged, or a header that can't be true.
    TooLargeError
        More voxels than `settings.max_pixels`.
    UnsupportedError
        Four or more dimensions, complex numbers, one half of a .hdr/.img pair.
    EmptyContentError
        No voxel is finite.
    """
    stored = _load(path, settings)
    origin = stored.origin(settings)
    pixels, alpha_notes = without_alpha(stored.pixels(origin)) if stored.has_alpha else (stored.pixels(origin), ())
    pixels, notes = finite(narrow(pixels, str(path)), str(path))
    spacing_mm = _spacing_mm(origin)
    if spacing_mm is None:
        notes = (*notes, "the header has neither qform nor sform (or no spacing): the spacing is unknown, areas are in pixels only")
    return Image(np.require(pixels, requirements=["C", "W"]), spacing_mm, path, origin, (*alpha_notes, *notes))


def read_values(path: Path, like: Image | None, settings: ReadSettings, like_is: str = "image") -> Array:
    """The whole numbers of a mask, (H, W) or (S, H, W), upright as `like` is, which errors call `like_is`; a colour is 0xRRGGBB.

    Raises
    ------
    ShapeError
        The mask lies on another grid than `like`: other numbers of voxels, or elsewhere in space by more than half a voxel.
    MaskValuesError
        Values that are not whole numbers, transparent colours.
    ReadError
        As in `read`.
    """
    stored = _load(path, settings)
    own = stored.origin(settings)
    if like is not None and isinstance(like.origin, NiftiOrigin):
        _check_same_grid(own, path, like.origin, f"{like_is} {like.name}")
        return _values(stored, like.origin, path)
    values = _values(stored, own, path)
    if like is not None and not like.is_volume and own.slice_axis is not None and len(values) == 1:
        values = values[0]  # the mask of a picture, drawn with a program that only knows volumes
    return values


class _Stored(NamedTuple):
    """A file as it lies on the disk: `voxels` (i, j, k, ...), for colours with a last axis of 3, or 4 with alpha."""

    header: Any
    shape: tuple[int, ...]
    voxels: Array
    packed: bool

    @property
    def has_alpha(self) -> bool:
        return self.voxels.shape[len(self.shape) :] == (4,)

    def origin(self, settings: ReadSettings) -> NiftiOrigin:
        slice_axis = None if len(self.shape) == 2 else _slice_axis(self.shape, _zooms(self.header), settings)
        return NiftiOrigin(_geometry(self.header), self.shape, slice_axis, ".nii.gz" if self.packed else ".nii")

    def pixels(self, origin: NiftiOrigin) -> Array:
        """(S, C, H, W) or (C, H, W), upright as `origin` says."""
        tail = self.voxels.shape[len(self.shape) :]
        upright = origin.from_file(self.voxels.reshape(origin.stored_shape + tail))
        return np.moveaxis(upright, -1, -3) if tail else np.expand_dims(upright, -3)


def _values(stored: _Stored, origin: NiftiOrigin, path: Path) -> Array:
    pixels = stored.pixels(origin)
    if stored.has_alpha:
        pixels = without_opaque_alpha(pixels, str(path))
    if pixels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # NaN of the signalling kind: `label_values` refuses it
            nearest = np.rint(pixels)
        close = np.isclose(pixels, nearest, rtol=0, atol=1e-3)
        pixels = np.where(close, nearest, pixels)  # a scl_slope of 1/255 leaves 0.9999999
    return label_values(pixels, str(path))


def _load(path: Path, settings: ReadSettings) -> _Stored:
    with _opened(path) as (stream, size, packed):
        header = _header(stream, path)
        shape, dtype, offset = _shape(header, path), _dtype(header, path), _offset(header, path)
        check_samples(math.prod(shape) * len(dtype.names or "1"), settings.max_pixels, str(path))
        needed = math.prod(shape) * dtype.itemsize
        most = size * _HIGHEST_RATIO if packed else max(size - offset, 0)
        stream.seek(offset)
        data = stream.read(min(needed, most + 1))  # no memory for what the file can't hold
        if len(data) < needed:
            raise CorruptFileError(
                f"{path}: {_by(shape)} voxels of {dtype} need {needed} bytes, it has {min(len(data), most)}; copy it anew from where it came"
            )
        stream.read(1)  # behind the last voxel: there gzip compares its checksum
    voxels = np.frombuffer(data, dtype).reshape(shape, order="F")
    if dtype.names:
        return _Stored(header, shape, np.stack([voxels[channel] for channel in dtype.names], axis=-1), packed)
    return _Stored(header, shape, _scaled(voxels, header, path), packed)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO | gzip.GzipFile, int, bool]]:
    """The inflated stream, the size of the file on the disk, and whether it is gzip."""
    with open_file(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            yield file, size, False
            return
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield stream, size, True
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CorruptFileError(f"{path}: its gzip stream is cut short or damaged ({error}); copy it anew from where it came") from error


def _header(stream: BinaryIO | gzip.GzipFile, path: Path) -> Any:
    """The header as it stands, of either version and byte order: its first number is its own size."""
    block = stream.read(_NIFTI_1.sizeof_hdr)
    for kind in (_NIFTI_1, _NIFTI_2):
        for order in ("<", ">"):
            if block[:4] != np.array(kind.sizeof_hdr, f"{order}i4").tobytes():
                continue
            block += stream.read(kind.sizeof_hdr - len(block))
            if len(block) < kind.sizeof_hdr:
                raise CorruptFileError(f"{path}: ends within its header, after {len(block)} of {kind.sizeof_hdr} bytes; copy it anew from where it came")
            header = kind(block, order, check=False)
            _check_magic(header, path)
            return header
    raise FormatError(f"{path}: does not begin with a NIfTI header; convert it to .nii.gz")


def _check_magic(header: Any, path: Path) -> None:
    magic = header["magic"].item().rstrip(b"\0\r\n\x1a")
    if magic in (b"ni1", b"ni2"):
        raise UnsupportedError(f"{path}: is the header of a .hdr/.img pair; convert the two to one .nii.gz")
    if magic not in (b"n+1", b"n+2"):
        raise FormatError(f"{path}: has the size but not the mark of a NIfTI header (Analyze 7.5?); convert it to .nii.gz")


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    dim = [int(size) for size in header["dim"]]
    shape = tuple(dim[1 : dim[0] + 1])
    if not 1 <= dim[0] <= 7 or min(shape) < 1:
        raise CorruptFileError(f"{path}: its header claims the impossible dimensions {dim}; write it anew")
    if len(shape) == 1 or math.prod(shape[3:]) > 1:
        raise UnsupportedError(f"{path}: has shape {_by(shape)}; expected a picture or a volume: save each volume of it as a file of its own")
    return shape


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except KeyError as error:
        raise CorruptFileError(f"{path}: its header claims the unknown data type {int(header['datatype'])}; write it anew") from error
    if dtype.names is None and dtype.kind not in "iuf":
        raise UnsupportedError(f"{path}: its voxels are of type {dtype} (code {int(header['datatype'])}); expected real numbers or colours: convert it")
    return dtype


def _offset(header: Any, path: Path) -> int:
    """Where the voxels begin."""
    offset = float(header["vox_offset"])
    if not header.sizeof_hdr + 4 <= offset <= _LARGEST_EXTENSIONS:  # also false for NaN
        raise CorruptFileError(f"{path}: its header claims that the voxels begin at byte {offset:g}; write it anew")
    return int(offset)


def _scaled(voxels: Array, header: Any, path: Path) -> Array:
    """Stored numbers -> values: by the standard scl_slope = 0 (and, in practice, NaN) means as they are."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return voxels
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise CorruptFileError(f"{path}: its values are scaled by scl_slope {slope:g} and scl_inter {intercept:g}; both must be finite: write it anew")
    if (slope, intercept) == (1, 0):
        return voxels
    with np.errstate(over="ignore"):  # infinities are found by `finite`
        return (voxels * np.float64(slope) + intercept).astype(np.float32)


def _check_same_grid(mask: NiftiOrigin, path: Path, image: NiftiOrigin, name: str) -> None:
    if _three(mask.stored_shape) != _three(image.stored_shape):
        raise ShapeError(
            f"mask {path} has {_by(mask.stored_shape)} voxels, its {name} has {_by(image.stored_shape)}; "
            "masks are never resized: correct the pair or leave it out"
        )
    off = _corners_off(mask, image)
    if off > _SAME_GRID:
        raise ShapeError(
            f"mask {path} lies on another grid than its {name}: same numbers of voxels, but up to {off:.3g} voxels apart in space; "
            "resample the mask onto it, or, if the voxels do belong together, save the mask with its header"
        )


def _corners_off(mask: NiftiOrigin, image: NiftiOrigin) -> float:
    """How far the mask's corners lie from the image's, in the image's smallest voxel edge; 0 where one of them doesn't say where it lies."""
    theirs, ours = mask.affine_mm, image.affine_mm
    if theirs is None or ours is None:
        return 0.0
    last = np.array(_three(image.stored_shape)) - 1
    corners = np.array([[*(np.array(corner) * last), 1] for corner in np.ndindex(2, 2, 2)])
    with np.errstate(over="ignore", invalid="ignore"):  # NIfTI-2 has room for distances whose squares are infinite
        edge = np.linalg.norm(ours[:3, :3], axis=0).min()
        off = np.linalg.norm((corners @ (theirs - ours).T)[:, :3], axis=1).max()
        return float(off / edge) if edge > 0 else 0.0


def _slice_axis(shape: tuple[int, ...], zooms: tuple[float, ...], settings: ReadSettings) -> int:
    if settings.slice_axis != "auto":
        return settings.slice_axis
    thin = [axis for axis in range(3) if shape[axis] == 1]
    if len(thin) == 1:
        return thin[0]  # a single slice, however thick
    return max(axis for axis in range(3) if zooms[axis] >= max(zooms) * (1 - 1e-3))  # 1 and 0.9999 mm are the same width


def _zooms(header: Any) -> tuple[float, ...]:
    """(i, j, k) distances in the header's unit, 0 where it says nothing sensible."""
    zooms = (abs(float(size)) for size in header["pixdim"][1:4])
    return tuple(size if math.isfinite(size) else 0.0 for size in zooms)


def _spacing_mm(origin: NiftiOrigin) -> tuple[float, ...] | None:
    if not _is_placed(origin.header):
        return None
    zooms = _zooms(origin.header)
    spacing = tuple(zooms[axis] * _mm_per_unit(origin.header) for axis in origin._order)
    return spacing if min(spacing) > 0 else None


def _mm_per_unit(header: Any) -> float:
    return _MM_PER_UNIT.get(int(header["xyzt_units"]) % 8, 1.0)


def _is_placed(header: Any) -> bool:
    return int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0


def _geometry(header: Any) -> Any:
    """A fresh header of the same version that holds the geometry alone."""
    fresh = type(header)()
    for field in GEOMETRY:
        fresh[field] = header[field]
    return fresh


def _three(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The first three axes of a shape; a picture is one voxel deep."""
    return (*shape, 1)[:3]


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
