"""Milliseconds of a training step, 8 patches of 256x256 through the house U-Net: plain float32, channels last, and bfloat16.

    python benchmarks/train_step.py [--size 256] [--batch 8] [--repeats 5]

Each variant is the same step (forward, Dice and cross-entropy, backward, AdamW) on its own copy of one network. The
variants are timed in turns in one process, so that other load on the machine hits them all; medians are printed.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segkit.engines import has_amx
from segkit.losses import DiceCrossEntropySettings, build_loss
from segkit.models import build_model


@dataclass(frozen=True)
class Variant:
    """How the step is run."""

    name: str
    layout: torch.memory_format
    bfloat16: bool


VARIANTS = (
    Variant("float32, channels first", torch.contiguous_format, False),
    Variant("float32, channels last", torch.channels_last, False),
    Variant("bfloat16, channels last", torch.channels_last, True),
)


class Step:
    """One variant with its own network and optimizer; called, it takes a step."""

    def __init__(self, variant: Variant, network: nn.Module, patches: Tensor, truth: Tensor) -> None:
        self.variant = variant
        self._network = copy.deepcopy(network).to(memory_format=variant.layout).train()  # type: ignore[call-overload]
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=1e-3)
        self._loss = build_loss(DiceCrossEntropySettings())
        self._patches, self._truth = patches.contiguous(memory_format=variant.layout), truth

    def __call__(self) -> float:
        """Milliseconds."""
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.variant.bfloat16):
            logits = self._network(self._patches)
        self._optimizer.zero_grad(set_to_none=True)
        self._loss(logits, self._truth).backward()
        self._optimizer.step()
        return 1e3 * (time.perf_counter() - start)


def measure(size: int, batch: int, repeats: int) -> dict[str, float]:
    """Variant -> median milliseconds, after one step that is not counted."""
    torch.manual_seed(0)
    network = build_model("unet", feature_scale=2, in_channels=1, num_classes=2)
    patches, truth = torch.rand(batch, 1, size, size), torch.randint(2, (batch, size, size), dtype=torch.uint8)
    steps = [Step(variant, network, patches, truth) for variant in VARIANTS]
    times: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
    for repeat in range(repeats + 1):
        for step in steps:
            taken = step()
            if repeat > 0:
                times[step.variant.name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, AMX: {'yes' if has_amx() else 'no'}")
    print(f"UNet feature_scale 2, {given.batch} patches of {given.size}x{given.size}, median of {given.repeats}")
    times = measure(given.size, given.batch, given.repeats)
    slowest = times[VARIANTS[0].name]
    for name, taken in times.items():
        print(f"{name:<26} {taken:>8.0f} ms   {slowest / taken:.2f} times as fast as the first")


if __name__ == "__main__":
    main()
