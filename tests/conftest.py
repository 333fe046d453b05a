"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported: for small pictures more threads are slower, and two workers share two cores.
os.environ["OMP_NUM_THREADS"] = "1" if "PYTEST_XDIST_WORKER" in os.environ else os.environ.get("OMP_NUM_THREADS", "2")


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes into the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def samples() -> Path:
    """data_samples/: `vessels`, `nerve` and `brain` with images/, masks/ and manifest.csv; `dicom`."""
    return Path(__file__).parent.parent / "data_samples"


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of eight pictures of discs: see toys.py."""
    from toys import write_discs

    return write_discs(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="session")
def disc_run(tmp_path_factory: pytest.TempPathFactory, discs: Path) -> Path:
    """The folder of a finished training run on them, some seconds long."""
    from toys import toy_run

    from segkit.train import train

    folder = tmp_path_factory.mktemp("runs") / "discs"
    train(toy_run(discs, steps=40, batch_size=4, learning_rate=1e-2), folder)
    return folder
