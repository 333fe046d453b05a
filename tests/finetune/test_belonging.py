"""Masks belong to their pictures, or they don't."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from toys import Pixels, disc

from segkit.finetune.belonging import FEWEST, Belonging
from segkit.image import Image
from segkit.labels import Labels, Mask

LABELS = Labels(("background", "disc"), (0, 255))

PICTURES = [disc(number, (48, 56)) for number in range(24)]


def measured(pairs: Sequence[tuple[Pixels, Pixels]]) -> float | None:
    belonging = Belonging()
    for picture, mask in pairs:
        belonging.add(Image(picture[None]), Mask((mask > 0).astype(np.uint8), LABELS))
    return belonging.standard_errors()


def surely(pairs: Sequence[tuple[Pixels, Pixels]]) -> float:
    found = measured(pairs)
    assert found is not None
    return found


def test_masks_of_their_own_belong_without_doubt() -> None:
    assert surely(PICTURES) > 10


def test_masks_of_other_pictures_do_not() -> None:
    order = np.random.default_rng(3).permutation(len(PICTURES))
    assert surely([(picture, PICTURES[other][1]) for (picture, _), other in zip(PICTURES, order, strict=True)]) < 2


def test_noise_does_not() -> None:
    rng = np.random.default_rng(0)
    assert surely([(picture, np.where(rng.random(mask.shape) < 0.3, 255, 0).astype(np.uint8)) for picture, mask in PICTURES]) < 2


def test_of_a_few_pictures_and_of_empty_masks_nothing_is_said() -> None:
    assert measured(PICTURES[: FEWEST - 1]) is None
    assert measured([(picture, np.zeros_like(mask)) for picture, mask in PICTURES]) is None


@pytest.mark.parametrize("plane", [0, 2])
def test_of_a_volume_the_slice_with_most_in_it_is_looked_at(plane: int) -> None:
    stacks = Belonging()
    for picture, mask in PICTURES:
        pictures, masks = np.zeros((3, 1, 48, 56), np.uint8), np.zeros((3, 48, 56), np.uint8)
        pictures[plane, 0], masks[plane] = picture, mask > 0
        stacks.add(Image(pictures), Mask(masks, LABELS))
    assert stacks.standard_errors() == pytest.approx(surely(PICTURES))
