"""What all readers do to pixels once they are decoded: nothing infinite, no hidden alpha, no type that a network can't take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import EmptyContentError, MaskValuesError, TooLargeError, UnsupportedError
from segkit.labels import COLOURS

Array = NDArray[Any]
Notes = tuple[str, ...]


def check_samples(samples: int, max_pixels: int, name: str) -> None:
    """`TooLargeError` where a header claims more samples (all slices and channels) than allowed: called before they are decoded."""
    if samples > max_pixels:
        raise TooLargeError(f"{name}: holds {samples} samples, more than the {max_pixels} allowed; if it is meant to be so large, raise --max-pixels")


def finite(pixels: Array, name: str) -> tuple[Array, Notes]:
    """Pixels without NaN and infinities, any shape, and a note that says how many there were.

    They take the smallest finite value of the picture: most often they mark what lies outside of the field of view.

    Raises
    ------
    EmptyContentError
        No pixel is finite.
    """
    if not np.issubdtype(pixels.dtype, np.floating):
        return pixels, ()
    good = np.isfinite(pixels)
    missing = good.size - int(np.count_nonzero(good))
    if missing == 0:
        return pixels, ()
    if missing == good.size:
        raise EmptyContentError(f"{name}: none of its {good.size} pixels is finite (all are NaN or infinite); leave it out or write it anew")
    smallest = pixels[good].min()
    return np.where(good, pixels, smallest), (f"{missing} of {good.size} pixels were NaN or infinite; replaced by the smallest finite value, {smallest:g}",)


def narrow(pixels: Array, name: str) -> Array:
    """Types that a network can take, in the machine's byte order: 64-bit numbers become 32-bit ones, float16 becomes float32.

    Raises
    ------
    UnsupportedError
        Values beyond 32 bits, or complex numbers.
    """
    match pixels.dtype.kind, pixels.dtype.itemsize:
        case ("i" | "u") as kind, 8:
            return _within(pixels, np.dtype(f"{kind}4"), np.iinfo(f"{kind}4"), name)
        case "f", 2:
            return _as_float32(pixels)
        case "f", 8 | 12 | 16:
            return _within(pixels, np.dtype(np.float32), np.finfo(np.float32), name)
        case "b" | "i" | "u" | "f", _:
            return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    raise UnsupportedError(f"{name}: its pixels are of type {pixels.dtype}; expected whole or floating-point numbers")


def without_alpha(pixels: Array, *, premultiplied: bool = False) -> tuple[Array, Notes]:
    """(..., C + 1, H, W) with alpha as the last channel -> (..., C, H, W), on black where it is not opaque."""
    colour, alpha = pixels[..., :-1, :, :], pixels[..., -1:, :, :]
    full = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    if (alpha == full).all():
        return colour, ("alpha channel left out (it is opaque everywhere)",)
    if premultiplied:
        return colour, ("alpha channel left out; the colours were stored as they look on black",)
    if pixels.dtype.kind == "f":
        return colour * alpha, ("transparent pixels laid on black",)
    wide = colour.astype(np.uint64) * alpha
    return ((wide + full // 2) // full).astype(pixels.dtype), ("transparent pixels laid on black",)


def without_opaque_alpha(pixels: Array, name: str) -> Array:
    """The same for a mask, where a transparent pixel could mean anything.

    Raises
    ------
    MaskValuesError
        The alpha channel is not opaque.
    """
    alpha = pixels[..., -1, :, :]
    full = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    see_through = int(np.count_nonzero(alpha != full))
    if see_through:
        raise MaskValuesError(
            f"{name}: {see_through} of {alpha.size} pixels are transparent (alpha below {full}), which no label names; save the mask without an alpha channel"
        )
    return pixels[..., :-1, :, :]


def label_values(pixels: Array, name: str) -> Array:
    """(..., C, H, W) of a mask file, without alpha -> (..., H, W) integers; three channels that differ become 0xRRGGBB, of type `COLOURS`.

    Raises
    ------
    MaskValuesError
        Numbers that are not whole, or channels that are neither one nor three of 8 bits.
    """
    pixels = whole(pixels, name)
    if pixels.shape[-3] == 1:
        return pixels[..., 0, :, :]
    first, rest = pixels[..., :1, :, :], pixels[..., 1:, :, :]
    if (first == rest).all():
        return first[..., 0, :, :]
    if pixels.shape[-3] != 3 or pixels.dtype != np.uint8:
        raise MaskValuesError(f"{name}: the mask has {pixels.shape[-3]} different channels of type {pixels.dtype}; expected one, or 8-bit RGB colours")
    red, green, blue = np.moveaxis(pixels.astype(COLOURS), -3, 0)
    return np.asarray(red << 16 | green << 8 | blue)


def whole(values: Array, name: str) -> Array:
    """Floating-point label values, and those of the type that means colours, as int64, any shape; whole numbers of any other type as they are.

    Raises
    ------
    MaskValuesError
        Values that are not whole (or not finite).
    """
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        native = values.dtype.newbyteorder("=")
        return values.astype(np.int64 if native == COLOURS else native, copy=False)
    if values.dtype.kind != "f":
        raise MaskValuesError(f"{name}: the mask is of type {values.dtype}; expected whole numbers")
    with np.errstate(invalid="ignore", over="ignore"):  # NaN of the signalling kind is counted as broken; 2**53 is infinite as float16
        rounded = np.rint(values)
        broken = ~(np.isfinite(values) & (values == rounded) & (np.abs(values) < 2**53))
    if broken.any():
        raise MaskValuesError(
            f"{name}: {int(broken.sum())} of {values.size} mask values are not whole numbers, the first is {values[broken][0]:g}; save the mask as integers"
        )
    return rounded.astype(np.int64)


def _within(pixels: Array, dtype: np.dtype[Any], limits: np.iinfo[Any] | np.finfo[Any], name: str) -> Array:
    good = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    if good.size and (good.min() < limits.min or good.max() > limits.max):
        raise UnsupportedError(f"{name}: its values run from {good.min():g} to {good.max():g}, beyond what {dtype} holds; scale them and save the file anew")
    return _as_float32(pixels) if dtype.kind == "f" else pixels.astype(dtype)


def _as_float32(pixels: Array) -> Array:
    with np.errstate(invalid="ignore"):  # a NaN of the signalling kind; `finite` finds it
        return pixels.astype(np.float32)
