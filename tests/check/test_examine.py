"""What is measured of a set, by hand; what its values mean; how its cases are looked at."""

from __future__ import annotations

import json
import math

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow
from toy_sets import COUNT, SIZE, check, codes, mask, picture, redraw, save, write_manifest, write_set

from segkit.check import workers
from segkit.check.likeness import Twins, clusters, find_twins, signature_of
from segkit.check.objects import measure_objects
from segkit.check.workers import look_at_all
from segkit.image import Image
from segkit.io import ReadSettings
from segkit.layouts import find_dataset


def drawn(*slices: str) -> np.ndarray:
    """Slices of rows with blanks between them, # where something is."""
    return np.array([[[sign == "#" for sign in row] for row in plane.split()] for plane in slices])


def test_pieces_are_counted_slice_by_slice_and_touch_at_corners():
    found = measure_objects(drawn("#... .#.. ...#", "#... .... ...."))
    assert found is not None
    assert found.count == 3
    assert found.areas_px.tolist() == [1, 1, 2]
    assert (found.inner_max_px, found.inner_median_px) == (1, 1)


def test_the_inside_of_a_box_is_as_deep_as_half_of_its_smaller_side():
    found = measure_objects(drawn("....... .#####. .#####. .#####. ......."))
    assert found is not None
    assert found.inner_max_px == 2
    assert found.inner_median_px == 1
    assert measure_objects(np.zeros((2, 3, 4), bool)) is None


def test_the_neighbouring_slices_do_not_make_an_object_thinner():
    stack = np.zeros((3, 9, 9), bool)
    stack[1, 2:7, 2:7] = True
    found = measure_objects(stack)
    assert found is not None and found.inner_max_px == 3


def test_a_slice_without_background_is_no_thicker_than_it_is_wide():
    full = measure_objects(np.ones((2, 4, 6), bool))
    beside_another = measure_objects(np.stack([np.ones((4, 6), bool), np.zeros((4, 6), bool)]))
    assert full is not None and full.inner_max_px == 3
    assert beside_another is not None and beside_another.inner_max_px <= 6


def test_measurements_can_be_redone_by_hand(tmp_path):
    first, second = np.zeros((2, 10, 20), np.uint8)
    first[2:6, 3:8] = 1                                                # 4 x 5
    first[8, 3:18] = 2                                                 # a line of 15
    save(tmp_path / "masks/a.png", first)
    save(tmp_path / "masks/b.png", second)
    save(tmp_path / "images/a.png", np.repeat(np.arange(10, dtype=np.uint8)[:, None], 20, axis=1))
    save(tmp_path / "images/b.png", np.tile(np.arange(20, dtype=np.uint8), (10, 1)))
    measured = check(tmp_path).measurements
    assert measured is not None
    assert (measured.cases, measured.groups, measured.volumes, measured.slices) == (2, 2, 0, 2)
    assert (measured.height.median, measured.width.highest, measured.depth) == (10, 20, None)
    assert (measured.channels, measured.dtypes, measured.spacing_mm, measured.without_spacing) == ({1: 2}, {"uint8": 2}, None, 2)
    assert (measured.intensity[0].p50.lowest, measured.intensity[0].p50.highest) == (4.5, 9.5)
    assert (measured.empty_cases, measured.empty_slices) == (0.5, 0.5)
    background, box, line = measured.classes
    assert [one.name for one in measured.classes] == ["background", "class_1", "class_2"]
    assert (background.pixel_share, background.objects) == (365 / 400, 0)    # zeros that cover most are not measured
    assert (box.pixel_share, box.case_share, box.objects, box.area_px_median, box.inner_max_px) == (20 / 400, 0.5, 1, 20, 2)
    assert box.diameter_px_median == pytest.approx(2 * math.sqrt(20 / math.pi))
    assert (line.area_px_median, line.inner_max_px, line.inner_median_px) == (15, 1, 1)


def test_thirty_classes_are_measured_each_by_itself(tmp_path):
    drawn = np.zeros(SIZE, np.uint8)
    for value in range(1, 31):
        drawn[value, : value % 5 + 2] = value
    redraw(write_set(tmp_path, 4), [drawn] * 3 + [np.where(drawn == 30, drawn, 0)])
    measured = check(tmp_path).measurements
    assert measured is not None
    assert measured.empty_cases == 0
    assert [one.objects for one in measured.classes[1:]] == [3] * 29 + [4]
    assert [one.area_px_median for one in measured.classes[1:4]] == [3, 4, 5]


def test_thin_and_round_are_told_apart(tmp_path):
    lines = np.zeros((60, 70), np.uint8)
    lines[5:55, 10], lines[30, 5:65], lines[33:53, 20:40] = 1, 1, 2
    save(tmp_path / "images/a.png", picture(0, (60, 70)))
    save(tmp_path / "masks/a.png", lines)
    measured = check(tmp_path).measurements
    assert measured is not None
    assert [one.is_thin for one in measured.classes[1:]] == [True, False]


def test_a_volume_is_measured_in_slices_and_millimetres(tmp_path):
    voxels = np.random.default_rng(0).normal(0, 1, (9, 11, 4)).astype(np.float32)
    truth = np.zeros(voxels.shape, np.uint8)
    truth[2:4, 2:5, 1], truth[2:4, 2:5, 2] = 1, 2
    for folder, values in (("images", voxels), ("masks", truth)):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(values, np.diag([0.5, 0.7, 3, 1])), tmp_path / folder / "a.nii.gz")
    measured = check(tmp_path).measurements
    assert measured is not None
    assert measured.depth is not None and measured.spacing_mm is not None
    assert (measured.depth.median, measured.height.median, measured.width.median) == (4, 11, 9)
    assert [round(side.median, 3) for side in measured.spacing_mm] == [3, 0.7, 0.5]
    assert (measured.volumes, measured.slices, measured.empty_slices) == (1, 4, 0.5)
    assert [one.slice_share for one in measured.classes] == [1, 0.25, 0.25]


def grey(*values: int) -> np.ndarray:
    """A mask that holds these values."""
    each = np.zeros(SIZE, np.uint8)
    for number, value in enumerate(values):
        each[3 : 3 + 5 * (number + 1), 3 + 8 * number : 10 + 8 * number] = value
    return each


@pytest.mark.parametrize(
    ("values", "kind", "labels", "ignore"),
    [
        ((0, 255), "0 and 255", {"background": 0, "foreground": 255}, None),
        ((0, 1), "class numbers", {"background": 0, "foreground": 1}, None),
        ((0, 1, 3), "class numbers", {"background": 0, "class_1": 1, "class_3": 3}, None),
        ((0, 1, 255), "class numbers", {"background": 0, "foreground": 1}, 255),
        ((0, 1, 2, 255), "class numbers", {"background": 0, "class_1": 1, "class_2": 2}, 255),
        ((0, 85, 170), "levels", {"background": 0, "class_85": 85, "class_170": 170}, None),
        ((0, 3, 252, 255), "soft", {"background": 0, "foreground": 255}, None),
    ],
)
def test_what_values_mean_is_decided_for_the_whole_set(tmp_path, values, kind, labels, ignore):
    redraw(write_set(tmp_path, 4), [grey(*values)] * 4)
    decided = check(tmp_path).values
    assert (decided.kind, decided.labels, decided.ignore) == (kind, labels, ignore)
    assert decided.threshold == (127 if kind == "soft" else None)
    assert decided.as_labels() is not None
    assert not decided.are_names_known


def test_values_become_classes_as_training_reads_them(tmp_path):
    redraw(write_set(tmp_path, 4), [grey(0, 1, 2, 255)] * 4)
    values = check(tmp_path).values
    labels = values.as_labels()
    assert labels is not None
    np.testing.assert_array_equal(values.encode(grey(0, 1, 2, 255)), labels.encode(grey(0, 1, 2, 255)))


def test_a_soft_mask_is_as_large_as_what_lies_above_the_threshold(tmp_path):
    edge = [0] * 20 + [5] * 4 + [30, 60, 90, 120, 130, 150, 170, 190, 210] + [250] * 4 + [255] * 10
    ramp = np.tile(np.array(edge, np.uint8), (33, 1))
    redraw(write_set(tmp_path, 4), [ramp] * 4)
    measured = check(tmp_path).measurements
    assert measured is not None
    assert measured.classes[1].pixel_share == 19 / 47
    assert (measured.classes[1].area_px_median, measured.classes[1].objects) == (19 * 33, 4)


def test_everything_is_written_as_json(tmp_path):
    redraw(write_set(tmp_path, 4), [np.zeros(SIZE, np.uint8)] * 4)
    told = json.loads(json.dumps(check(tmp_path).to_json()))
    assert told["masks"]["labels"] == {"background": 0, "foreground": 255}
    assert told["is_fit"] is False
    assert [finding["code"] for finding in told["findings"]] == ["no-foreground"]
    assert told["measurements"]["cases"] == 4


def test_a_set_of_which_nothing_can_be_read_is_a_finding_too(tmp_path):
    save(tmp_path / "masks/a.png", mask(0))
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(b"nothing")
    report = check(tmp_path)
    assert report.measurements is None
    assert codes(report) == {"unreadable-image"}


def test_processes_find_what_is_found_here(tmp_path):
    write_set(tmp_path, 3)
    (tmp_path / "images/01.png").write_bytes(b"")
    cases = find_dataset(tmp_path).cases
    here, there = (list(look_at_all(cases, (), ReadSettings(), count)) for count in (0, 2))
    assert [fact.problem for fact in here] == [fact.problem for fact in there]
    assert [fact.mask.sha for fact in here if fact.mask] == [fact.mask.sha for fact in there if fact.mask]
    assert here[1].problem is not None and here[1].problem.code == "E_EMPTY"


def test_a_case_that_ends_the_process_costs_only_itself(tmp_path, monkeypatch):
    """The first question of each process finds a reader that dies on images/01.png."""
    script = tmp_path / "sitecustomize.py"
    script.write_text(
        "import os, sys\n"
        "if any('check.workers' in part for part in sys.orig_argv):\n"
        "    import segkit.check.workers as workers\n"
        "    look = workers.look_at\n"
        "    workers.look_at = lambda case, *rest: os._exit(11) if case.image.name == '01.png' else look(case, *rest)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    facts = list(look_at_all(find_dataset(write_set(tmp_path, 3)).cases, (), ReadSettings(), 1))
    assert [fact.problem is None for fact in facts] == [True, False, True]
    assert facts[1].problem is not None
    assert facts[1].problem.code == "E_CRASH"
    assert "reading it ended the process" in facts[1].problem.message


def test_a_case_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE_SECONDS", 0.0)
    (fact,) = look_at_all(find_dataset(write_set(tmp_path, 1)).cases, (), ReadSettings(), 1)
    assert fact.problem is not None
    assert "could not be read within 0 s" in fact.problem.message


def signature(pixels: np.ndarray) -> np.ndarray:
    return signature_of(Image(pixels[None]))


def test_a_flat_picture_has_no_details_and_others_have_them_whatever_their_light():
    assert not signature(np.full(SIZE, 7, np.uint8)).any()
    plain, dim = signature(picture(0)), signature((picture(0) * 0.5 + 9).astype(np.float32))
    assert np.corrcoef(plain.astype(float), dim.astype(float))[0, 1] > 0.999


def test_what_all_pictures_share_does_not_make_them_alike():
    rim = np.zeros((96, 96))
    rim[10:86, 10:86] = 120
    pictures = [rim + np.random.default_rng(seed).normal(0, 4, (96, 96)) for seed in range(10)]
    assert find_twins([None] * 10, [signature(each) for each in pictures]) == []


def test_a_marker_that_some_pictures_have_does_not_make_them_alike():
    marker = np.zeros((96, 96))
    marker[6:54, 6:78] = 40 * (np.indices((48, 72)).sum(axis=0) // 6 % 2)
    pictures = [marker * (seed % 2) + np.random.default_rng(seed).normal(0, 8, (96, 96)) for seed in range(12)]
    assert find_twins([None] * 12, [signature(each) for each in pictures]) == []


def test_resized_and_recompressed_pictures_are_near_copies(tmp_path):
    waves = [np.add.outer(np.sin(np.arange(120) / (4 + seed)), np.cos(np.arange(150) * (1 + seed) / 30)) * 50 + 110 for seed in range(9)]
    grown = np.asarray(Pillow.fromarray(waves[3].astype(np.uint8)).resize((210, 170)))
    save(tmp_path / "a.jpg", grown, quality=70)
    signatures = [signature(each) for each in (*waves, np.asarray(Pillow.open(tmp_path / "a.jpg")))]
    twins = find_twins([str(number) for number in range(10)], signatures)
    assert [(pair.first, pair.second, pair.exact, pair.is_near) for pair in twins if pair.is_near] == [(3, 9, False, True)]


def test_pairs_become_clusters():
    assert clusters([Twins(*pair, 1.0, True) for pair in ((0, 4), (2, 3), (4, 9))]) == [[0, 4, 9], [2, 3]]
    assert find_twins(["x", None, "x", "x"], [None] * 4) == [Twins(0, 2, 1.0, True), Twins(0, 3, 1.0, True)]


def test_groups_and_splits_are_counted(tmp_path):
    write_manifest(write_set(tmp_path), [(number, "test" if number > 8 else "train", f"p{number // 3}") for number in range(COUNT)])
    measured = check(tmp_path).measurements
    assert measured is not None
    assert (measured.groups, measured.splits) == (4, {"train": 9, "test": 3})


def test_discs_are_not_thin_in_a_set_of_pictures_of_many_sizes(tmp_path):
    for seed, side in enumerate((30, 61, 121, 240, 600)):
        rows, columns = np.ogrid[:side, :side]
        save(tmp_path / f"images/{seed}.png", picture(seed, (side, side)))
        save(tmp_path / f"masks/{seed}.png", ((rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side / 6) ** 2).astype(np.uint8))
    measured = check(tmp_path).measurements
    assert measured is not None and not measured.classes[1].is_thin      # 40 pixels thick in the median picture, 200 in the largest
