"""Deep supervision: how the sizes are weighed, and what they are held against."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.labels import IGNORE_INDEX
from segkit.losses.deep_supervision import DeepSupervision, shrink
from segkit.models import build_model


class Mean(nn.Module):
    """A loss that is the mean logit, whatever the truth."""

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        assert logits.shape[-2:] == truth.shape[-2:]
        return logits.mean()


def drawn(text: str) -> Tensor:
    """(1, H, W) classes from rows of digits."""
    return torch.tensor([[[int(digit) for digit in row] for row in text.split()]])


def test_each_size_weighs_half_of_the_finer_one_and_all_of_them_1() -> None:
    logits = [torch.full((2, 3, 8 // 2**level, 12 // 2**level), value) for level, value in enumerate([1.0, 3.0, 7.0])]
    loss = DeepSupervision(Mean())(logits, torch.zeros(2, 8, 12, dtype=torch.long))
    assert loss.item() == pytest.approx((1 + 3 / 2 + 7 / 4) / (1 + 1 / 2 + 1 / 4))


def test_a_single_map_is_the_loss_itself() -> None:
    logits, truth = torch.randn(2, 3, 5, 7), torch.randint(0, 3, (2, 5, 7))
    alone = F.cross_entropy(logits, truth).item()
    assert DeepSupervision(nn.CrossEntropyLoss())(logits, truth).item() == alone
    assert DeepSupervision(nn.CrossEntropyLoss())([logits], truth).item() == pytest.approx(alone)


def test_a_cell_has_the_class_of_its_middle_pixel() -> None:
    truth = drawn("""
        00001111
        02003111
        00001111
        00005116
    """)
    assert torch.equal(shrink(truth, (2, 4)), drawn("2011 0016"))             # rows 1 and 3, columns 1, 3, 5 and 7
    assert torch.equal(shrink(truth, (1, 2)), drawn("01"))                    # row 2, columns 2 and 6
    assert torch.equal(shrink(truth, (4, 8)), truth)


def test_a_cell_that_ends_outside_has_the_class_of_its_middle_or_of_the_nearest_pixel() -> None:
    assert torch.equal(shrink(drawn("012345678"), (1, 3)), drawn("268"))       # cells of 4: 0-3, 4-7, 8-11
    assert torch.equal(shrink(drawn("0123456"), (1, 2)), drawn("26"))
    assert torch.equal(shrink(drawn("01234"), (1, 2)), drawn("24"))


def test_what_is_ignored_stays_ignored() -> None:
    truth = torch.full((1, 4, 4), IGNORE_INDEX)
    truth[0, 0, 0] = 1
    assert (shrink(truth, (2, 2)) == IGNORE_INDEX).all()


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (5, 63), (65, 1)])
@pytest.mark.parametrize("cell", [2, 4, 8, 16])
def test_a_side_map_that_has_every_cell_right_loses_nothing(size: tuple[int, int], cell: int) -> None:
    coarse = torch.randint(0, 3, (2, -(-size[0] // cell), -(-size[1] // cell)), generator=torch.Generator().manual_seed(0))
    truth = coarse.repeat_interleave(cell, 1).repeat_interleave(cell, 2)[:, : size[0], : size[1]]
    perfect = [40.0 * F.one_hot(classes, 3).movedim(-1, 1) for classes in (truth, coarse)]
    assert DeepSupervision(nn.CrossEntropyLoss())(perfect, truth).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("parts", "sizes"),
    [
        ({}, [(33, 47), (17, 24), (9, 12)]),
        ({"skip": "gpg"}, [(33, 47), (17, 24), (9, 12)]),
        ({"encoder": "resnet18", "feature_scale": None}, [(33, 47), (17, 24), (9, 12), (5, 6)]),
        ({"settings": "unetplusplus"}, [(33, 47)] * 4),
        ({"settings": "unetplusplus", "encoder": "resnet18", "feature_scale": None}, [(33, 47), *[(17, 24)] * 3]),
    ],
    ids=str,
)
def test_side_maps_end_with_the_picture_though_the_network_grows_it(parts: dict[str, object], sizes: list[tuple[int, int]]) -> None:
    network = build_model(**{"settings": "unet", "feature_scale": 16, "deep_supervision": True, **parts})  # type: ignore[arg-type]
    assert [tuple(one.shape) for one in network(torch.zeros(2, 3, 33, 47))] == [(2, 2, *size) for size in sizes]


def test_a_side_map_keeps_the_cells_at_the_pictures_start() -> None:
    network = build_model("unet", feature_scale=16, deep_supervision=True)
    given: list[Tensor] = []
    network.side_heads[0].register_forward_hook(lambda module, inputs, output: given.append(output))
    _, side, _ = network(torch.randn(2, 3, 33, 47))
    assert given[0].shape[-2:] == (24, 24)                                     # of the picture grown to 48×48
    assert torch.equal(side, given[0][..., :17, :24])
