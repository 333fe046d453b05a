"""Damaged bytes of every format: a mask, a model or settings come of them, or an error of segkit; never anything else, nor late, nor large.

10,000 cases and some: small whole files (faults.py), changed here and there by chance from a fixed seed, and by hypothesis, which makes a case
that fails as small as it can. They are read in this process, which may take no more than `MEMORY` bytes of address space beside what it has
(RLIMIT_AS; on Linux, where it works), and each no more than `SECONDS` of processor time (ITIMER_VIRTUAL), however busy the machine is.

More of them: FUZZ_SEED=7 FUZZ_TIMES=100 pytest tests/test_fuzz.py
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from faults import HOWS, PICTURES, Change, as_it_is, by_pillow, changed, dicom, grey, in_palette, nifti, packed, png, random_changes, tiff, with_checksums
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.nifti2 import Nifti2Header

from segkit.checkpoint import load_model, read_weights
from segkit.config import RunConfig, load_run
from segkit.errors import CorruptFileError, MaskValuesError, SegkitError
from segkit.io import ReadSettings, mask_suffix, read_image, read_mask, write_mask
from segkit.labels import Labels, Mask

SEED = int(os.environ.get("FUZZ_SEED", "0"))
TIMES = int(os.environ.get("FUZZ_TIMES", "1"))

PIXELS = 2**16
MEMORY = 2**29
SECONDS = 5.0

LABELS = Labels(("background", "vessel"), (0, 255))


# What each kind of file is for, and what must come of it.


def segmented(path: Path, variant: int) -> None:
    """A picture, whose mask can be written and comes back; now and then the file is itself taken for a mask."""
    how = ReadSettings(max_pixels=PIXELS, pages=("error", "first", "all")[variant % 3], slice_axis=("auto", "auto", "auto", 0, 1)[variant % 5])
    if variant % 7 == 0:
        assert read_mask(path, settings=how).dtype.kind in "iu"
        return
    image = read_image(path, how)
    assert image.pixels.size <= PIXELS
    assert np.isfinite(image.pixels).all()
    out = path.with_name(f"mask{mask_suffix(image)}")
    write_mask(Mask(np.ones(image.shape, np.uint8), LABELS), image, out)
    assert (read_mask(out, image, ReadSettings(pages="all")) == 255).all()


def loaded(path: Path, variant: int) -> None:
    if variant % 3:
        load_model(path)
    else:
        read_weights(path)


def configured(path: Path, variant: int) -> None:
    load_run(path)


SETTINGS = """
description: "a few of everything"
data: {labels: {background: 0, nerve: 0xFF, vessel: '#00ff00'}, ignore: 7, mask_threshold: null, read: {pages: all}}
preprocess:
  channels: 1
  intensity: {kind: window, level: -1e2, width: 3.5e+2}   # a remark
model: {feature_scale: 16}
loss:
  class_weights: [1, 2.5, .5]
train: {minutes: 10, patch: [64, 96], learning_rate: 1e-3}
predict:
  tiles: {tile: [128, 128]}
  postprocess: {fill_holes: true}
"""


def yaml() -> list[bytes]:
    return [SETTINGS.encode(), *(path.read_bytes() for path in sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))[:3])]


def weights_files() -> list[bytes]:
    card = {"format": 1, "run": RunConfig().model_dump(mode="json"), "card": {"steps": 3, "scores": {"validation": {"disc": 0.5}}}}
    weights = {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2), "seen": torch.tensor(3), "half": torch.ones(3, dtype=torch.bfloat16)}
    return [safetensors.torch.save(weights, {"segkit": json.dumps(card)}), safetensors.torch.save({f"module.{key}": value for key, value in weights.items()})]


def headers() -> list[bytes]:
    """Of safetensors files alone: JSON."""
    return [whole[8 : 8 + int.from_bytes(whole[:8], "little")] for whole in weights_files()]


def with_length(header: bytes) -> bytes:
    """A safetensors file whose length of its header is right, so that the header itself is met."""
    return len(header).to_bytes(8, "little") + header + bytes(46)


@dataclass(frozen=True)
class Kind:
    """seeds : whole files, or what `seal` makes files of
    cases : by chance; hypothesis has `EXAMPLES` more
    """

    name: str
    seeds: Callable[[], list[bytes]]
    use: Callable[[Path, int], None]
    cases: int
    seal: Callable[[bytes], bytes] = as_it_is


KINDS = {
    "png": Kind("a.png", PICTURES["png"], segmented, 700),
    "png with right checksums": Kind("a.png", PICTURES["png"], segmented, 1200, with_checksums),
    "tiff": Kind("a.tif", PICTURES["tiff"], segmented, 2000),
    "nifti": Kind("a.nii", PICTURES["nifti"], segmented, 1000),
    "nifti inside gzip": Kind("a.nii.gz", PICTURES["nifti"], segmented, 500, packed),
    "gzip around nifti": Kind("a.nii.gz", lambda: [packed(whole) for whole in PICTURES["nifti"]()], segmented, 500),
    "dicom": Kind("a.dcm", PICTURES["dicom"], segmented, 1500),
    "safetensors": Kind("a.safetensors", weights_files, loaded, 400),
    "header of safetensors": Kind("a.safetensors", headers, loaded, 400, with_length),
    "yaml": Kind("a.yaml", yaml, configured, 1000),
    "jpeg": Kind("a.jpg", PICTURES["jpeg"], segmented, 200),
    "gif": Kind("a.gif", PICTURES["gif"], segmented, 200),
    "bmp": Kind("a.bmp", PICTURES["bmp"], segmented, 200),
}
"""With the EXAMPLES of hypothesis for each: 11,100."""

EXAMPLES = 100


@cache
def seeds_of(name: str) -> list[bytes]:
    return KINDS[name].seeds()


# What must come of any bytes.


class TooSlowError(BaseException):
    """No `Exception`: no reader may take it for damage."""


@contextmanager
def limited_memory() -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def limited_time() -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return

    def give_up(*_: object) -> None:
        raise TooSlowError(f"took more than {SECONDS:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the files lie; nothing has to outlive a power cut here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield tmp_path_factory.mktemp("fuzz")


def judge(kind: Kind, data: bytes, variant: int, folder: Path) -> None:
    path = folder / kind.name
    path.write_bytes(kind.seal(data))
    with limited_time():
        try:
            kind.use(path, variant)
        except SegkitError as error:
            assert str(path) in str(error), f"names no file: {error}"
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", KINDS)
def test_bytes_changed_by_chance_are_used_or_refused_in_our_own_words(name: str, folder: Path) -> None:
    kind, rng = KINDS[name], random.Random(f"{name} {SEED}")
    seeds_of(name)
    with limited_memory():
        for number in range(kind.cases * TIMES):
            seed, changes, variant = rng.randrange(len(seeds_of(name))), list(random_changes(rng)), rng.randrange(105)
            try:
                judge(kind, changed(seeds_of(name)[seed], changes), variant, folder)
            except (Exception, TooSlowError) as error:
                raise AssertionError(f"case {number}: judge(KINDS[{name!r}], changed(seeds_of({name!r})[{seed}], {changes}), {variant}, folder)") from error


@pytest.mark.parametrize("name", KINDS)
@settings(
    max_examples=EXAMPLES * TIMES, derandomize=SEED == 0, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    seed=st.integers(0, 20),
    changes=st.lists(st.builds(Change, st.sampled_from(HOWS), st.integers(0, 2**20), st.integers(0, 2**20)), min_size=1, max_size=8),
    variant=st.integers(0, 104),
)
def test_bytes_changed_by_hypothesis_are_used_or_refused_in_our_own_words(name: str, folder: Path, seed: int, changes: Sequence[Change], variant: int) -> None:
    seeds = seeds_of(name)
    with limited_memory():
        judge(KINDS[name], changed(seeds[seed % len(seeds)], changes), variant, folder)


@pytest.mark.parametrize("name", KINDS)
def test_what_was_not_changed_is_used(name: str, folder: Path) -> None:
    """The seeds are what they are meant to be: else all cases would end at the first byte."""
    kind = KINDS[name]
    for number, whole in enumerate(seeds_of(name)):
        path = folder / kind.name
        path.write_bytes(kind.seal(whole))
        if kind.use is loaded and number == 1:
            loaded(path, 0)                    # weights alone, without a card
        else:
            kind.use(path, 2)


# What fuzzing has found.


def test_a_part_of_a_png_that_claims_to_end_behind_the_file(tmp_path: Path) -> None:
    whole = png()
    text = struct.pack(">I", 99) + b"tEXt" + bytes(99)                       # no checksum, and nothing behind it
    (tmp_path / "a.png").write_bytes(whole[:33] + text)
    with pytest.raises(CorruptFileError, match=r"a\.png: the PNG is cut short"):
        read_image(tmp_path / "a.png")


def test_a_damaged_length_of_a_dicom_tag_takes_no_memory(tmp_path: Path) -> None:
    whole = dicom()
    for tag in (b"\x10\x00\x10\x00PN", b"\x02\x00\x02\x00UI"):             # the patient's name; the class, among the tags about the file
        place = whole.index(tag)
        (tmp_path / "a.dcm").write_bytes(whole[: place + 4] + b"OB\0\0" + b"\xf0\xff\xff\xff" + whole[place + 8 :])
        with limited_memory(), pytest.raises(CorruptFileError, match=r"a\.dcm: "):
            read_image(tmp_path / "a.dcm")


SIGNALLING = {"f2": 0x7C01, "f4": 0x7F800001, "f8": 0x7FF0000000000001}
"""Not-a-number of the kind that a processor reports when it calculates with it."""


@pytest.mark.parametrize("dtype", SIGNALLING)
def test_a_number_that_is_none_is_replaced_in_a_picture_and_refused_in_a_mask_without_a_warning(tmp_path: Path, dtype: str) -> None:
    pixels = np.ones((5, 7), dtype)
    pixels.view(dtype.replace("f", "u"))[2, 3] = SIGNALLING[dtype]
    (tmp_path / "a.tif").write_bytes(tiff(pixels))
    with warnings.catch_warnings(action="error"):
        image = read_image(tmp_path / "a.tif")
        assert (image.pixels == 1).all()
        assert image.notes == ("1 of 35 pixels were NaN or infinite; replaced by the smallest finite value, 1",)
        with pytest.raises(MaskValuesError, match="1 of 35 mask values are not whole numbers, the first is nan"):
            read_mask(tmp_path / "a.tif")


def test_a_stack_whose_second_page_has_two_heights_is_corrupt(tmp_path: Path) -> None:
    """Of a file that describes its axes, tifffile looks at the later pages only when they are asked for."""
    whole = tiff(grey((2, 9, 7)), imagej=True, metadata={"axes": "ZYX"})
    height = struct.Struct("<HHI")                                          # tag, type, how many
    place = whole.rindex(height.pack(257, 4, 1))
    (tmp_path / "a.tif").write_bytes(whole[:place] + height.pack(257, 4, 2) + whole[place + 8 :])
    with pytest.raises(CorruptFileError, match=r"a\.tif: damaged or cut short"):
        read_image(tmp_path / "a.tif", ReadSettings(pages="all"))


def test_a_tiff_with_words_for_the_sizes_of_its_strips_is_corrupt(tmp_path: Path) -> None:
    whole = tiff(rowsperstrip=2)
    sizes = whole.index(struct.pack("<HH", 279, 3))                         # StripByteCounts, five numbers of 16 bits
    (tmp_path / "a.tif").write_bytes(whole[:sizes] + struct.pack("<HH", 279, 2) + whole[sizes + 4 :])
    with pytest.raises(CorruptFileError, match=r"a\.tif: damaged or cut short"):
        read_image(tmp_path / "a.tif")


def test_exif_that_breaks_off_is_passed_over_in_silence(tmp_path: Path) -> None:
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 3) + struct.pack("<HHII", 0x0112, 3, 1, 6)      # claims three entries, has one
    (tmp_path / "a.jpg").write_bytes(by_pillow(grey((9, 7)), "JPEG", exif=exif))
    with warnings.catch_warnings(action="error"):
        assert read_image(tmp_path / "a.jpg").shape == (7, 9)


def test_a_grid_of_absurd_distances_fits_itself_without_a_warning(tmp_path: Path) -> None:
    axes = {f"srow_{axis}": [1e300 * (axis == other) for other in "xyz"] + [0] for axis in "xyz"}
    (tmp_path / "a.nii").write_bytes(nifti((5, 7, 3), kind=Nifti2Header, sform_code=1, **axes))
    with warnings.catch_warnings(action="error"):
        assert read_mask(tmp_path / "a.nii", read_image(tmp_path / "a.nii")).shape == (3, 7, 5)


@pytest.mark.parametrize(("kind", "count"), [(3, 767), (11, 768)])
def test_a_palette_of_no_three_colours_or_of_broken_numbers_is_corrupt(tmp_path: Path, kind: int, count: int) -> None:
    whole = in_palette("TIFF")
    place = whole.index(struct.pack("<HHI", 320, 3, 768))                   # ColorMap, of 16 bits each
    (tmp_path / "a.tif").write_bytes(whole[:place] + struct.pack("<HHI", 320, kind, count) + whole[place + 8 :] + bytes(4 * count))
    with pytest.raises(CorruptFileError, match=r"a\.tif: its palette is missing or too short"):
        read_image(tmp_path / "a.tif")


def test_a_number_of_frames_that_is_the_age_of_somebody_is_corrupt(tmp_path: Path) -> None:
    whole = dicom(grey((3, 9, 7)))
    frames = whole.index(b"\x28\x00\x08\x00IS")
    (tmp_path / "a.dcm").write_bytes(whole[: frames + 4] + b"AS" + whole[frames + 6 :])
    with pytest.raises(CorruptFileError, match=r"a\.dcm: its DICOM tags are cut short or damaged"):
        read_image(tmp_path / "a.dcm")
