"""segkit: segmentation of medical pictures in 2D.

>>> import segkit
>>> model = segkit.load("fundus-vessels")            # doctest: +SKIP
>>> mask = model.predict("photograph.png")           # doctest: +SKIP

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.evaluation import evaluate
    from segkit.image import Image
    from segkit.io import read_image, read_mask
    from segkit.labels import Labels, Mask
    from segkit.predict import load

__version__ = "0.1.0"

_HOMES = {
    "Image": "segkit.image",
    "Labels": "segkit.labels",
    "Mask": "segkit.labels",
    "evaluate": "segkit.evaluation",
    "load": "segkit.predict",
    "read_image": "segkit.io",
    "read_mask": "segkit.io",
}

__all__ = ["Image", "Labels", "Mask", "__version__", "evaluate", "load", "read_image", "read_mask"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'segkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
