"""Progressive resizing: small patches in the first half of a run, what they show, and that a run that is resumed goes on with them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from toys import toy_run

from segkit.labels import IGNORE_INDEX
from segkit.train import Report, Silence, train
from segkit.train import run as training
from segkit.train.progressive import shrink


class StopAfterTheFirst(Silence):
    def stepped(self, report: Report) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_half_as_large_the_classes_are_those_of_every_second_pixel_and_a_flat_picture_stays_flat() -> None:
    truth = torch.arange(32 * 64).view(1, 1, 32, 64) % 7
    truth[..., 1::2, 5] = IGNORE_INDEX
    patches = torch.full((1, 1, 3, 32, 64), 0.25)
    small, picked = shrink(patches, truth, 0.5)
    assert small.shape == (1, 1, 3, 16, 32) and picked.shape == (1, 1, 16, 32)
    assert torch.allclose(small, torch.tensor(0.25))
    assert torch.equal(picked, truth[..., 1::2, 1::2]) and (picked[..., 2] == IGNORE_INDEX).all()


def test_picture_and_classes_stay_on_top_of_each_other() -> None:
    truth = torch.zeros(1, 1, 128, 96, dtype=torch.long)
    truth[..., 40:80, 24:60] = 1
    small, picked = shrink(truth[:, :, None].float(), truth, 0.75)
    assert picked.shape == (1, 1, 96, 64)                               # 72 columns lie between 64 and 80
    assert torch.equal((small[:, :, 0] > 0.5).long(), picked)


def test_no_side_grows_and_none_is_smaller_than_16() -> None:
    assert shrink(torch.zeros(1, 1, 1, 16, 40), torch.zeros(1, 1, 16, 40), 0.3)[1].shape == (1, 1, 16, 16)
    assert shrink(torch.zeros(1, 1, 1, 16, 44), torch.zeros(1, 1, 16, 44), 0.95)[1].shape == (1, 1, 16, 44)     # 48 is nearest to 41.8


def test_the_first_half_of_a_run_sees_small_patches_also_when_it_is_resumed(tmp_path: Path, discs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    plain = training.take_step

    def take_step(state: training.State, batch: tuple[Tensor, Tensor], *others: object) -> float:
        sides.append(batch[1].shape[-1])
        assert batch[0].shape[-2:] == batch[1].shape[-2:]
        return plain(state, batch, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "take_step", take_step)
    settings = toy_run(discs, progressive=0.5, patch=[32, 32], steps=4)
    train(settings, tmp_path / "run", watcher=StopAfterTheFirst())
    assert sides == [16]
    train(settings, tmp_path / "run", resume=True)
    assert sides == [16, 16, 32, 32]


def test_it_is_off_unless_asked_for_and_is_a_share(discs: Path) -> None:
    assert toy_run(discs).train.progressive is None
    with pytest.raises(ValidationError, match="progressive"):
        toy_run(discs, progressive=1.0)
