"""What a file is, told by its first bytes: names lie, and readers disagree about what to do then."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from segkit.errors import CorruptFileError, DeniedError, EmptyFileError, FormatError, ReadError, SegkitError, UnsupportedError, VanishedError


class Format(StrEnum):
    """The formats that segkit reads."""

    PNG = "PNG"
    JPEG = "JPEG"
    BMP = "BMP"
    GIF = "GIF"
    TIFF = "TIFF"
    NIFTI = "NIfTI"
    DICOM = "DICOM"


READABLE = "segkit reads PNG, JPEG, BMP, GIF, TIFF, NIfTI and DICOM"

ENDINGS = {
    Format.PNG: (".png", ".apng"),
    Format.JPEG: (".jpg", ".jpeg", ".jpe", ".jfif"),
    Format.BMP: (".bmp", ".dib"),
    Format.GIF: (".gif",),
    Format.TIFF: (".tif", ".tiff"),
    Format.NIFTI: (".nii", ".nii.gz"),
    Format.DICOM: (".dcm", ".ima"),
}
"""How files of each format are named; a name only ever gives a hint."""

_HEADER_BYTES = 352  # a NIfTI-1 header and its extension flag; every other format shows itself earlier

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"\xff\xd8\xff", Format.JPEG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"II*\0", Format.TIFF),
    (b"MM\0*", Format.TIFF),
    (b"II+\0", Format.TIFF),  # BigTIFF
    (b"MM\0+", Format.TIFF),
)

_STRANGERS = (
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"%PDF", "a PDF document: export its pages as PNG"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture: convert it to PNG or TIFF"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture: convert it to PNG or TIFF"),
    (b"\xff\x0a", "a JPEG XL picture: convert it to PNG or TIFF"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture: convert it to PNG or TIFF"),
    (b"NRRD", "an NRRD volume: convert it to NIfTI"),
    (b"ObjectType", "a MetaImage volume: convert it to NIfTI"),
    (b"version https://git-lfs", "a Git LFS pointer, not the picture itself: run git lfs pull"),
    (b"\x89HDF", "an HDF5 file: export its pictures as TIFF or NIfTI"),
    (b"MATLAB 5.0", "a MATLAB file: export its pictures as TIFF or NIfTI"),
    (b"\x93NUMPY", "a NumPy array: save it as TIFF or NIfTI"),
    (b"8BPS", "a Photoshop document: export it as PNG or TIFF"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture: convert it to TIFF"),
    (b"\x02\x00\x00\x00UL", "DICOM without its 128-byte preamble: write it anew with dcmconv or pydicom"),
    (b"\x08\x00\x05\x00CS", "DICOM without its 128-byte preamble: write it anew with dcmconv or pydicom"),
    (b"\x1f\x8b", "gzip: unpack it first"),
)

_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))


def sniff(path: Path | str) -> Format:
    """The format of a file by its first bytes.

    Raises
    ------
    EmptyFileError, VanishedError, DeniedError
        No bytes; no such file; not allowed.
    FormatError
        Not a regular file, or of no format that segkit reads; the message says what the bytes look like.
    UnsupportedError
        NIfTI or Analyze as a pair of two files.
    CorruptFileError
        A gzip stream that breaks off within the NIfTI header.
    """
    path = Path(path)
    with open_file(path) as file:
        head = file.read(_HEADER_BYTES)
        if head.startswith(b"\x1f\x8b"):
            return _sniff_gzip(path, head + file.read(64 * 1024))
    found = _known(head, path)
    if found is Format.NIFTI and path.name.lower().endswith(".gz"):
        raise FormatError(f"{path}: is a NIfTI file that is not compressed; rename it to {path.name[:-3]}")
    if found is None:
        raise FormatError(f"{path}: {_look(head, path)}; {READABLE}")
    return found


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """A regular file with at least one byte, opened for reading; a pipe or a device is refused before it can block.

    Raises
    ------
    EmptyFileError, VanishedError, DeniedError, FormatError, ReadError
        No bytes; no such file; not allowed; not a regular file; the disk fails.
    """
    try:
        with open(path, "rb", opener=_open_regular) as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise EmptyFileError(f"{path}: the file is empty (0 bytes); copy it anew from where it came")
            yield file
    except SegkitError:
        raise
    except OSError as error:
        raise as_read_error(error, path) from error


def as_read_error(error: OSError, path: Path) -> ReadError:
    """The class and the words for what the operating system said."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return VanishedError(f"{path}: no such file or folder; was it moved or renamed?")
        case PermissionError():
            return DeniedError(f"{path}: permission denied; ask its owner for the right to read it")
        case _:
            return ReadError(f"{path}: can't be read: {error.strerror or error}")


def named(path: Path) -> Format | None:
    """The format that the name speaks of, or None."""
    name = path.name.lower()
    return next((kind for kind, endings in ENDINGS.items() if name.endswith(endings)), None)


def _open_regular(path: str, flags: int) -> int:
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = next((word for is_kind, word in _KINDS if is_kind(mode)), "no regular file")
        raise FormatError(f"{path}: is {kind}, not a picture; {READABLE}")
    return os.open(path, flags)


def _known(head: bytes, path: Path) -> Format | None:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:2] == b"BM" and head[14:18] in (b"\x0c\0\0\0", b"\x28\0\0\0", b"\x34\0\0\0", b"\x38\0\0\0", b"\x40\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0"):
        return Format.BMP
    if head[128:132] == b"DICM":
        return Format.DICOM
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return Format.NIFTI
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0" or (head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") and len(head) >= 348):
        raise UnsupportedError(f"{path}: is the header of a NIfTI or Analyze pair (.hdr with .img); convert the two to one .nii.gz")
    return None


def _sniff_gzip(path: Path, packed: bytes) -> Format:
    try:
        inside = zlib.decompressobj(wbits=31).decompress(packed, _HEADER_BYTES)
    except zlib.error as error:
        raise CorruptFileError(f"{path}: its gzip stream is damaged ({error}); copy it anew from where it came") from error
    found = _known(inside, path)
    name = path.name.lower()
    if found is Format.NIFTI and name.endswith(".nii"):
        raise FormatError(f"{path}: is a NIfTI file compressed with gzip; rename it to {path.name}.gz")
    if found is Format.NIFTI:
        return found
    if len(inside) < _HEADER_BYTES and name.endswith(".nii.gz"):
        raise CorruptFileError(f"{path}: its gzip stream ends after {len(inside)} bytes, within the NIfTI header; copy it anew from where it came")
    raise FormatError(f"{path}: its bytes are gzip, and not a NIfTI file inside; unpack it first; {READABLE}")


def _look(head: bytes, path: Path) -> str:
    for magic, words in _STRANGERS:
        if head.startswith(magic):
            return f"its bytes are {words}"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "its bytes are a WebP picture: convert it to PNG"
    if head[4:8] == b"ftyp":
        return "its bytes are a HEIF picture or a film: convert it to PNG"
    if _is_text(head):
        start = head.lstrip().lower()
        return "its bytes are a web page (HTML), perhaps a failed download" if start.startswith((b"<!doctype html", b"<html")) else "its bytes are text"
    if path.suffix.lower() in ENDINGS[Format.DICOM]:
        return "it lacks the letters DICM that every DICOM file has at byte 128"
    return f"its first bytes ({head[:8].hex(' ')}) belong to no known picture format"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else only the last letter was cut
            return False
        text = head[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter in "\r\n\t\f\ufeff" for letter in text)
