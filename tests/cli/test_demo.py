"""`segkit demo`."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as Pillow

from segkit.checkpoint import BUILT_IN
from segkit.cli import main


@pytest.mark.skipif(not BUILT_IN["fundus-vessels"].is_file(), reason="the built-in model has not been trained yet: segkit/weights/fundus-vessels.safetensors")
def test_the_demo_leaves_a_picture_its_mask_and_an_overlay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "-o", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()] == ["picture", "mask", "overlay", "table"]
    assert all(Path(line.split(maxsplit=1)[1]).is_file() for line in told.out.splitlines())
    assert "vessels cover" in told.err
    with Pillow.open(tmp_path / "retina.png") as mask:                      # the picture itself lies in picture/
        assert mask.size == (1411, 1411)
        assert 0.02 < sum(mask.convert("L").histogram()[1:]) / 1411**2 < 0.3
