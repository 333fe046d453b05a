"""What bad files do to a run: each gets its code, none stops the others, nothing half-written stays behind."""

from __future__ import annotations

import errno
import gzip
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from segkit.errors import ReadError, WriteError
from segkit.image import Image
from segkit.io import atomic, find_sources, mask_suffix, read_image, read_mask, read_source, write_mask
from segkit.labels import Labels, Mask

LABELS = Labels(("background", "vessel"), (0, 255))


def png(array: np.ndarray | None = None, **how: object) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47), np.uint8) if array is None else array).save(file, format="PNG", **how)
    return file.getvalue()


def tiff(array: np.ndarray, **how: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **({"photometric": "minisblack", "metadata": None} | how))
    return file.getvalue()


def bomb() -> bytes:
    """68 bytes that claim 60,000 x 60,000 pixels."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def nifti_header() -> bytes:
    return struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(4)


FAULTS = {
    "empty.png": (b"", "E_EMPTY"),
    "short.png": (png()[:300], "E_CORRUPT"),
    "short2.tif": (tiff(np.ones((64, 64), np.uint8))[:-9], "E_CORRUPT"),
    "flipped.png": (flipped(png(), 200), "E_CORRUPT"),
    "text.png": (b"not a picture at all\n", "E_FORMAT"),
    "page.jpg": (b"<!doctype html><html></html>", "E_FORMAT"),
    "plain.nii.gz": (nifti_header(), "E_FORMAT"),
    "packed.nii": (gzip.compress(nifti_header(), mtime=0), "E_FORMAT"),
    "pair.hdr": (struct.pack("<i", 348) + bytes(340) + b"ni1\0", "E_UNSUPPORTED"),
    "bomb.png": (bomb(), "E_TOO_LARGE"),
    "stack.tif": (tiff(np.zeros((3, 5, 7), np.uint8)), "E_MULTI"),
    "nan.tif": (tiff(np.full((5, 7), np.nan, np.float32)), "E_EMPTY_CONTENT"),
    "lab.tif": (tiff(np.zeros((5, 7, 3), np.uint8), photometric="cielab"), "E_UNSUPPORTED"),
}


def test_each_bad_file_gets_its_code_and_the_good_ones_are_read(tmp_path):
    for name, (data, _) in FAULTS.items():
        (tmp_path / name).write_bytes(data)
    for name in ("good1.png", "good2"):
        (tmp_path / name).write_bytes(png())
    codes = {}
    for source in find_sources(tmp_path).sources:
        try:
            read_source(source)
        except ReadError as error:
            codes[source.files[0].name] = error.code
            assert str(source.files[0]) in str(error)
            assert "\n" not in str(error)
    assert codes == {name: code for name, (_, code) in FAULTS.items()}


def test_a_file_that_vanishes_after_it_was_found(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    source = find_sources(tmp_path).sources[0]
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match="a.png: no such file") as caught:
        read_source(source)
    assert caught.value.code == "E_VANISHED"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the rights of files bind neither root nor other systems")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(PermissionError, match="a.png: permission denied"):
        read_source(find_sources(tmp_path).sources[0])


def test_a_link_out_of_the_folder_is_read(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").symlink_to(tmp_path / "a.png")
    assert read_source(find_sources(tmp_path / "in").sources[0]).shape == (33, 47)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_leaves_the_old_mask_and_nothing_else(tmp_path, monkeypatch, name, code):
    image, mask = Image(np.zeros((1, 5, 7), np.uint8)), Mask(np.ones((5, 7), np.uint8), LABELS)
    write_mask(mask, image, tmp_path / name)
    before = (tmp_path / name).read_bytes()

    def commit(*_: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic, "_commit", commit)
    with pytest.raises(WriteError, match=f"{name}: not written"):
        write_mask(Mask(np.zeros((5, 7), np.uint8), LABELS), image, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def test_what_a_killed_run_leaves_is_not_found_as_a_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / ".segkit-4711-9f86d081.tmp.png").write_bytes(png()[:100])
    assert [source.output.name for source in find_sources(tmp_path).sources] == ["a"]


@pytest.mark.parametrize("size", [(1, 1), (1, 47), (33, 1), (10, 5000)])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_mask_of_the_oddest_picture_has_its_size(tmp_path, kind, size):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(png(np.zeros(size, np.uint8)) if kind == "png" else tiff(np.zeros(size, np.uint8)))
    image = read_image(path)
    out = tmp_path / f"out{mask_suffix(image)}"
    write_mask(Mask(np.ones(size, np.uint8), LABELS), image, out)
    assert read_mask(out, image).tolist() == np.full(size, 255).tolist()


def test_reading_a_png_imports_no_other_readers(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    heavy = {"torch", "nibabel", "pydicom", "tifffile", "scipy"}
    code = f"import sys; from segkit.io import read_image; read_image(sys.argv[1]); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
