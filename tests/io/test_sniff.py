from __future__ import annotations

import errno
import gzip
import os
import socket
import struct
from pathlib import Path

import pytest

from segkit.errors import CorruptFileError, DeniedError, EmptyFileError, FormatError, ReadError, UnsupportedError, VanishedError
from segkit.io.sniff import Format, named, sniff


def nifti1(magic: bytes = b"n+1\0") -> bytes:
    return struct.pack("<i", 348) + bytes(340) + magic + bytes(4)


def nifti2(magic: bytes = b"n+2\0") -> bytes:
    return struct.pack("<i", 540) + magic + b"\r\n\x1a\n" + bytes(528)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(25), Format.PNG),
        (b"\xff\xd8\xff\xe0" + bytes(20), Format.JPEG),
        (b"BM" + bytes(12) + struct.pack("<I", 40), Format.BMP),
        (b"GIF89a" + bytes(7), Format.GIF),
        (b"II*\0" + bytes(4), Format.TIFF),
        (b"MM\0*" + bytes(4), Format.TIFF),
        (b"II+\0" + bytes(12), Format.TIFF),
        (bytes(128) + b"DICM", Format.DICOM),
        (nifti1(), Format.NIFTI),
        (nifti2(), Format.NIFTI),
        (gzip.compress(nifti1(), mtime=0), Format.NIFTI),
        (gzip.compress(nifti2(), mtime=0), Format.NIFTI),
    ],
)
def test_a_format_is_told_by_its_first_bytes(tmp_path, data, kind):
    assert sniff(write(tmp_path / "nameless", data)) is kind


def test_the_name_does_not_matter(tmp_path):
    assert sniff(write(tmp_path / "a.png", b"\xff\xd8\xff\xe0" + bytes(20))) is Format.JPEG


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not a picture\n", "its bytes are text"),
        ("Grüße".encode() * 80, "its bytes are text"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"PK\x03\x04" + bytes(20), "a zip archive: unpack it"),
        (b"%PDF-1.7", "a PDF document"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP picture: convert it to PNG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"\0\0\0\x18ftypheic", "a HEIF picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run git lfs pull"),
        (b"\x02\x00\x00\x00UL\x04\x00", "DICOM without its 128-byte preamble"),
        (b"NRRD0004\n", "an NRRD volume: convert it to NIfTI"),
        (b"\x01\x02\x03\x04\xff\xfe\xfd\xfc", r"first bytes \(01 02 03 04 ff fe fd fc\)"),
        (b"BMx" + bytes(30), "no known picture format"),
    ],
)
def test_strange_bytes_are_named_as_far_as_they_are_known(tmp_path, data, words):
    with pytest.raises(FormatError, match=f"a.png: .*{words}.*segkit reads PNG, JPEG"):
        sniff(write(tmp_path / "a.png", data))


def test_no_bytes(tmp_path):
    with pytest.raises(EmptyFileError, match=r"a\.png: the file is empty \(0 bytes\)"):
        sniff(write(tmp_path / "a.png", b""))


def test_no_file(tmp_path):
    with pytest.raises(VanishedError, match="a.png: no such file"):
        sniff(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("error", "words", "kind"),
    [(PermissionError(errno.EACCES, "no"), "permission denied", DeniedError), (OSError(errno.EIO, "disk"), "disk", ReadError)],
)
def test_what_the_system_refuses_is_named(tmp_path, monkeypatch, error, words, kind):
    path = write(tmp_path / "a.png", b"123")

    def refuse(*_: object) -> int:
        raise error

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(kind, match=words):
        sniff(path)


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(FormatError, match="is a folder, not a picture"):
        sniff(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(FormatError, match="is a pipe"):
        sniff(tmp_path / "a.png")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no such sockets on this system")
def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.png")
        with pytest.raises(FormatError, match="is a socket"):
            sniff("a.png")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such device on this system")
def test_a_device_is_refused():
    with pytest.raises(FormatError, match="is a device"):
        sniff("/dev/zero")


@pytest.mark.parametrize("data", [nifti1(b"ni1\0"), nifti2(b"ni2\0"), nifti1(bytes(4))])
def test_pairs_of_header_and_pixels_are_to_be_converted(tmp_path, data):
    with pytest.raises(UnsupportedError, match=r"pair \(\.hdr with \.img\); convert the two to one \.nii\.gz"):
        sniff(write(tmp_path / "a.hdr", data))


def test_nii_gz_that_is_not_compressed_is_to_be_renamed(tmp_path):
    with pytest.raises(FormatError, match="not compressed; rename it to brain.nii$"):
        sniff(write(tmp_path / "brain.nii.gz", nifti1()))


def test_nii_that_is_compressed_is_to_be_renamed(tmp_path):
    with pytest.raises(FormatError, match="compressed with gzip; rename it to brain.nii.gz$"):
        sniff(write(tmp_path / "brain.nii", gzip.compress(nifti1())))


def test_gzip_of_something_else(tmp_path):
    with pytest.raises(FormatError, match="its bytes are gzip, and not a NIfTI file inside"):
        sniff(write(tmp_path / "brain.nii.gz", gzip.compress(bytes(1000))))


def test_gzip_cut_within_the_header(tmp_path):
    with pytest.raises(CorruptFileError, match="gzip stream ends after .* bytes, within the NIfTI header"):
        sniff(write(tmp_path / "brain.nii.gz", gzip.compress(nifti1())[:20]))


def test_damaged_gzip(tmp_path):
    with pytest.raises(CorruptFileError, match="gzip stream is damaged"):
        sniff(write(tmp_path / "brain.nii.gz", b"\x1f\x8b\x08\0" + bytes(6) + b"\xff" * 50))


@pytest.mark.parametrize(("name", "kind"), [("a.PNG", Format.PNG), ("a.b.nii.gz", Format.NIFTI), ("a.tiff", Format.TIFF), ("a.gz", None), ("a", None)])
def test_what_a_name_speaks_of(name, kind):
    assert named(Path(name)) is kind
