"""Any file in, an `Image` or the numbers of a mask out; and the mask back onto the picture's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SettingsError, ShapeError, UnsupportedError
from segkit.image import Image
from segkit.io.files import Source, find_sources
from segkit.io.origin import ReadSettings
from segkit.io.raster_origin import TIFF_ENDINGS, RasterOrigin, upright
from segkit.io.sniff import Format, named, sniff
from segkit.labels import Mask

Array = NDArray[Any]

DEFAULT = ReadSettings()


def read_image(path: Path | str, settings: ReadSettings = DEFAULT) -> Image:
    """The picture or volume in a file, or in a folder that holds one DICOM series.

    Raises
    ------
    ReadError
        One of its kinds, whose message names the file, what was found and what to do.
    """
    path = Path(path)
    if path.is_dir():
        return read_series(_series_in(path), settings)
    kind = sniff(path)
    image = _reader(kind)(path, settings)
    name_says = named(path)
    if name_says in (None, kind):
        return image
    return replace(image, notes=(f"named like {name_says}, but its bytes are {kind}: read as {kind}", *image.notes))


def read_source(source: Source, settings: ReadSettings = DEFAULT) -> Image:
    """The picture of one file, or the series that lies in several."""
    return read_image(source.files[0], settings) if len(source.files) == 1 else read_series(source.files, settings)


def read_series(paths: Sequence[Path], settings: ReadSettings = DEFAULT) -> Image:
    """The volume whose slices are the DICOM files of one series, in any order.

    Raises
    ------
    ReadError
        One of its kinds: a file that can't be read, or slices that make no volume.
    """
    from segkit.io import dicom

    return dicom.read(paths[0], settings) if len(paths) == 1 else dicom.read_series(paths, settings)


def read_mask(path: Path | str, like: Image | None = None, settings: ReadSettings = DEFAULT, *, like_is: str = "image") -> Array:
    """The numbers (H, W) or (S, H, W) in a mask file, upright; palette indices and grey values as stored, colours as 0xRRGGBB.

    `like` is the picture that the mask belongs to. A mask of the size of its stored pixels is turned with it;
    a mask that was drawn on the upright picture lies right already. `like_is` is what errors call it: a mask may be compared with its truth.

    Raises
    ------
    ShapeError
        The mask has another size than `like`.
    MaskValuesError
        Numbers that are not whole, pixels that are transparent, channels that make no colour.
    ReadError
        One of its kinds, as for a picture.
    """
    path = Path(path)
    kind = sniff(path)
    if kind is Format.DICOM:
        raise UnsupportedError(f"{path}: masks are not read from DICOM; convert it to PNG, TIFF or NIfTI")
    if kind is Format.NIFTI:
        from segkit.io import nifti

        values = nifti.read_values(path, like, settings, like_is)
    else:
        values = _raster_values(path, kind, like, settings)
    if like is not None and values.shape != like.shape:
        own, other = ("x".join(map(str, shape)) for shape in (values.shape, like.shape))
        raise ShapeError(f"mask {path} is {own}, its {like_is} {like.name} is {other}; masks are never resized: correct the pair or leave it out")
    return values


def mask_suffix(image: Image) -> str:
    """The ending of a mask of this picture: ".nii.gz" for NIfTI, ".tif" for TIFF and stacks, else ".png"."""
    return str(_origin(image).mask_suffix)


def write_mask(mask: Mask, image: Image, path: Path | str) -> None:
    """Write the user's own label values onto the grid of the file that `image` came from: its size, spacing and orientation.

    Raises
    ------
    ShapeError
        The mask has another size than `image`.
    SettingsError
        The name ends otherwise than the masks of such a picture do.
    WriteError
        The file can't be written; a file that was there before is as it was.
    """
    path = Path(path)
    if mask.indices.shape != image.shape:
        raise ShapeError(f"{path}: the mask has shape {mask.indices.shape}, its image {image.name} has {image.shape}; a mask is written on its image's grid")
    origin = _origin(image)
    if not isinstance(origin, RasterOrigin) and not path.name.lower().endswith(origin.mask_suffix):
        raise SettingsError(f"{path}: a mask of {image.name} is written as {origin.mask_suffix}; end the name so")
    origin.write(mask.values, path)


def _reader(kind: Format) -> Callable[[Path, ReadSettings], Image]:
    """The `read` of a format's own module, imported when the first such file comes."""
    match kind:
        case Format.NIFTI:
            from segkit.io import nifti

            return nifti.read
        case Format.DICOM:
            from segkit.io import dicom

            return dicom.read
        case Format.TIFF:
            from segkit.io import tiff

            return tiff.read
    from segkit.io import raster

    return lambda path, settings: raster.read(path, kind, settings)


def _raster_values(path: Path, kind: Format, like: Image | None, settings: ReadSettings) -> Array:
    if kind is Format.TIFF:
        from segkit.io import tiff

        stored, orientation = tiff.read_values(path, settings)
    else:
        from segkit.io import raster

        stored, orientation = raster.read_values(path, kind, settings)
    if orientation != 1:  # the mask says itself how it lies
        return np.ascontiguousarray(upright(stored, orientation, stored.ndim - 2))
    if like is None or not isinstance(like.origin, RasterOrigin) or stored.shape != _stored_shape(like):
        return stored
    return np.ascontiguousarray(like.origin.from_file(stored))


def _stored_shape(image: Image) -> tuple[int, ...]:
    return tuple(image.origin.to_file(np.empty(image.shape, np.bool_)).shape)


def _origin(image: Image) -> Any:
    if image.origin is not None:
        return image.origin
    return RasterOrigin(is_stack=image.is_volume, mask_suffix=TIFF_ENDINGS[0] if image.is_volume else ".png")


def _series_in(folder: Path) -> tuple[Path, ...]:
    found = find_sources(folder)
    if len(found.sources) == 1 and len(found.sources[0].files) > 1:
        return found.sources[0].files
    if len(found.sources) == 1 and sniff(found.sources[0].files[0]) is Format.DICOM:
        return found.sources[0].files
    raise UnsupportedError(f"{folder}: is a folder of {len(found.sources)} pictures, not one DICOM series; name one of its files")
