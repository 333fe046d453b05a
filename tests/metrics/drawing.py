"""Masks for the tests of metrics: drawn as text, or random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]

GRIDS = [((33, 47), (1.0, 1.0)), ((5, 63), (0.5, 2.0)), ((1, 29), (0.3, 0.7)), ((9, 14, 11), (3.0, 0.5, 0.8)), ((2, 17, 6), (1.0, 1.0, 1.0))]
"""Shapes and spacings, pictures and volumes."""


def mask(*rows: str) -> Bools:
    """A mask drawn as text, one string a row: # is inside."""
    return np.array([[letter == "#" for letter in row] for row in rows])


def blobs(shape: tuple[int, ...], seed: int, share: float = 0.4) -> Bools:
    """Smooth random shapes that take a share of the grid and may touch its border."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return np.asarray(noise > np.quantile(noise, 1 - share))
