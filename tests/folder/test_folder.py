"""Prediction over files: masks on each file's own grid, a row for each file, and a bad one stops nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from toys import disc

from segkit.errors import CollisionError, SettingsError, WriteError
from segkit.folder import Extras, Failure, Result, Summary, manifest_sources, predict_files
from segkit.folder.ledger import Entry
from segkit.io import Source, find_sources
from segkit.predict import Model, load


@pytest.fixture(scope="module")
def model(disc_run: Path) -> Model:
    return load(disc_run, device="cpu", precision="fp32")


def put(path: Path, seed: int = 0, size: tuple[int, int] = (33, 47)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(disc(seed, size)[0]).save(path)
    return path


def walk(sources: Sequence[Source], model: Model, out: Path, **options: Any) -> Summary:
    return predict_files(sources, model, out, predict=model.run.predict, read=model.run.data.read, **options)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_file_gets_a_mask_and_a_row(model: Model, tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "b.tif", "below/c.png")):
        put(tmp_path / "in" / name, number)
    summary = walk(find_sources(tmp_path / "in", recursive=True).sources, model, tmp_path / "out")
    assert [Path(row.output).relative_to(tmp_path / "out").as_posix() for row in summary.results] == ["a.png", "b.tif", "below/c.png"]
    rows = table(tmp_path / "out" / "results.csv")
    assert list(rows[0]) == ["file", "output", "shape", "disc_px", "disc_mm2", "disc_mm3", "mean_confidence", "expected_dice", "seconds", "notes"]
    for row in rows:
        with Pillow.open(row["output"]) as mask:
            values = np.asarray(mask)
        assert (row["shape"], values.shape) == ("33x47", (33, 47))
        assert set(np.unique(values)) <= {0, 255}
        assert int(row["disc_px"]) == (values == 255).sum() > 0
        assert (row["disc_mm2"], row["disc_mm3"]) == ("", "")
        assert 0.5 <= float(row["mean_confidence"]) <= 1
    assert not (tmp_path / "out" / "failures.csv").exists()


def test_what_was_done_is_written_down(model: Model, tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    walk(find_sources(tmp_path / "a.png").sources, model, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    assert told["labels"] == {"background": 0, "disc": 255}
    assert told["model"]["fingerprint"] == model.card.fingerprint
    assert told["precision"] == "fp32"


def test_a_bad_file_gets_a_row_and_stops_nothing(model: Model, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"")
    put(tmp_path / "in" / "c.png")
    summary = walk(find_sources(tmp_path / "in").sources, model, tmp_path / "out")
    assert (len(summary.results), [row.code for row in summary.failures]) == (2, ["E_EMPTY"])
    (row,) = table(tmp_path / "out" / "failures.csv")
    assert (row["path"], row["code"]) == (str(tmp_path / "in" / "b.png"), "E_EMPTY")
    assert "b.png" in row["message"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a.png", "c.png"]


def test_the_failures_of_an_earlier_run_go(model: Model, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"")
    walk(find_sources(tmp_path / "in").sources, model, tmp_path / "out")
    put(tmp_path / "in" / "b.png")
    walk(find_sources(tmp_path / "in").sources, model, tmp_path / "out")
    assert not (tmp_path / "out" / "failures.csv").exists()


def test_what_could_not_even_be_listed_has_a_row_too(model: Model, tmp_path: Path) -> None:
    walk([], model, tmp_path / "out", known_failures=[Failure("in/locked", "E_PERM", "in/locked: permission denied")])
    assert table(tmp_path / "out" / "failures.csv")[0]["code"] == "E_PERM"
    assert table(tmp_path / "out" / "results.csv") == []


def test_the_table_is_complete_also_where_the_run_is_broken_off(model: Model, tmp_path: Path) -> None:
    def broken_off(entries: Iterable[Entry], total: int, what: str) -> Iterable[Entry]:
        yield from islice(entries, 3)
        raise KeyboardInterrupt

    for name in "abcd":
        put(tmp_path / "in" / f"{name}.png")
    with pytest.raises(KeyboardInterrupt):
        walk(find_sources(tmp_path / "in").sources, model, tmp_path / "out", watch=broken_off)
    assert [Path(row["file"]).name for row in table(tmp_path / "out" / "results.csv")] == ["a.png", "b.png", "c.png"]


def test_a_full_disk_ends_the_run(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segkit.io import atomic

    put(tmp_path / "in" / "a.png")
    commit = atomic._commit

    def full(temporary: Path, target: Path) -> None:
        if target.suffix == ".png":
            raise OSError(28, "No space left on device")
        commit(temporary, target)

    monkeypatch.setattr(atomic, "_commit", full)
    with pytest.raises(WriteError, match=r"a\.png: not written: the disk is full"):
        walk(find_sources(tmp_path / "in").sources, model, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".segkit", "results.csv", "run.json"]


def test_a_name_that_is_too_long_is_a_row_and_stops_nothing(model: Model, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png").rename(tmp_path / "in" / ("n" * 255))     # no ending: its mask's name is longer
    put(tmp_path / "in" / "z.png")
    summary = walk(find_sources(tmp_path / "in").sources, model, tmp_path / "out")
    assert [Path(result.file).name for result in summary.results] == ["z.png"]
    assert [failure.code for failure in summary.failures] == ["E_WRITE"]


# What is written beside the masks.


def test_nothing_of_an_earlier_run_stays_beside_a_new_mask(model: Model, tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    sources = find_sources(tmp_path / "in").sources
    walk(sources, model, tmp_path / "out", extras=Extras(overlay=True, probabilities=True))
    walk(sources, model, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").rglob("a.*")) == ["a.png"]


def test_overlays_and_probabilities_lie_on_the_pictures_grid(model: Model, tmp_path: Path) -> None:
    put(tmp_path / "in" / "below" / "a.png", size=(33, 47))
    walk(find_sources(tmp_path / "in", recursive=True).sources, model, tmp_path / "out", extras=Extras(overlay=True, probabilities=True))
    with Pillow.open(tmp_path / "out" / "overlays" / "below" / "a.png") as drawn:
        assert (drawn.size, drawn.mode) == ((47, 33), "RGB")
    with np.load(tmp_path / "out" / "probabilities" / "below" / "a.npz") as saved:
        assert (saved["probabilities"].shape, saved["probabilities"].dtype) == ((33, 47, 2), np.float16)
        assert saved["classes"].tolist() == ["background", "disc"]
        mask = np.asarray(Pillow.open(tmp_path / "out" / "below" / "a.png"))
        np.testing.assert_array_equal(saved["probabilities"][..., 1] > 0.5, mask == 255)


def test_a_turned_photograph_gets_its_mask_and_probabilities_as_its_pixels_are_stored(model: Model, tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6                                               # held upright, stored lying
    Pillow.fromarray(disc(3, (33, 47))[0]).save(tmp_path / "a.png", exif=exif)
    (row,) = walk(find_sources(tmp_path / "a.png").sources, model, tmp_path / "out", extras=Extras(probabilities=True)).results
    assert row.shape == (47, 33)
    with Pillow.open(row.output) as mask, np.load(tmp_path / "out" / "probabilities" / "a.npz") as saved:
        assert mask.size == (47, 33)                               # width, height: as stored
        assert saved["probabilities"].shape == (33, 47, 2)


# Where results go.


def test_results_of_a_manifest_lie_as_the_pictures_do_and_never_outside(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    manifest = tmp_path / "set" / "m.csv"
    manifest.write_text("image,split\nimages/a.png,train\n../elsewhere/b.nii.gz,test\n" + f"{tmp_path / 'set' / 'c.png'},test\n")
    assert [source.output.as_posix() for source in manifest_sources(manifest, None)] == ["images/a", "b", "c"]
    assert [source.output.as_posix() for source in manifest_sources(manifest, "test")] == ["b", "c"]


def test_two_pictures_of_a_manifest_must_not_share_a_result(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image\n/x/a.png\n/y/a.png\n")
    with pytest.raises(CollisionError, match="would both be written as a"):
        manifest_sources(tmp_path / "m.csv", None)


def test_a_png_and_a_tiff_of_one_name_get_a_mask_each(model: Model, tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        put(tmp_path / "in" / name)
    sources = find_sources(tmp_path / "in").sources
    for broken in ("", "a.png", "a.tif"):
        if broken:
            (tmp_path / "in" / broken).write_bytes((tmp_path / "in" / broken).read_bytes()[:99])
        summary = walk(sources, model, tmp_path / "out")
        expected = {"a.png", "a.tif"} - {broken}
        assert {Path(row.output).name for row in summary.results} == expected
        assert {path.name for path in (tmp_path / "out").glob("a.*")} == expected
        for name in ("a.png", "a.tif"):
            put(tmp_path / "in" / name)


def test_what_lies_beside_the_masks_must_not_share_a_name(model: Model, tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        put(tmp_path / "in" / name)
    with pytest.raises(CollisionError, match="would both be written as a;"):
        walk(find_sources(tmp_path / "in").sources, model, tmp_path / "out", extras=Extras(overlay=True))


def test_a_mask_of_this_run_is_never_replaced_by_another(model: Model, tmp_path: Path) -> None:
    """An animation of several pages has a TIFF as its mask, which only shows when it is read."""
    one, other = (Source((put(tmp_path / name / "a.png"),), PurePath("a")) for name in ("x", "y"))
    summary = walk([one, other], model, tmp_path / "out")
    assert [row.code for row in summary.failures] == ["E_COLLISION"]
    assert (tmp_path / "out" / "a.png").exists()


def test_what_is_cut_off_is_noted(model: Model, tmp_path: Path) -> None:
    Pillow.fromarray(np.full((33, 47), 260, np.uint16)).save(tmp_path / "a.tif")
    (row,) = walk(find_sources(tmp_path / "a.tif").sources, model, tmp_path / "out").results
    assert row.notes == ("1551 of 1551 values lie beyond 0 to 255, the range that the model takes: cut off there",)


def test_a_split_that_no_row_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,split\na.png,train\n")
    with pytest.raises(SettingsError, match="no row has split 'test'; there are: train"):
        manifest_sources(tmp_path / "m.csv", "test")


def test_a_mask_never_replaces_its_picture(model: Model, tmp_path: Path) -> None:
    picture = put(tmp_path / "a.png")
    before = picture.read_bytes()
    with pytest.raises(CollisionError, match="would replace this input file; choose another folder with -o"):
        walk(find_sources(picture).sources, model, tmp_path)
    assert picture.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_folder_for_the_results_that_is_a_file_is_refused(model: Model, tmp_path: Path) -> None:
    picture = put(tmp_path / "a.png")
    with pytest.raises(SettingsError, match="is a file; -o takes a folder"):
        walk(find_sources(picture).sources, model, picture)
    with pytest.raises(SettingsError, match="can't be written to: a part of its path is a file, not a folder; choose"):
        walk(find_sources(picture).sources, model, picture / "below")


@pytest.mark.parametrize(("shape", "cells"), [((4, 5), ["3", "1.5000", ""]), ((2, 4, 5), ["3", "", "1.5000"])])
def test_a_picture_has_square_millimetres_and_a_volume_cubic_ones(shape: tuple[int, ...], cells: list[str]) -> None:
    row = Result("a", "b", shape, {"disc": 3}, {"disc": 1.5}, 0.75, 0.1, ("one", "two")).cells()
    assert [str(cell) for cell in row[3:6]] == cells
    assert row[-1] == "one | two"


def test_a_mask_of_an_earlier_run_does_not_outlive_a_failure(model: Model, tmp_path: Path) -> None:
    picture = put(tmp_path / "in" / "a.png")
    put(tmp_path / "in" / "b.png")
    walk(find_sources(tmp_path / "in").sources, model, tmp_path / "out", extras=Extras(overlay=True, probabilities=True))
    picture.write_bytes(b"")
    walk(find_sources(tmp_path / "in").sources, model, tmp_path / "out")
    assert not (tmp_path / "out" / "a.png").exists()
    assert not (tmp_path / "out" / "overlays" / "a.png").exists()
    assert not (tmp_path / "out" / "probabilities" / "a.npz").exists()
    assert (tmp_path / "out" / "b.png").exists()


def test_the_folder_of_a_training_run_is_no_place_for_masks(model: Model, tmp_path: Path, disc_run: Path) -> None:
    before = (disc_run / "run.json").read_bytes()
    with pytest.raises(SettingsError, match=r"is the folder of a training run, whose run\.json would be lost"):
        walk(find_sources(put(tmp_path / "a.png")).sources, model, disc_run)
    assert (disc_run / "run.json").read_bytes() == before


@pytest.mark.parametrize("name", ["overlays", "probabilities", "attention"])
def test_a_folder_named_like_ours_is_refused(model: Model, tmp_path: Path, name: str) -> None:
    put(tmp_path / "in" / name / "a.png")
    with pytest.raises(CollisionError, match=f"its mask would lie among the {name} of OUT"):
        walk(find_sources(tmp_path / "in", recursive=True).sources, model, tmp_path / "out")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")])
def test_a_picture_too_large_for_the_memory_costs_one_file(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*given: Any, **more: Any) -> Any:
        raise error

    monkeypatch.setattr(model.engine, "_network", refuse)
    summary = walk(find_sources(put(tmp_path / "a.png")).sources, model, tmp_path / "out")
    assert [row.code for row in summary.failures] == ["E_OOM"]


def test_a_programming_error_is_not_taken_for_a_lack_of_memory(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **more: Any) -> Any:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(model.engine, "_network", refuse)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        walk(find_sources(put(tmp_path / "a.png")).sources, model, tmp_path / "out")


def test_a_mask_never_replaces_what_a_linked_picture_points_to(model: Model, tmp_path: Path) -> None:
    put(tmp_path / "out" / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "out" / "a.png")
    with pytest.raises(CollisionError, match="would replace this input file"):
        walk(find_sources(tmp_path / "in").sources, model, tmp_path / "out")
