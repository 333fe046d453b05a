"""Bright discs on a dark, noisy ground: small, learnt in seconds, drawn anew into each test's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segkit.config import RunConfig

Pixels = NDArray[np.uint8]


def disc(seed: int, size: tuple[int, int] = (48, 48)) -> tuple[Pixels, Pixels]:
    """A grey picture and its mask, 0 and 255."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: size[0], : size[1]]
    centre, radius = rng.uniform(0.3, 0.7, 2) * size, rng.uniform(0.15, 0.3) * min(size)
    mask = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
    noisy = np.where(mask, 180, 60) + rng.normal(0, 15, size)
    return noisy.clip(0, 255).astype(np.uint8), np.where(mask, 255, 0).astype(np.uint8)


def write_discs(folder: Path, count: int = 8, size: tuple[int, int] = (48, 48)) -> Path:
    """images/, masks/ and a manifest whose last quarter is the split "test"; every patient has two pictures."""
    lines = ["image,mask,split,group"]
    for number in range(count):
        for kind, pixels in zip(("images", "masks"), disc(number, size), strict=True):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(pixels).save(folder / kind / f"{number:02d}.png")
        split = "test" if number >= count * 3 // 4 else "train"
        lines.append(f"images/{number:02d}.png,masks/{number:02d}.png,{split},patient{number // 2}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


def toy_settings(manifest: Path, **train: Any) -> dict[str, Any]:
    """The tree of a YAML file: a tiny network on small patches, in float32, so that every machine does the same."""
    return {
        "data": {"manifest": str(manifest), "labels": {"background": 0, "disc": 255}},
        "preprocess": {"channels": 1},
        "model": {"feature_scale": 16, "decoder_batchnorm": True},
        "augment": {"blur": 0, "noise": 0},
        "train": {"patch": [32, 32], "batch_size": 2, "steps": 6, "validations": 2, "precision": "fp32", "device": "cpu", **train},
    }


def toy_run(manifest: Path, **train: Any) -> RunConfig:
    return RunConfig.model_validate(toy_settings(manifest, **train))
