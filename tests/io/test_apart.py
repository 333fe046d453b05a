"""Reading in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from segkit.errors import CrashError, EmptyFileError, VanishedError
from segkit.io import Source, apart, read_image
from segkit.io.apart import Reader, read_unchanged, state_of
from segkit.io.origin import ReadSettings

SETTINGS = ReadSettings()


def put(path: Path) -> Source:
    Pillow.fromarray(np.arange(33 * 47, dtype=np.uint16).reshape(33, 47)).save(path)
    return Source((path,), PurePath(path.stem))


def test_what_is_read_apart_is_what_is_read_here(tmp_path: Path) -> None:
    volume = tmp_path / "b.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32), np.diag([2.0, 3.0, 4.0, 1.0])), volume)
    with Reader() as reader:
        for source in (put(tmp_path / "a.png"), Source((volume,), PurePath("b"))):
            here, there = read_image(source.files[0]), reader.read(source, SETTINGS)
            np.testing.assert_array_equal(there.pixels, here.pixels)
            assert (there.pixels.dtype, there.spacing_mm, there.source, there.notes) == (here.pixels.dtype, here.spacing_mm, here.source, here.notes)
            assert type(there.origin) is type(here.origin)


def test_an_error_comes_back_as_it_was_and_the_process_goes_on(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    with Reader() as reader:
        process = reader.start()
        with pytest.raises(EmptyFileError, match=r"empty\.png"):
            reader.read(Source((tmp_path / "empty.png",), PurePath("empty")), SETTINGS)
        assert reader.read(put(tmp_path / "a.png"), SETTINGS).shape == (33, 47)
        assert reader.start() is process


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that the reading process imports at its start: what is written there happens in it."""
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site" / "sitecustomize.py"


BROKEN = """
import os, sys, time
if "serve()" in "".join(sys.orig_argv):
    import segkit.io.read as decoding
    reading = decoding.read_image
    def broken(path, settings):
        if "{name}" in str(path):
            {act}
        return reading(path, settings)
    decoding.read_image = broken
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_a_decoder_that_crashes_costs_one_file(decoder: Path, tmp_path: Path) -> None:
    decoder.write_text(BROKEN.format(name="bad", act="os.kill(os.getpid(), 11)"))
    with Reader() as reader:
        with pytest.raises(CrashError, match=r"bad\.png: reading it ended the process \(SIGSEGV\), twice"):
            reader.read(put(tmp_path / "bad.png"), SETTINGS)
        assert reader.read(put(tmp_path / "good.png"), SETTINGS).shape == (33, 47)


def test_a_process_that_was_ended_from_outside_is_asked_once_more(tmp_path: Path) -> None:
    with Reader() as reader:
        reader.start().kill()
        assert reader.read(put(tmp_path / "a.png"), SETTINGS).shape == (33, 47)


def test_a_decoder_that_hangs_costs_one_file(decoder: Path, tmp_path: Path) -> None:
    decoder.write_text(BROKEN.format(name="bad", act="time.sleep(1000)"))
    good = put(tmp_path / "good.png")
    with Reader() as reader:
        reader.read(good, SETTINGS)         # the start of a process takes longer than the patience below
        reader._patience = 1.0
        began = time.monotonic()
        with pytest.raises(CrashError, match=r"bad\.png: could not be read within 1 s"):
            reader.read(put(tmp_path / "bad.png"), SETTINGS)
        assert time.monotonic() - began < 60
        reader._patience = 120.0
        assert reader.read(good, SETTINGS).shape == (33, 47)


def test_the_end_of_a_run_does_not_wait_for_a_decoder_that_hangs(decoder: Path, tmp_path: Path) -> None:
    decoder.write_text(BROKEN.format(name="bad", act="time.sleep(1000)"))
    good, bad = put(tmp_path / "good.png"), put(tmp_path / "bad.png")
    with ThreadPoolExecutor(1) as pool:
        with Reader() as reader:
            reader.read(good, SETTINGS)
            waiting = pool.submit(reader.read, bad, SETTINGS)
            while not waiting.running():
                time.sleep(0.01)
        with pytest.raises(CrashError, match="because the run was over"):
            waiting.result(60)


def test_a_fault_of_a_library_names_the_file(decoder: Path, tmp_path: Path) -> None:
    decoder.write_text(BROKEN.format(name="bad", act="raise KeyError('Rows')"))
    with Reader() as reader, pytest.raises(CrashError, match=r"bad\.png: reading it failed \(KeyError: 'Rows'\)"):
        reader.read(put(tmp_path / "bad.png"), SETTINGS)


def test_what_a_decoder_prints_does_not_get_among_the_pixels(decoder: Path, tmp_path: Path) -> None:
    decoder.write_text(BROKEN.format(name="loud", act="os.write(1, b'libtiff: warning'); print('so it is')"))
    with Reader() as reader:
        assert reader.read(put(tmp_path / "loud.png"), SETTINGS).shape == (33, 47)


def test_the_process_ends_with_its_parent_and_does_not_hear_ctrl_c(tmp_path: Path) -> None:
    reader = Reader()
    reader.read(put(tmp_path / "a.png"), SETTINGS)
    process = reader.start()
    if sys.platform != "win32":
        os.kill(process.pid, signal.SIGINT)
        assert reader.read(put(tmp_path / "a.png"), SETTINGS).shape == (33, 47)
        assert reader.start() is process
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 0
    reader.close()


def test_a_file_that_changes_while_it_is_read_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(tmp_path / "a.png")
    assert read_unchanged(source, SETTINGS).shape == (33, 47)
    states = iter([[[10, 1]], [[12, 2]]])
    monkeypatch.setattr(apart, "state_of", lambda source: next(states))
    with pytest.raises(VanishedError, match=r"a\.png: changed while it was read"):
        read_unchanged(source, SETTINGS)


def test_the_state_of_a_file_is_its_size_and_when_it_changed(tmp_path: Path) -> None:
    source = put(tmp_path / "a.png")
    os.utime(tmp_path / "a.png", ns=(5, 7))
    assert state_of(source) == [[(tmp_path / "a.png").stat().st_size, 7]]
    (tmp_path / "a.png").unlink()
    assert state_of(source) == []
