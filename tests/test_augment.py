"""Changes to a patch: the mask goes along, the range and the size stay, a seed decides all."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from segkit.augment import Augmenter, AugmentSettings

NOTHING = {"horizontal_flip": 0, "vertical_flip": 0, "right_angles": 0, "affine": 0, "elastic": 0, "contrast": 0, "blur": 0, "noise": 0}
GEOMETRY = ("horizontal_flip", "vertical_flip", "right_angles", "affine", "elastic")
INTENSITY = ("contrast", "blur", "noise")


def only(*names: str, **settings: float) -> Augmenter:
    """These changes always, the others never; pictures run from -1 to 1."""
    return Augmenter(AugmentSettings.model_validate({**NOTHING, **dict.fromkeys(names, 1), **settings}), (-1.0, 1.0))


def blob(channels: int, size: tuple[int, int] = (48, 48)) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A lopsided shape, -1 outside and 1 inside, and its mask: every mirror image and turn of it differs."""
    mask = np.zeros(size, np.uint8)
    mask[8:30, 10:22] = mask[24:34, 10:40] = 1
    return np.repeat(mask[None].astype(np.float32) * 2 - 1, channels, axis=0), mask


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("change", [*GEOMETRY, *INTENSITY])
def test_every_change_takes_any_number_of_channels_and_keeps_type_size_and_range(change: str, channels: int) -> None:
    picture, mask = blob(channels)
    changed, moved = only(change)(picture, mask, seed=1)
    assert (changed.dtype, changed.shape, moved.dtype, moved.shape) == (np.float32, picture.shape, np.uint8, mask.shape)
    assert changed.min() >= -1
    assert changed.max() <= 1
    assert not np.array_equal(changed, picture)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("change", GEOMETRY)
def test_the_mask_moves_with_its_picture(change: str, channels: int) -> None:
    picture, mask = blob(channels)
    for seed in range(5):
        changed, moved = only(change)(picture, mask, seed)
        for channel in changed:
            assert np.mean((channel > 0) == (moved == 1)) > 0.985  # but for pixels on the outline, where one is blended and the other is not


@pytest.mark.parametrize("change", ["horizontal_flip", "vertical_flip", "right_angles"])
def test_mirror_images_and_right_angles_are_exact(change: str) -> None:
    picture, mask = blob(1)
    changed, moved = only(change)(picture, mask, seed=3)
    np.testing.assert_array_equal(changed[0], moved.astype(np.float32) * 2 - 1)
    assert moved.sum() == mask.sum()


@pytest.mark.parametrize("change", INTENSITY)
def test_a_change_of_intensity_leaves_the_mask_alone(change: str) -> None:
    picture, mask = blob(1)
    np.testing.assert_array_equal(only(change)(picture, mask, seed=1)[1], mask)


def test_classes_stay_what_they_are_also_the_one_that_is_ignored() -> None:
    picture, mask = blob(1)
    mask[mask == 0] = 255
    moved = only(*GEOMETRY)(picture, mask, seed=2)[1]
    assert set(np.unique(moved)) == {1, 255}


def test_a_seed_decides_all_also_after_a_way_through_a_pickle() -> None:
    picture, mask = blob(3)
    augmenter = only(*GEOMETRY, *INTENSITY)
    first = augmenter(picture, mask, seed=7)
    augmenter(picture, mask, seed=8)
    for again in (augmenter(picture, mask, seed=7), pickle.loads(pickle.dumps(augmenter))(picture, mask, seed=7)):
        np.testing.assert_array_equal(again[0], first[0])
        np.testing.assert_array_equal(again[1], first[1])
    assert not np.array_equal(augmenter(picture, mask, seed=8)[0], first[0])


def test_what_it_was_given_stays_as_it_was() -> None:
    picture, mask = blob(1)
    before = picture.copy(), mask.copy()
    only(*GEOMETRY, *INTENSITY)(picture, mask, seed=1)
    np.testing.assert_array_equal(picture, before[0])
    np.testing.assert_array_equal(mask, before[1])


def test_with_every_chance_at_0_nothing_changes() -> None:
    picture, mask = blob(3)
    changed, moved = only()(picture, mask, seed=1)
    np.testing.assert_allclose(changed, picture, atol=1e-6)
    np.testing.assert_array_equal(moved, mask)


def test_patches_need_not_be_square() -> None:
    picture, mask = blob(1, (40, 56))
    changed, moved = only("horizontal_flip", "affine", "elastic", "contrast")(picture, mask, seed=1)
    assert (changed.shape, moved.shape) == ((1, 40, 56), (40, 56))


def test_a_turn_by_a_right_angle_that_would_swap_the_sides_is_refused() -> None:
    from segkit.errors import TrainingError

    picture, mask = blob(1, (40, 56))
    with pytest.raises(TrainingError, match="augmentation changed the size of a patch"):
        for seed in range(8):  # two of four turns swap them
            only("right_angles")(picture, mask, seed)


def test_the_ends_of_the_range_are_the_models() -> None:
    settings = AugmentSettings.model_validate({**NOTHING, "noise": 1, "noise_limit": 1.0})
    picture, mask = blob(1)
    changed = Augmenter(settings, (-4.0, 4.0))(picture, mask, seed=1)[0]
    assert changed.max() > 1
    assert -4 <= changed.min() < -1
