"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before torch is imported: for small pictures more threads are slower


@pytest.fixture(scope="session")
def samples() -> Path:
    """data_samples/: `vessels`, `nerve` and `brain` with images/, masks/ and manifest.csv; `dicom`."""
    return Path(__file__).parent.parent / "data_samples"
