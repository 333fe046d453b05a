"""Whether sides mean something, from pictures that are drawn so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from segkit.config import DataSettings
from segkit.dataset import cases_of_split
from segkit.finetune.orientation import Orientation, certain_effect, look_at_sides


def drawn(folder: Path, *, left: bool, colour: bool = False) -> Orientation:
    """Twenty pictures of 33x47, bright above, a square on the left or anywhere."""
    rng = np.random.default_rng(0)
    lines = ["image,mask,split"]
    for number in range(20):
        picture = rng.normal(60, 10, (33, 47)) + np.where(np.arange(33) < 16, 60, 0)[:, None]
        mask = np.zeros((33, 47), np.uint8)
        row, column = rng.integers(0, 24), rng.integers(0, 8) if left else rng.integers(0, 38)
        mask[row : row + 9, column : column + 9] = 255
        grey = np.where(mask > 0, 200, picture).clip(0, 255).astype(np.uint8)
        pixels = np.stack([grey, grey // 2, grey], axis=-1) if colour else grey
        for kind, content in (("i", pixels), ("m", mask)):
            Pillow.fromarray(content).save(folder / f"{kind}{number}.png")
        lines.append(f"i{number}.png,m{number}.png,train")
    (folder / "manifest.csv").write_text("\n".join(lines), "utf-8")
    data = DataSettings(manifest=folder / "manifest.csv", labels={"background": 0, "square": 255})
    return look_at_sides(cases_of_split(data, "train"), data)


def test_light_from_above_and_a_square_on_the_left_are_seen(tmp_path: Path) -> None:
    found = drawn(tmp_path, left=True)
    assert found.top_bottom.what == "brightness"
    assert found.top_bottom.effect > 0.8
    assert found.left_right.what == "square"
    assert found.left_right.effect > 0.8
    assert found.foreground == (200.0, 200.0)
    assert (found.colour, found.cases) == (0.0, 20)


def test_a_square_anywhere_lies_on_no_side(tmp_path: Path) -> None:
    found = drawn(tmp_path, left=False, colour=True)
    assert found.left_right.effect < 0.8
    assert found.colour > 0.5


def test_what_chance_explains_does_not_count() -> None:
    assert certain_effect([0.1, 0.2, 0.15, 0.1]) == 0.0                    # four cases are too few
    assert certain_effect([1, -1, 1, -1, 1, -1, 1]) == 0.0
    assert certain_effect([2.0, 1.0] * 8) == pytest.approx(1.5 / 0.5164 - 2 * ((1 + (1.5 / 0.5164) ** 2 / 2) / 16) ** 0.5, rel=1e-3)
