"""`segkit predict`, as it is typed: every kind of file in, a mask on its own grid out, and a word for what went wrong."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image as Pillow
from toys import disc

from segkit.checkpoint import Card, load_model, save_model
from segkit.cli import main
from segkit.config import RunConfig
from segkit.models import build_model


@pytest.fixture
def segkit(disc_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Segkit:
    return Segkit(disc_run, tmp_path / "out", capsys)


class Segkit:
    """`segkit predict` with the model of the discs; remembers what was told."""

    def __init__(self, model: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.model, self.out, self._capsys = model, out, capsys
        self.stdout = self.stderr = ""

    def __call__(self, source: Path, *options: object, model: object = None, out: Path | None = None) -> int:
        given = ["predict", source, "-m", model or self.model, "-o", out or self.out, "--precision", "fp32", *options]
        code = main([str(part) for part in given])
        self.stdout, self.stderr = self._capsys.readouterr()
        assert "Traceback" not in self.stderr
        return code

    def rows(self, name: str = "results.csv") -> list[dict[str, str]]:
        with (self.out / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def put(path: Path, seed: int = 0, size: tuple[int, int] = (33, 47), **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(disc(seed, size)[0]).save(path, **options)  # type: ignore[arg-type]
    return path


def values(path: Path) -> np.ndarray:
    with Pillow.open(path) as mask:
        return np.asarray(mask)


@pytest.fixture
def any_values(tmp_path: Path) -> Path:
    """An untrained model of grey pictures of any range, whose masks hold 0, 7 and 200."""
    torch.manual_seed(0)
    tree = {"model": {"feature_scale": 16}, "preprocess": {"channels": 1, "intensity": {"kind": "zscore"}}}
    run = RunConfig.model_validate({**tree, "data": {"labels": {"background": 0, "nerve": 7, "vessel": 200}}})
    save_model(tmp_path / "any.safetensors", run, build_model(run.model).state_dict(), Card())
    return tmp_path / "any.safetensors"


# What a model was tuned to.


@pytest.fixture
def tuned(disc_run: Path, tmp_path: Path) -> Path:
    """The model of the discs with mirror images, a rule that nothing passes, and what it has learnt to expect."""
    file = load_model(disc_run)
    predict = {"tta": True, "postprocess": {"min_size_px": 10**6}, "temperature": 2.0, "expected_dice": {"at_half": 0, "at_one": 1, "when_empty": 0.5}}
    run = file.run.model_copy(update={"predict": type(file.run.predict).model_validate(predict)})
    save_model(tmp_path / "tuned.safetensors", run, file.weights, file.card)
    return tmp_path / "tuned.safetensors"


def test_what_a_model_was_tuned_to_is_done_and_switched_off_by_a_flag(segkit: Segkit, tuned: Path, tmp_path: Path) -> None:
    picture = put(tmp_path / "a.png", 5)
    for options, tta, size in (((), True, 10**6), (("--no-tta",), False, 10**6), (("--no-tta", "--no-postprocess"), False, 0)):
        assert segkit(picture, *options, model=tuned, out=tmp_path / "".join(options)[2:] / "out") == 0
        told = json.loads((tmp_path / "".join(options)[2:] / "out" / "run.json").read_text(encoding="utf-8"))["settings"]["predict"]
        assert (told["tta"], told["postprocess"]["min_size_px"], told["temperature"]) == (tta, size, 2)
        assert (values(tmp_path / "".join(options)[2:] / "out" / "a.png") > 0).any() == (size == 0)


def test_the_table_says_what_can_be_expected_of_each_mask(segkit: Segkit, tuned: Path, tmp_path: Path) -> None:
    assert segkit(put(tmp_path / "a.png", 5), "--json", model=tuned) == 0
    (row,) = segkit.rows()
    assert 0 < float(row["expected_dice"]) < 1
    assert json.loads(segkit.stdout)["results"][0]["expected_dice"] == pytest.approx(float(row["expected_dice"]), abs=1e-4)
    assert segkit(tmp_path / "a.png", out=tmp_path / "plain", model=segkit.model) == 0
    with (tmp_path / "plain" / "results.csv").open(newline="", encoding="utf-8") as file:
        assert [row["expected_dice"] for row in csv.DictReader(file)] == [""]


# Every kind of file.


def test_a_picture_becomes_a_mask_of_its_size_in_the_users_own_values(segkit: Segkit, tmp_path: Path) -> None:
    assert segkit(put(tmp_path / "a.png", 5)) == 0
    mask, truth = values(segkit.out / "a.png"), disc(5, (33, 47))[1]
    assert (mask.shape, mask.dtype, set(np.unique(mask))) == ((33, 47), np.uint8, {0, 255})
    assert 2 * (mask & truth > 0).sum() / ((mask > 0).sum() + (truth > 0).sum()) > 0.7
    assert segkit.stdout == ""
    assert f"a.png -> {segkit.out / 'a.png'}: disc {(mask == 255).sum()} px" in segkit.stderr
    assert "1 file: 1 ok (cpu, fp32, torch)" in segkit.stderr
    assert [row["output"] for row in segkit.rows()] == [str(segkit.out / "a.png")]


def test_a_jpeg_becomes_a_png(segkit: Segkit, tmp_path: Path) -> None:
    assert segkit(put(tmp_path / "a.jpg", quality=95)) == 0
    assert (segkit.out / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_is_walked_and_deeper_only_where_asked_for(segkit: Segkit, tmp_path: Path) -> None:
    for name in ("a.png", "below/b.png", "below/further/c.tif"):
        put(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").touch()
    assert segkit(tmp_path / "in") == 0
    assert "1 files that are no pictures were left out" in segkit.stderr
    assert [Path(row["output"]).name for row in segkit.rows()] == ["a.png"]
    assert segkit(tmp_path / "in", "--recursive") == 0
    assert [Path(row["output"]).relative_to(segkit.out).as_posix() for row in segkit.rows()] == ["a.png", "below/b.png", "below/further/c.tif"]


def test_masks_beside_their_pictures_are_left_out_and_those_that_are_named_are_taken(segkit: Segkit, tmp_path: Path) -> None:
    for name in ("a.jpg", "a_mask.png", "b.png", "b_seg.png", "c_mask.png"):
        put(tmp_path / "in" / name)
    assert segkit(tmp_path / "in") == 0
    (told,) = [line for line in segkit.stderr.splitlines() if "left out" in line]
    assert told == "2 files are masks by their names (a_mask.png …): left out; name them yourself, one by one or in a manifest, to predict them"
    assert [Path(row["file"]).name for row in segkit.rows()] == ["a.jpg", "b.png", "c_mask.png"]
    (tmp_path / "in" / "named.csv").write_text("image\na_mask.png\nb.png\n", encoding="utf-8")
    for source, names in ((tmp_path / "in" / "a_mask.png", ["a_mask.png"]), (tmp_path / "in" / "named.csv", ["a_mask.png", "b.png"])):
        assert segkit(source, out=tmp_path / source.stem) == 0
        assert "left out" not in segkit.stderr
        assert sorted(path.name for path in (tmp_path / source.stem).glob("*.png")) == names


def test_a_single_mask_that_is_left_out_is_told_of_in_the_singular(segkit: Segkit, tmp_path: Path) -> None:
    for name in ("a.png", "a_mask.png"):
        put(tmp_path / "in" / name)
    assert segkit(tmp_path / "in", "-q") == 0
    assert segkit.stderr == "1 file is a mask by its name (a_mask.png): left out; name it yourself to predict it\n"


def test_a_manifest_gives_the_rows_of_a_split(segkit: Segkit, discs: Path) -> None:
    assert segkit(discs, "--split", "test") == 0
    assert sorted(path.relative_to(segkit.out).as_posix() for path in segkit.out.rglob("*.png")) == ["images/06.png", "images/07.png"]
    assert segkit(discs, "--split", "validation") == 2
    assert "no row has split 'validation'; there are: test, train" in segkit.stderr
    assert segkit(discs.parent / "images", "--split", "test") == 2
    assert "goes with a manifest" in segkit.stderr


def test_a_nifti_volume_keeps_its_grid(segkit: Segkit, any_values: Path, samples: Path) -> None:
    source = sorted((samples / "brain" / "images").iterdir())[1]   # oblique
    assert segkit(source, "--save-probabilities", model=any_values) == 0
    before, after = nib.load(source), nib.load(segkit.out / source.name)
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.affine, before.affine)
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == (int(before.header["sform_code"]), int(before.header["qform_code"]))
    assert after.get_data_dtype() == np.uint8
    assert set(np.unique(np.asarray(after.dataobj))) <= {0, 7, 200}
    likely = nib.load(segkit.out / "probabilities" / source.name)
    assert likely.shape == (*before.shape, 3)
    np.testing.assert_array_equal(likely.affine, before.affine)
    (row,) = segkit.rows()
    voxel = float(np.prod(before.header.get_zooms()))
    assert float(row["nerve_mm3"]) == pytest.approx(int(row["nerve_px"]) * voxel, rel=1e-3)


def test_a_dicom_slice_becomes_a_png_and_a_series_one_volume(segkit: Segkit, any_values: Path, samples: Path) -> None:
    assert segkit(samples / "dicom" / "slice.dcm", model=any_values) == 0
    assert values(segkit.out / "slice.png").shape == (64, 56)
    assert segkit(samples / "dicom", "--recursive", "--save-overlay", "--save-probabilities", model=any_values) == 0
    volume = nib.load(segkit.out / "series.nii.gz")
    assert volume.shape[2] == 6 or 6 in volume.shape
    assert abs(np.linalg.det(volume.affine[:3, :3])) > 0
    assert (segkit.out / "overlays" / "series.png").is_file()
    assert (segkit.out / "probabilities" / "series.nii.gz").is_file()


def test_a_volume_that_a_whole_folder_is_may_be_named_by_its_folder(segkit: Segkit, any_values: Path, samples: Path, tmp_path: Path) -> None:
    shutil.copytree(samples / "dicom" / "series", tmp_path / "series")
    assert segkit(tmp_path / "series", model=any_values) == 0
    assert (segkit.out / "series.nii.gz").is_file()
    assert "series.nii.gz: " in segkit.stderr                              # like a single file: areas and notes
    (tmp_path / "series" / "IM01.dcm").unlink()                            # at -2.5 mm
    assert segkit(tmp_path / "series", model=any_values) == 1
    (line,) = segkit.stderr.splitlines()
    assert "lie 10 mm, between other slices 5 mm" in line


# Options.


def test_json_is_alone_on_stdout_and_strict(segkit: Segkit, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"")
    assert segkit(tmp_path / "in", "--json") == 3
    told = json.loads(segkit.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert told["results"][0]["output"] == str(segkit.out / "a.png")
    assert told["results"][0]["areas_px"]["disc"] > 0
    assert told["results"][0]["areas_mm"] is None
    assert told["failures"][0]["code"] == "E_EMPTY"


def test_quiet_says_only_what_failed(segkit: Segkit, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    put(tmp_path / "in" / "b.png")
    assert segkit(tmp_path / "in", "-q") == 0
    assert (segkit.stdout, segkit.stderr) == ("", "")


def test_overlays_probabilities_tiles_and_mirror_images_can_be_asked_for(segkit: Segkit, tmp_path: Path) -> None:
    put(tmp_path / "a.png", size=(70, 90))
    assert segkit(tmp_path / "a.png", "--save-overlay", "--save-probabilities", "--tta", "--tile", "32", "--overlap", "0.5") == 0
    assert (segkit.out / "overlays" / "a.png").is_file()
    with np.load(segkit.out / "probabilities" / "a.npz") as saved:
        assert saved["probabilities"].shape == (70, 90, 2)
    settings = json.loads((segkit.out / "run.json").read_text())["settings"]["predict"]
    assert (settings["tta"], settings["tiles"]["tile"], settings["tiles"]["overlap"]) == (True, [32, 32], 0.5)


def test_channels_are_only_converted_where_it_is_asked_for(segkit: Segkit, tmp_path: Path) -> None:
    Pillow.fromarray(np.repeat(disc(1)[0][..., None], 3, axis=2)).save(tmp_path / "a.png")
    assert segkit(tmp_path / "a.png") == 1
    assert "a.png: has 3 channels (colour), the model takes 1 channel (grey); allow it with --convert-channels" in segkit.stderr
    assert segkit(tmp_path / "a.png", "--convert-channels") == 0


def test_a_file_of_several_pages_needs_a_word(segkit: Segkit, tmp_path: Path) -> None:
    pages = [Pillow.fromarray(disc(seed)[0]) for seed in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert segkit(tmp_path / "a.tif") == 1
    assert "[E_MULTI]" in segkit.stderr
    assert segkit(tmp_path / "a.tif", "--pages", "all") == 0
    assert [row["shape"] for row in segkit.rows()] == ["3x48x48"]


def test_a_file_that_claims_more_pixels_than_allowed_is_refused(segkit: Segkit, tmp_path: Path) -> None:
    assert segkit(put(tmp_path / "a.png"), "--max-pixels", "1000") == 1
    assert "[E_TOO_LARGE]" in segkit.stderr


@pytest.mark.parametrize("options", [("--tile", "0"), ("--overlap", "2"), ("--device", "abacus"), ("--max-pixels", "0"), ("--precision", "half")])
def test_an_option_out_of_range_is_exit_code_2_and_writes_nothing(segkit: Segkit, tmp_path: Path, options: tuple[str, ...]) -> None:
    assert segkit(put(tmp_path / "a.png"), *options) == 2
    assert not segkit.out.exists()


# What went wrong.


def test_a_bad_file_in_a_folder_is_exit_code_3(segkit: Segkit, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_text("words")
    assert segkit(tmp_path / "in") == 3
    (row,) = segkit.rows("failures.csv")
    assert (row["path"], row["code"]) == (str(tmp_path / "in" / "b.png"), "E_FORMAT")
    assert f"2 files: 1 ok, 1 failed -> {segkit.out / 'failures.csv'}" in segkit.stderr


@pytest.mark.parametrize("content", [b"", b"words", b"\x89PNG\r\n\x1a\n cut off"])
def test_a_bad_file_alone_is_exit_code_1_and_one_line(segkit: Segkit, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.png").write_bytes(content)
    assert segkit(tmp_path / "b.png") == 1
    (line,) = segkit.stderr.splitlines()
    assert line.startswith(f"segkit: {tmp_path / 'b.png'}: ")
    assert segkit.stdout == ""
    assert not list(segkit.out.glob("*.png"))


def test_a_picture_that_is_not_there_is_exit_code_1(segkit: Segkit, tmp_path: Path) -> None:
    assert segkit(tmp_path / "nowhere.png") == 1
    (line,) = segkit.stderr.splitlines()
    assert "nowhere.png" in line


def test_a_folder_without_pictures_is_exit_code_2(segkit: Segkit, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert segkit(tmp_path / "in") == 2
    assert "no pictures found (looked for" in segkit.stderr


def test_two_pictures_with_one_result_are_exit_code_2(segkit: Segkit, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    put(tmp_path / "in" / "a.jpg")
    assert segkit(tmp_path / "in") == 2
    assert "would both be written as a" in segkit.stderr


def test_the_folder_of_the_results_is_checked_first(segkit: Segkit, tmp_path: Path) -> None:
    picture = put(tmp_path / "in" / "a.png")
    before = picture.read_bytes()
    for out, words in ((picture, "is a file"), (picture.parent, "would replace this input file"), (picture / "below", "can't be written to")):
        assert segkit(picture, out=out) == 2
        assert words in segkit.stderr
    assert segkit(picture.parent, out=picture.parent) == 2
    assert "is the folder of the pictures and of the results" in segkit.stderr
    assert picture.read_bytes() == before
    assert [path.name for path in picture.parent.iterdir()] == ["a.png"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_exit_code_2(segkit: Segkit, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert segkit(put(tmp_path / "a.png"), out=tmp_path / "locked") == 2
    assert "can't be written to" in segkit.stderr


def test_results_inside_the_folder_of_the_pictures_are_not_read_as_pictures(segkit: Segkit, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    for _ in range(2):
        assert segkit(tmp_path / "in", "--recursive", out=tmp_path / "in" / "masks") == 0
    assert "1 file: 1 ok" in segkit.stderr


def test_when_it_is_asked_to_end_its_table_is_complete_and_no_half_file_stays(segkit: Segkit, tmp_path: Path) -> None:
    picture = put(tmp_path / "in" / "000.png")
    for number in range(1, 2000):
        (tmp_path / "in" / f"{number:04d}.png").hardlink_to(picture)
    command = [sys.executable, "-m", "segkit", "predict", str(tmp_path / "in"), "-m", str(segkit.model), "-o", str(segkit.out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (segkit.out / "results.csv").exists() and process.poll() is None:
        time.sleep(0.05)
    process.terminate()
    told = process.communicate()[1]
    assert process.returncode == 143, told
    assert "Traceback" not in told
    masks = {str(path) for path in segkit.out.glob("*.png")}
    assert masks - {row["output"] for row in segkit.rows()} <= {max(masks)}       # at most the one that was being written
    assert not list(segkit.out.rglob(".segkit-*"))


# Model files that are none.


def test_a_model_that_is_not_there_names_the_built_in_ones(segkit: Segkit, tmp_path: Path) -> None:
    assert segkit(put(tmp_path / "a.png"), model="fundus-vesels") == 1
    (line,) = segkit.stderr.splitlines()
    assert line.startswith("segkit: fundus-vesels: no such model file; ")
    assert line.endswith("built-in name: fundus-vessels")


def evil(path: Path, model: Path) -> None:
    torch.save({"state_dict": Path("not a tensor")}, path)


def truncated(path: Path, model: Path) -> None:
    path.write_bytes((model / "model.safetensors").read_bytes()[:5000])


def poisoned(path: Path, model: Path) -> None:
    file = load_model(model)
    file.weights["head.bias"][0] = float("nan")
    save_model(path, file.run, file.weights, file.card)


def of_another_network(path: Path, model: Path) -> None:
    file = load_model(model)
    other = RunConfig.model_validate({**file.run.model_dump(), "model": {"feature_scale": 32, "in_channels": 1}})
    save_model(path, other, file.weights, file.card)


def without_a_card(path: Path, model: Path) -> None:
    safetensors.torch.save_file(load_model(model).weights, path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (evil, "is a PyTorch file"),
        (truncated, "is a damaged safetensors file"),
        (poisoned, "head.bias holds NaN or infinity"),
        (of_another_network, "do not fit the network of the settings"),
        (without_a_card, "without segkit's card"),
    ],
)
def test_a_model_file_that_can_not_be_used_is_told_before_anything_is_written(segkit: Segkit, tmp_path: Path, make: object, words: str) -> None:
    make(tmp_path / "m.safetensors", segkit.model)  # type: ignore[operator]
    assert segkit(put(tmp_path / "a.png"), model=tmp_path / "m.safetensors") == 1
    (line,) = segkit.stderr.splitlines()
    assert words in line
    assert not segkit.out.exists()


def test_the_model_file_alone_is_enough(segkit: Segkit, tmp_path: Path) -> None:
    shutil.copy(segkit.model / "model.safetensors", tmp_path / "anything.bin")
    assert segkit(put(tmp_path / "a.png"), model=tmp_path / "anything.bin") == 0
