"""segkit: segmentation of medical pictures in 2D.

>>> import segkit
>>> model = segkit.load("fundus-vessels")            # doctest: +SKIP
>>> mask = model.predict("photograph.png")           # doctest: +SKIP

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
import pkgutil
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
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _rooms():
        return importlib.import_module(f"segkit.{name}")
    raise AttributeError(f"module 'segkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_rooms()})


def _rooms() -> set[str]:
    """The modules below this one: `segkit.models.build_model` needs no import of its own."""
    return {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
