"""Engines: batches of patches in, logits out, as fast as the machine goes."""

from segkit.engines.choice import ENGINES, Work, build_engine, choose_engine
from segkit.engines.engine import Engine
from segkit.engines.hardware import choose_device, choose_precision, describe, has_amx
from segkit.engines.shelf import Shelf
from segkit.engines.torch_engine import TorchEngine, fold_batch_norms

__all__ = [
    "ENGINES",
    "Engine",
    "Shelf",
    "TorchEngine",
    "Work",
    "build_engine",
    "choose_device",
    "choose_engine",
    "choose_precision",
    "describe",
    "fold_batch_norms",
    "has_amx",
]
