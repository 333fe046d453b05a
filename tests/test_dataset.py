"""Pairs of files become samples: what a patch shows depends on its number alone, and a bad file names itself."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from toys import toy_run, toy_settings, write_discs

from segkit.config import DataSettings, RunConfig
from segkit.dataset import (
    BatchLoader,
    Case,
    CaseStore,
    PatchDataset,
    cases_of_split,
    crop,
    find_cases,
    load_pair,
    neighbours,
    prepare_pair,
    require_apart,
    split_by_group,
    take_inventory,
)
from segkit.errors import CorruptFileError, MaskValuesError, PairingError, SegkitError, SettingsError, ShapeError, TrainingError
from segkit.labels import IGNORE_INDEX

STILL = {"horizontal_flip": 0, "affine": 0, "contrast": 0, "blur": 0, "noise": 0}
"""Augmentation that does nothing."""


def dataset(run: RunConfig) -> PatchDataset:
    store = CaseStore(find_cases(run.data, run.train.seed)[0], run)
    return PatchDataset(store, take_inventory(store), run)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def write_pairs(folder: Path, masks: list[np.ndarray]) -> RunConfig:
    """Pictures that are twice as bright as their masks; patches of 16x16 that are cut and nothing else."""
    for number, mask in enumerate(masks):
        save(folder / "images" / f"{number}.png", mask * 2)
        save(folder / "masks" / f"{number}.png", mask)
    tree = toy_settings(folder, patch=[16, 16], foreground_share=1)
    tree["data"] = {"images": str(folder / "images"), "masks": str(folder / "masks"), "labels": {"background": 0, "common": 1, "rare": 2}}
    return RunConfig.model_validate({**tree, "augment": STILL})


def cases(run: RunConfig) -> list[Case]:
    training, validation = find_cases(run.data, 0)
    return sorted([*training, *validation], key=lambda case: case.name)


def centres(samples: PatchDataset, count: int) -> np.ndarray:
    """The class in the middle of each of so many patches."""
    return np.array([int(patch(samples, number)[1][0, 8, 8]) for number in range(count)])


def patch(samples: PatchDataset, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    sample = samples[number]
    assert not isinstance(sample, SegkitError)
    return sample


# Which cases there are.


def test_a_manifest_gives_the_rows_of_its_split_and_no_group_on_both_sides(discs: Path) -> None:
    training, validation = find_cases(DataSettings(manifest=discs), seed=0)
    assert len(training) + len(validation) == 6                    # of the split "train"
    assert {case.group for case in training} & {case.group for case in validation} == set()
    assert find_cases(DataSettings(manifest=discs), seed=0) == (training, validation)


def test_a_split_of_its_own_can_be_validated_on(discs: Path) -> None:
    training, validation = find_cases(DataSettings(manifest=discs, validation_split="test"), seed=0)
    assert ([case.name for case in validation], len(training)) == (["06.png", "07.png"], 6)


def test_a_group_in_both_splits_is_refused(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path)
    manifest.write_text(manifest.read_text().replace("test,patient3", "test,patient0"))
    for validation_split in (None, "test"):                          # also where the other split is only for a later evaluation
        with pytest.raises(PairingError, match="1 groups stand in 'train' and in another split, first 'patient0' in 'test'; a patient belongs to one side"):
            find_cases(DataSettings(manifest=manifest, validation_split=validation_split), seed=0)


def test_all_rows_can_not_be_trained_on_where_some_of_them_are_validated_on(discs: Path) -> None:
    with pytest.raises(PairingError, match=r"data\.validation_split test: 2 of the 2 cases are trained on, .* first 06\.png of patient3; score other rows, or"):
        find_cases(DataSettings(manifest=discs, split=None, validation_split="test"), seed=0)


def test_a_split_is_its_rows_and_nothing_else(discs: Path, tmp_path: Path) -> None:
    assert [case.name for case in cases_of_split(DataSettings(manifest=discs), "test")] == ["06.png", "07.png"]
    (tmp_path / "m.csv").write_text("image,mask\na.png,b.png\nc.png,d.png\n")
    for ask in (lambda data: cases_of_split(data, "test"), lambda data: find_cases(data, seed=0)):
        with pytest.raises(SettingsError, match=r"m\.csv: no row has split 'test'; there are: none"):
            ask(DataSettings(manifest=tmp_path / "m.csv", validation_split="test"))


def test_cases_that_are_trained_on_are_not_scored_and_one_is_named() -> None:
    one, other, third = (Case(Path(f"{name}.png"), Path("m.png"), group) for name, group in (("1", "1.png"), ("2", "anna"), ("3", "anna")))
    require_apart([one], [other, third], "here")
    with pytest.raises(PairingError, match=r"here: 1 of the 2 cases are trained on, or others of their groups are, first 3\.png of anna; score other rows"):
        require_apart([other], [third, one], "here")
    with pytest.raises(PairingError, match=r"here: 1 of the 1 cases are trained on, or others of their groups are, first 1\.png; score other rows"):
        require_apart([one], [one], "here")


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_any_share_leaves_a_group_on_each_side(share: float) -> None:
    pairs = [Case(Path(f"{number}.png"), Path("m.png"), f"g{number // 3}") for number in range(12)]
    training, validation = split_by_group(pairs, share, seed=1)
    assert training
    assert validation
    assert {case.group for case in training} & {case.group for case in validation} == set()


def test_one_group_can_not_be_split() -> None:
    with pytest.raises(SettingsError, match=r"2 pairs of one group \(a\) can't be split"):
        split_by_group([Case(Path("1.png"), Path("m.png"), "a")] * 2, 0.2, seed=0)


def test_two_folders_are_paired_by_their_names(discs: Path) -> None:
    training, validation = find_cases(DataSettings(images=discs.parent / "images", masks=discs.parent / "masks"), seed=0)
    assert len(training) + len(validation) == 8


def test_no_data_is_refused() -> None:
    with pytest.raises(SettingsError, match="nothing to train on; give --data MANIFEST"):
        find_cases(DataSettings(), seed=0)


def test_a_split_that_is_not_there_is_refused(discs: Path) -> None:
    with pytest.raises(SettingsError, match="no row has split 'training'; there are: test, train"):
        find_cases(DataSettings(manifest=discs, split="training"), seed=0)


def test_a_picture_without_a_mask_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,mask\na.png,b.png\nc.png,\n")
    with pytest.raises(PairingError, match=r"1 pictures have no mask.* c\.png"):
        find_cases(DataSettings(manifest=tmp_path / "m.csv"), seed=0)


# What is wrong with a pair is told with its name.


def test_a_mask_of_another_size_names_both_files(tmp_path: Path) -> None:
    case = Case(save(tmp_path / "a.png", np.zeros((33, 47))), save(tmp_path / "m.png", np.zeros((33, 46))), "g")
    with pytest.raises(ShapeError, match=r"m\.png is 33x46, its image .*a\.png is 33x47"):
        load_pair(case, DataSettings(), DataSettings().make_labels())


def test_a_mask_with_other_values_names_its_file(tmp_path: Path) -> None:
    case = Case(save(tmp_path / "a.png", np.zeros((9, 9))), save(tmp_path / "m.png", np.full((9, 9), 38)), "g")
    with pytest.raises(MaskValuesError, match=r"m\.png: holds 1 value that no label names: 38 \(81 px\)"):
        load_pair(case, DataSettings(), DataSettings().make_labels())


def test_a_class_that_stands_in_no_mask_is_refused(tmp_path: Path) -> None:
    run = write_pairs(tmp_path, [np.ones((20, 20)), np.eye(20)])
    with pytest.raises(SettingsError, match="no mask of the 2 training pairs holds rare; check data.labels"):
        take_inventory(CaseStore(cases(run), run))


def test_masks_that_are_all_empty_are_refused(tmp_path: Path) -> None:
    run = write_pairs(tmp_path, [np.zeros((20, 20))] * 2)
    with pytest.raises(SettingsError, match="no mask of the 2 training pairs holds common or rare"):
        take_inventory(CaseStore(cases(run), run))


# What one look at everything finds.


def test_the_inventory_counts_pixels_slices_and_empty_masks(tmp_path: Path) -> None:
    first = np.zeros((20, 30))
    first[2:5, 3:9], first[10, 10] = 1, 2
    run = write_pairs(tmp_path, [first, np.zeros((20, 30))])
    inventory = take_inventory(CaseStore(cases(run), run))
    assert inventory.pixels.tolist() == [2 * 600 - 19, 18, 1]
    assert (inventory.slices, inventory.empty) == ((1, 1), 1)
    assert inventory.anchors[2].tolist() == [[0, 0, 10, 10]]       # case, slice, row, column
    assert len(inventory.anchors[1]) == 18
    assert inventory.nbytes == 2 * 600 * (4 + 1)


def test_a_changed_pixel_changes_the_fingerprint(tmp_path: Path) -> None:
    def fingerprint() -> str:
        return take_inventory(CaseStore(cases(run), run)).fingerprint

    run = write_pairs(tmp_path, [np.eye(20), 2 * np.eye(20)])
    before = fingerprint()
    assert fingerprint() == before
    changed = np.eye(20)
    changed[0, 5] = 3
    save(tmp_path / "images" / "0.png", changed)
    assert fingerprint() != before


def test_a_small_cache_reads_again_and_gives_the_same(discs: Path) -> None:
    run = toy_run(discs, cache_mb=0)
    store = CaseStore(cases(run), run)
    first = store[0].pictures.clone()
    assert store[1].pictures.shape == first.shape
    assert len(store._kept) == 1
    assert torch.equal(store[0].pictures, first)


def test_a_volume_gives_its_slices_as_samples(tmp_path: Path) -> None:
    mask = np.zeros((20, 24, 5), np.uint8)
    mask[4:9, 4:9, 3] = 255
    for name, values in (("image", mask.astype(np.float32)), ("mask", mask)):
        nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / f"{name}.nii.gz")
    tree = toy_settings(tmp_path, patch=[16, 16], foreground_share=1)
    run = RunConfig.model_validate({**tree, "augment": STILL, "preprocess": {"channels": 1, "intensity": {"kind": "zscore"}}})
    case = Case(tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz", "g")
    store = CaseStore([case], run)
    inventory = take_inventory(store)
    assert inventory.slices == (5,)
    assert len(np.unique(inventory.anchors[1][:, 1])) == 1         # all foreground lies in one slice
    assert (centres(PatchDataset(store, inventory, run), 8) == 1).all()
    image, truth = load_pair(case, run.data, store.labels)
    assert tuple(prepare_pair(image, truth, run.preprocess).pictures.shape) == (5, 1, *image.shape[1:])


@pytest.mark.parametrize(
    ("plane", "count", "depth", "run"),
    [(5, 3, 9, [4, 5, 6]), (0, 4, 9, [0, 1, 2, 3]), (8, 4, 9, [5, 6, 7, 8]), (1, 5, 3, [0, 1, 2, 1, 0]), (0, 2, 1, [0, 0]), (7, 1, 9, [7])],
)
def test_a_run_of_slices_stays_in_the_volume(plane: int, count: int, depth: int, run: list[int]) -> None:
    assert neighbours(plane, count, depth) == run


def test_a_network_along_slices_gets_runs_of_them_cut_and_turned_alike(tmp_path: Path) -> None:
    ramp = np.arange(20 * 24).reshape(20, 24, 1) + 1000.0 * np.arange(6)
    for name, values in (("image", ramp.astype(np.float32)), ("mask", (ramp % 7 == 0).astype(np.uint8) * 255)):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    tree = toy_settings(tmp_path, patch=[16, 16], slices=4)
    tree["model"] = {**tree["model"], "bottleneck": "slice_gru"}
    intensity = {"kind": "fixed", "low": 0, "high": 6000}
    run = RunConfig.model_validate({**tree, "augment": {**STILL, "horizontal_flip": 0.5, "affine": 0.5}, "preprocess": {"channels": 1, "intensity": intensity}})
    store = CaseStore([Case(tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz", "g")], run)
    samples = PatchDataset(store, take_inventory(store), run)
    for number in range(6):
        picture, truth = patch(samples, number)
        assert (picture.shape, truth.shape) == ((4, 1, 16, 16), (4, 16, 16))
        steps = picture.diff(dim=0)                                     # one slice is as much brighter than the one before, everywhere
        torch.testing.assert_close(steps, torch.full_like(steps, float(steps[0, 0, 0, 0])), rtol=0, atol=1e-4)


# Which patches are drawn.


def scattered() -> list[np.ndarray]:
    """Background but for single pixels far from the border: 40 of class 1, 4 of class 2, each in a case of its own."""
    common, rare = np.zeros((200, 200)), np.zeros((200, 200))
    common[10:-10:20, 20:-20:40] = 1
    rare[20:-20:80, 20:-20:80] = 2
    return [common, rare]


def test_the_set_share_of_the_patches_is_centred_on_foreground(tmp_path: Path) -> None:
    run = write_pairs(tmp_path, scattered())
    store = CaseStore(cases(run), run)
    inventory = take_inventory(store)
    for share in (0, 1 / 3, 1):
        samples = PatchDataset(store, inventory, run.model_copy(update={"train": run.train.model_copy(update={"foreground_share": share})}))
        assert abs(np.mean(centres(samples, 600) > 0) - share) < 0.06      # three standard deviations


def test_the_default_share_is_a_third(discs: Path) -> None:
    assert toy_run(discs).train.foreground_share == pytest.approx(1 / 3)


def test_classes_are_drawn_evenly_however_many_pixels_they_have(tmp_path: Path) -> None:
    run = write_pairs(tmp_path, scattered())
    store = CaseStore(cases(run), run)
    middles = centres(PatchDataset(store, take_inventory(store), run), 600)
    assert abs(np.mean(middles == 2) - 0.5) < 0.06


def test_pictures_are_drawn_by_their_slices(tmp_path: Path) -> None:
    run = write_pairs(tmp_path, [np.eye(20), 2 * np.eye(20), np.eye(20)])
    store = CaseStore(cases(run), run)
    samples = PatchDataset(store, take_inventory(store), run.model_copy(update={"train": run.train.model_copy(update={"foreground_share": 0})}))
    drawn = np.bincount([samples._choose(np.random.default_rng(number))[0] for number in range(600)])
    assert drawn.shape == (3,)
    assert abs(drawn / 600 - 1 / 3).max() < 0.06


@pytest.mark.parametrize("size", [(5, 7), (16, 9), (3, 40), (1, 1)])
def test_a_picture_smaller_than_a_patch_is_padded_and_the_truth_says_nothing_there(size: tuple[int, int]) -> None:
    picture, truth = torch.rand(3, 2, *size), torch.ones(3, *size, dtype=torch.uint8)
    cut, mask = crop(picture, truth, (16, 16), None, np.random.default_rng(0))
    assert (tuple(cut.shape), tuple(mask.shape)) == ((3, 2, 16, 16), (3, 16, 16))
    known = mask[0] != IGNORE_INDEX
    assert int(known.sum()) == min(16, size[0]) * min(16, size[1])
    assert set(cut[..., ~known].unique().tolist()) <= set(picture.unique().tolist())       # the border, repeated


@pytest.mark.parametrize(("centre", "corner"), [((20, 20), (12, 12)), ((0, 0), (0, 0)), ((39, 49), (24, 34)), ((3, 25), (0, 17))])
def test_a_patch_lies_around_its_centre_as_far_as_the_border_allows(centre: tuple[int, int], corner: tuple[int, int]) -> None:
    numbers = torch.arange(40 * 50.0).reshape(1, 1, 40, 50)
    cut, _ = crop(numbers, torch.zeros(1, 40, 50, dtype=torch.uint8), (16, 16), centre, np.random.default_rng(0))
    assert divmod(int(cut[0, 0, 0, 0]), 50) == corner


# The number decides.


def test_a_sample_is_the_same_whenever_and_in_whatever_order_it_is_drawn(discs: Path) -> None:
    samples, again = dataset(toy_run(discs)), dataset(toy_run(discs))
    forwards = {number: patch(samples, number) for number in range(6)}
    for number in reversed(range(6)):
        for first, second in zip(forwards[number], patch(again, number), strict=True):
            assert torch.equal(first, second)
    assert not torch.equal(forwards[0][0], forwards[1][0])


def test_another_seed_draws_other_patches(discs: Path) -> None:
    assert not torch.equal(patch(dataset(toy_run(discs)), 0)[0], patch(dataset(toy_run(discs, seed=1)), 0)[0])


def test_batches_go_on_from_any_step(discs: Path) -> None:
    loader = BatchLoader(dataset(toy_run(discs)), toy_run(discs).train, workers=0)
    whole = loader.batches(0)
    for _ in range(3):
        next(whole)
    for first, second in zip(next(whole), next(loader.batches(3)), strict=True):
        assert torch.equal(first, second)
    assert first.shape == (2, 1, 32, 32)


# Worker processes.


@pytest.fixture
def in_a_worker(discs: Path) -> Any:
    run = toy_run(discs, workers=1, worker_timeout=240, cache_mb=0)
    loader = BatchLoader(dataset(run), run.train, workers=1)
    yield loader
    loader.close()


def test_a_worker_draws_the_same_patches_outlives_signals_and_dies_with_a_word(in_a_worker: BatchLoader, discs: Path) -> None:
    own = BatchLoader(dataset(toy_run(discs)), toy_run(discs).train, workers=0).batches(2)
    batches = in_a_worker.batches(2)
    for _ in range(2):
        for theirs, ours in zip(next(batches), next(own), strict=True):
            assert torch.equal(theirs, ours)
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    for number in (signal.SIGINT, signal.SIGTERM):                  # as sent to the whole group of processes
        os.kill(worker.pid, number)
    for _ in range(5):                                              # more than are ready in advance
        next(batches)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(TrainingError, match=r"loading patches failed: a worker process died; with train\.workers=0"):
        while True:
            next(batches)
    in_a_worker.close()
    assert multiprocessing.active_children() == []


def test_an_error_in_a_worker_is_the_same_line_as_in_this_process(tmp_path: Path) -> None:
    manifest = write_discs(tmp_path)
    run = toy_run(manifest, workers=1, worker_timeout=240)
    samples = dataset(run)
    for picture in (tmp_path / "images").iterdir():
        picture.write_bytes(picture.read_bytes()[:300])
    told = []
    for workers in (0, 1):
        loader = BatchLoader(pickle.loads(pickle.dumps(samples)), run.train, workers)
        with pytest.raises(CorruptFileError) as caught:
            next(loader.batches(0))
        loader.close()
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert str(tmp_path / "images") in told[0]
    assert "Traceback" not in told[1]
    assert multiprocessing.active_children() == []


class Silent:
    """An iterator of torch whose workers live but deliver nothing, so many times."""

    _workers = ()

    def __init__(self, times: float) -> None:
        self.left = times

    def __next__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise RuntimeError("DataLoader timed out after 5 seconds")
        return "batch"


def test_a_slow_worker_is_waited_for_and_a_silent_one_given_up(discs: Path) -> None:
    run = toy_run(discs, worker_timeout=0.05)
    loader = BatchLoader(dataset(run), run.train, workers=1)
    loader._iterator = Silent(2)
    assert loader._next() == "batch"
    loader._iterator = Silent(math.inf)
    with pytest.raises(TrainingError, match=r"no batch came for 0\.05 s \(train\.worker_timeout\)"):
        loader._next()
