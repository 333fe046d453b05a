"""Dice plus cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from segkit.labels import IGNORE_INDEX
from segkit.losses import DiceCrossEntropySettings, build_loss


def test_equal_logits_lose_half_a_dice_and_ln_2() -> None:
    truth = torch.tensor([[[0, 1], [0, 1]]])
    loss = build_loss(DiceCrossEntropySettings())(torch.zeros(1, 2, 2, 2), truth)
    assert loss.item() == pytest.approx(1 - 2 * (0.5 + 0.5) / (4 * 0.5 + 2) + math.log(2), abs=1e-4)


def test_a_sure_and_right_answer_loses_nothing() -> None:
    truth = torch.randint(0, 3, (2, 8, 9), generator=torch.Generator().manual_seed(0))
    logits = F.one_hot(truth, 3).movedim(-1, 1) * 40.0
    assert build_loss(DiceCrossEntropySettings())(logits, truth).item() == pytest.approx(0, abs=1e-3)


def test_a_thin_background_that_is_missed_loses_a_dice_of_its_own() -> None:
    truth, logits = torch.tensor([[[0, 1, 1, 1, 1, 1, 1, 1]]]), torch.tensor([-40.0, 40.0])[None, :, None, None].expand(1, 2, 1, 8)
    alone = {"dice": 1.0, "cross_entropy": 0.0}
    assert build_loss(DiceCrossEntropySettings(**alone))(logits, truth).item() == pytest.approx(1 - 14 / 15, abs=1e-4)
    assert build_loss(DiceCrossEntropySettings(**alone, background=True))(logits, truth).item() == pytest.approx((1 + 1 - 14 / 15) / 2, abs=1e-4)


@pytest.mark.parametrize("background", [False, True])
def test_it_is_monais_loss_where_nothing_is_ignored(background: bool) -> None:
    from monai.losses import DiceCELoss

    logits, truth = torch.randn(2, 3, 9, 7), torch.randint(0, 3, (2, 9, 7))
    theirs = DiceCELoss(include_background=background, to_onehot_y=True, softmax=True, batch=True)(logits, truth[:, None])
    assert build_loss(DiceCrossEntropySettings(background=background))(logits, truth).item() == pytest.approx(theirs.item(), abs=1e-5)


def test_ignored_pixels_have_no_say() -> None:
    loss, truth = build_loss(DiceCrossEntropySettings()), torch.tensor([[[0, 1, IGNORE_INDEX, IGNORE_INDEX]]])
    logits = torch.randn(1, 2, 1, 4, requires_grad=True)
    loss(logits, truth).backward()
    assert logits.grad is not None
    assert not logits.grad[..., 2:].any()
    assert loss(logits, truth).item() == pytest.approx(loss(logits[..., :2], truth[..., :2]).item(), abs=1e-6)


def test_a_patch_with_nothing_but_ignored_pixels_loses_nothing() -> None:
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = build_loss(DiceCrossEntropySettings())(logits, torch.full((1, 4, 4), IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0


def test_class_weights_count_in_the_cross_entropy() -> None:
    truth, logits = torch.tensor([[[0, 1]]]), torch.tensor([[[[2.0, 2.0]], [[0.0, 0.0]]]])
    only = {"dice": 0.0, "cross_entropy": 1.0}
    even = build_loss(DiceCrossEntropySettings(**only))(logits, truth).item()
    weighted = build_loss(DiceCrossEntropySettings(**only, class_weights=(1.0, 9.0)))(logits, truth).item()
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert even == pytest.approx((right + wrong) / 2, abs=1e-5)
    assert weighted == pytest.approx((right + 9 * wrong) / 10, abs=1e-5)
