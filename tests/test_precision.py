"""bfloat16 gives the masks that float32 gives.

With real models: SEGKIT_DATA is the folder of the sets, SEGKIT_RUNS the --out of ``python benchmarks/acceptance.py``; without them those tests are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segkit.folder import manifest_sources
from segkit.io import read_source
from segkit.predict import load, segment

SETS = ("drive_vessels", "usgra_nerve", "isbi2012_em", "msd_hippocampus")


def agreement(model: Path | str, manifest: Path) -> dict[str, float]:
    """Dice of the masks in bfloat16 against those in float32, of each class over all pictures of the split "test" together."""
    exact, rough = (load(model, device="cpu", precision=precision, engine="torch") for precision in ("fp32", "bf16"))
    both = dict.fromkeys(exact.labels.foreground, 0)
    agree = dict(both)
    for source in manifest_sources(manifest, "test"):
        image = read_source(source, exact.run.data.read)
        one, other = (segment(image, loaded).mask.indices for loaded in (exact, rough))
        for index, name in enumerate(exact.labels.names[1:], start=1):
            both[name] += int((one == index).sum() + (other == index).sum())
            agree[name] += 2 * int(((one == index) & (other == index)).sum())
    return {name: agree[name] / both[name] for name in both}


def test_the_built_in_model_gives_the_same_masks_of_the_samples(samples: Path) -> None:
    assert agreement("fundus-vessels", samples / "vessels" / "manifest.csv")["vessel"] >= 0.995


@pytest.mark.parametrize("name", SETS)
def test_trained_models_give_the_same_masks_of_real_pictures(name: str) -> None:
    data, runs = os.environ.get("SEGKIT_DATA"), os.environ.get("SEGKIT_RUNS")
    if not data or not runs:
        pytest.skip("needs SEGKIT_DATA (the sets) and SEGKIT_RUNS (benchmarks/acceptance.py --out)")
    assert min(agreement(Path(runs) / name, Path(data) / name / "manifest.csv").values()) >= 0.995
