"""The clean copy: what is kept, renamed, moved and left out; a folder that is there whole or not at all; the page of outlines."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow
from toy_sets import COUNT, SIZE, check, mask, picture, redraw, save, write_manifest, write_set

from segkit.check import clean, draw_sheet, write_clean
from segkit.config import DataSettings
from segkit.dataset import find_cases, load_pair
from segkit.errors import SettingsError, WriteError
from segkit.io import read_image
from segkit.io.files import stem
from segkit.labels import Labels


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Pillow.open(path))


def test_training_takes_the_copy_as_it_is(tmp_path):
    redraw(write_set(tmp_path / "set"), [mask(seed, value=1) for seed in range(COUNT)])
    write_clean(check(tmp_path / "set"), tmp_path / "copy")
    labels = json.loads((tmp_path / "copy/labels.json").read_text())
    assert labels == {"labels": {"background": 0, "foreground": 255}, "ignore": None}
    data = DataSettings(manifest=tmp_path / "copy/manifest.csv", labels=labels["labels"])
    training, validation = find_cases(data, seed=0)
    assert len(training) + len(validation) == COUNT
    for case in training:
        seed = int(case.image.stem)
        image, truth = load_pair(case, data, data.make_labels())
        np.testing.assert_array_equal(image.pixels[0], picture(seed))
        np.testing.assert_array_equal(truth.indices, mask(seed, value=1))


def test_pictures_are_copied_byte_by_byte_where_nothing_is_wrong_with_them(tmp_path):
    write_clean(check(write_set(tmp_path / "set")), tmp_path / "copy")
    assert (tmp_path / "copy/images/03.png").read_bytes() == (tmp_path / "set/images/03.png").read_bytes()


def test_classes_keep_their_names_and_what_is_ignored_stays_ignored(tmp_path):
    drawn = mask(0, value=20)
    drawn[20:25, 5:9], drawn[0, :] = 40, 99
    redraw(write_set(tmp_path / "set"), [np.roll(drawn, seed, axis=1) for seed in range(COUNT)])
    report = check(tmp_path / "set", labels=Labels(("background", "nerve", "vessel"), (0, 20, 40), ignore=99))
    write_clean(report, tmp_path / "copy")
    assert sorted(np.unique(pixels(tmp_path / "copy/masks/00.png"))) == [0, 1, 2, 255]
    again = check(tmp_path / "copy")
    assert (again.values.names, again.values.ignore, again.findings) == (("background", "nerve", "vessel"), 255, ())


def test_files_of_classes_and_of_objects_become_one_mask(tmp_path):
    one, other = np.zeros((2, *SIZE), np.uint8)
    one[2:8, 3:9], other[10:20, 12:30] = 255, 1                         # people draw in 255 here and in 1 there
    for root, names in ((tmp_path / "classes", ("nerve/00", "vessel/00")), (tmp_path / "objects", ("00/1", "00/2"))):
        save(root / "images/00.png", picture(0))
        for name, drawn in zip(names, (one, other), strict=True):
            save(root / f"masks/{name}.png", drawn)
        write_clean(check(root), tmp_path / "copy" / root.name)
    np.testing.assert_array_equal(pixels(tmp_path / "copy/classes/masks/00.png"), np.where(one > 0, 1, 0) + np.where(other > 0, 2, 0))
    np.testing.assert_array_equal(pixels(tmp_path / "copy/objects/masks/00.png"), np.where((one > 0) | (other > 0), 255, 0))


def test_volumes_stay_volumes_on_their_own_grid(tmp_path):
    affine = np.array([[0, -0.5, 0, 3], [0.7, 0, 0, 4], [0, 0, 2.0, 5], [0, 0, 0, 1]])
    truth = np.zeros((9, 11, 4), np.uint8)
    truth[2:6, 3:7, 1:3] = 1
    for folder, values in (("images", np.random.default_rng(0).normal(0, 1, truth.shape).astype(np.float32)), ("masks", truth)):
        (tmp_path / "set" / folder).mkdir(parents=True)
        nib.save(nib.Nifti1Image(values, affine), tmp_path / "set" / folder / "a.nii.gz")
    write_clean(check(tmp_path / "set"), tmp_path / "copy")
    written = nib.load(tmp_path / "copy/masks/a.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), truth * 255)
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)


def test_a_turned_photograph_and_its_mask_still_lie_on_each_other(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    save(write_set(tmp_path / "set", 3) / "images/00.jpg", picture(0), exif=exif)
    (tmp_path / "set/images/00.png").unlink()
    write_clean(check(tmp_path / "set"), tmp_path / "copy")
    np.testing.assert_array_equal(pixels(tmp_path / "copy/masks/00.png"), mask(0))
    assert check(tmp_path / "copy").is_fit


def test_grey_among_colour_becomes_colour_unless_all_are_grey(tmp_path):
    tinted = np.dstack([picture(0), picture(0), picture(0) // 2])
    redraw(write_set(tmp_path / "set"), [tinted], "images")
    write_clean(check(tmp_path / "set"), tmp_path / "copy")
    np.testing.assert_array_equal(pixels(tmp_path / "copy/images/00.png"), tinted)
    np.testing.assert_array_equal(pixels(tmp_path / "copy/images/01.png"), np.dstack([picture(1)] * 3))


def test_one_picture_of_a_view_leads_the_others_into_its_group_and_into_training(tmp_path):
    write_set(tmp_path / "set")
    save(tmp_path / "set/images/09.png", (picture(0) * 0.9).astype(np.uint8))
    save(tmp_path / "set/images/10.png", (picture(5) * 0.9).astype(np.uint8))
    write_manifest(tmp_path / "set", [(number, "test" if number > 8 else "train", f"p{number:02}" if number != 5 else "p09") for number in range(COUNT)])
    cleaned = write_clean(check(tmp_path / "set"), tmp_path / "copy")
    told = {Path(row["image"]).stem: (row["split"], row["group"]) for row in rows(tmp_path / "copy")}
    assert {told[name] for name in ("00", "05", "09", "10")} == {("train", "p00")}    # 0 = 9, whose group holds 5 = 10
    assert told["11"] == ("test", "p11")
    assert (cleaned.moved, cleaned.grouped) == (2, 3)


def test_of_copies_the_first_stays_and_contradictions_all_go(tmp_path):
    write_set(tmp_path / "set")
    for number in (4, 5):
        save(tmp_path / f"set/images/0{number}.png", picture(3))
        save(tmp_path / f"set/masks/0{number}.png", mask(3))
    save(tmp_path / "set/images/07.png", picture(6))
    cleaned = write_clean(check(tmp_path / "set"), tmp_path / "copy")
    assert dict(cleaned.left_out) == {
        "images/04.png": "a copy of images/03.png",
        "images/05.png": "a copy of images/03.png",
        "images/06.png": "the same picture has different masks",
        "images/07.png": "the same picture has different masks",
    }
    assert cleaned.written == COUNT - 4


@pytest.mark.parametrize(("channels", "dtype"), [(2, np.uint8), (3, np.uint16), (4, np.uint16)])
def test_pictures_with_a_file_for_each_channel_become_one_file_each_and_come_back(tmp_path, channels, dtype):
    factor = dtype(1 if dtype is np.uint8 else 99)
    drawn = {(seed, channel): picture(10 * channel + seed).astype(dtype) * factor for seed in range(3) for channel in range(channels)}
    for (seed, channel), pixels_of in drawn.items():
        save(tmp_path / f"set/imagesTr/{seed}_000{channel}.png", pixels_of)
        save(tmp_path / f"set/labelsTr/{seed}.png", mask(seed))
    before = check(tmp_path / "set")
    assert {finding.code: finding.fix for finding in before.findings}["several-images"] == "writes them as one TIFF of several channels"
    assert write_clean(before, tmp_path / "copy").left_out == {}
    again = check(tmp_path / "copy")
    assert again.findings == ()
    assert [(stem(case.image), case.group) for case in again.evidence.found.cases] == [(str(seed), f"imagesTr/{seed}_0000") for seed in range(3)]
    for seed, case in enumerate(again.evidence.found.cases):
        np.testing.assert_array_equal(read_image(case.image).pixels, np.stack([drawn[seed, channel] for channel in range(channels)]))
        np.testing.assert_array_equal(pixels(case.masks[0]), mask(seed))


def test_volumes_with_a_file_for_each_channel_are_left_out_and_said(tmp_path):
    for name, shape in (("imagesTr/a_0000", 5), ("imagesTr/a_0001", 7), ("labelsTr/a", 2)):
        voxels = np.random.default_rng(shape).integers(0, 2 if shape == 2 else 99, (33, 47, 4)).astype(np.int16)
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"set/{name}.nii.gz")
    report = check(tmp_path / "set")
    assert {finding.code: finding.fix for finding in report.findings}["several-images"] is None
    with pytest.raises(SettingsError, match="no case would be left"):
        write_clean(report, tmp_path / "copy")
    save(tmp_path / "set/imagesTr/b_0000.png", picture(1))
    save(tmp_path / "set/labelsTr/b.png", mask(1, value=1))
    why = write_clean(check(tmp_path / "set"), tmp_path / "copy").left_out["imagesTr/a_0000.nii.gz"]
    assert why == "lies in several files, one for each channel, and its slices would be lost in one picture of 2 channels"


def test_pictures_of_one_name_in_two_folders_keep_apart(tmp_path):
    for seed in range(3):
        save(tmp_path / f"set/images/p{seed}/a.png", picture(seed))
        save(tmp_path / f"set/masks/p{seed}/a.png", mask(seed))
    write_clean(check(tmp_path / "set"), tmp_path / "copy")
    assert {Path(row["image"]).name for row in rows(tmp_path / "copy")} == {f"images_p{seed}_a.png" for seed in range(3)}
    assert check(tmp_path / "copy").findings == ()


def test_a_folder_in_use_within_the_set_or_without_meaning_is_refused(tmp_path):
    report = check(write_set(tmp_path / "set"))
    save(tmp_path / "used/a.png", mask(0))
    for place, words in ((tmp_path / "used", "used: is there already, and not empty"), (tmp_path / "set/copy", "copy: lies within the data set")):
        with pytest.raises(SettingsError, match=words):
            write_clean(report, place)
    redraw(tmp_path / "set", [picture(seed + 50) for seed in range(COUNT)])
    with pytest.raises(SettingsError, match="it is not clear what the values in the masks mean; say it with --labels"):
        write_clean(check(tmp_path / "set"), tmp_path / "copy")
    save(tmp_path / "one/images/a.png", np.full(SIZE, 9, np.uint8))
    save(tmp_path / "one/masks/a.png", mask(0))
    with pytest.raises(SettingsError, match="no case would be left; repair some first"):
        write_clean(check(tmp_path / "one"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "copy").mkdir()
    assert write_clean(check(write_set(tmp_path / "set", 3)), tmp_path / "copy").written == 3


def test_when_the_disk_says_no_nothing_is_there(tmp_path, monkeypatch):
    report = check(write_set(tmp_path / "set", 3))
    done: list[Path] = []

    def refuse(source: Path, target: Path) -> None:
        done.append(target)
        if len(done) == 3:
            raise OSError(28, "No space left on device")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(clean.shutil, "copyfile", refuse)
    with pytest.raises(WriteError, match="not written: the disk is full"):
        write_clean(report, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_the_page_shows_what_is_named_first_and_others_evenly(tmp_path):
    write_set(tmp_path, 40)
    save(tmp_path / "images/33.png", picture(2))
    names = draw_sheet(check(tmp_path), tmp_path / "page.png")
    assert len(names) == 24
    assert {"images/02.png", "images/33.png"} <= set(names)
    assert names == sorted(names)
    page = pixels(tmp_path / "page.png")
    assert page.ndim == 3 and page.shape[1] > 5 * 320
    assert (page == (0, 215, 175)).all(axis=-1).any()                   # the colour of the first class, undiluted: an outline


def test_small_pictures_are_enlarged_by_a_whole_number_and_their_outlines_are_thin(tmp_path):
    drawn = np.zeros((33, 47), np.uint8)
    drawn[10:20, 10:30], drawn[22:30, 10:15] = 1, 2
    save(tmp_path / "images/für eine.png", np.where(np.arange(47) % 2, np.uint8(10), np.uint8(240))[None].repeat(33, axis=0))
    save(tmp_path / "masks/für eine.png", drawn)
    draw_sheet(check(tmp_path), tmp_path / "page.png")
    page = pixels(tmp_path / "page.png")
    first, second = ((page == colour).all(axis=-1) for colour in ((0, 215, 175), (245, 155, 45)))
    rows, columns = np.flatnonzero(first.sum(axis=1) > 100), np.flatnonzero(first[:200].sum(axis=0) > 50)
    assert (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) == (10 * 6, 20 * 6)    # 47 columns go six times into 320
    assert len(rows) == len(columns) == 2                                                # top and bottom, left and right
    assert second.any()
    legend = page[-16 - 13 :]
    assert (legend == (0, 215, 175)).all(axis=-1).sum() == (legend == (245, 155, 45)).all(axis=-1).sum() > 200


def test_there_is_no_page_where_masks_mean_nothing(tmp_path):
    redraw(write_set(tmp_path), [picture(seed + 50) for seed in range(COUNT)])
    assert draw_sheet(check(tmp_path), tmp_path / "page.png") == []
    assert not (tmp_path / "page.png").exists()
