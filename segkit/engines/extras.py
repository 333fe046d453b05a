"""Packages that only some engines need."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from segkit.errors import MissingExtraError

EXTRAS: dict[str, tuple[str, ...]] = {"openvino": ("openvino", "onnx"), "onnx": ("onnxruntime", "onnx")}
"""Extra of setup.cfg -> the packages that it brings."""


def installed(extra: str) -> bool:
    """Whether all packages of an extra are there; imports none of them."""
    return all(find_spec(package) is not None for package in EXTRAS[extra])


def require(package: str, extra: str) -> Any:
    """The module, imported now.

    Raises
    ------
    MissingExtraError
        It is not installed, or can't be imported.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingExtraError(f'this engine needs {package} ({error}): pip install "segkit[{extra}]", or choose the engine torch') from error
