"""Engines: batches of patches in, logits out, as fast as the machine goes."""

from segkit.engines.hardware import choose_device, choose_precision, describe, has_amx
from segkit.engines.torch_engine import TorchEngine, fold_batch_norms

__all__ = ["TorchEngine", "choose_device", "choose_precision", "describe", "fold_batch_norms", "has_amx"]
