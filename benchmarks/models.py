"""What each encoder and each skip gate costs on UNet: parameters, multiply-adds, milliseconds of a forward pass and of a training step.

    python benchmarks/models.py [--encoders plain,resnet18,resnet34 | all] [--skips se,cbam,scse,attention] [--size 512] [--repeats 3] [--no-train]

Forward: one picture of size×size in float32 channels-first (as most loops run it), float32 channels-last and bfloat16
channels-last, batch norms folded as `segkit predict` does it. Training: 4 patches of 256×256, float32 channels-last.
"none" is always measured first: "on none" is what a gate takes beside it. Half a minute for each line on two cores.
All variants of one network are timed in turns in one process, so that other load on the machine hits them all; medians are printed.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from segkit.engines import TorchEngine, has_amx
from segkit.models import ENCODERS, build_model
from segkit.models.counting import count_multiply_adds, count_parameters
from segkit.models.gates import GATES

PATCHES, PATCH = 4, 256


def forward_passes(network: nn.Module, size: int) -> dict[str, Callable[[], object]]:
    """Name -> one forward pass."""
    picture = torch.rand(1, 3, size, size)
    plain = copy.deepcopy(network).eval()

    def channels_first() -> object:
        with torch.inference_mode():
            return plain(picture)

    engines = {name: TorchEngine(network, "cpu", precision) for name, precision in (("fp32", "fp32"), ("bf16", "bf16"))}
    return {"plain fp32": channels_first, **{name: lambda engine=engine: engine(picture) for name, engine in engines.items()}}


def training_step(network: nn.Module) -> Callable[[], object]:
    network = copy.deepcopy(network).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    patches = torch.rand(PATCHES, 3, PATCH, PATCH).contiguous(memory_format=torch.channels_last)
    truth = torch.randint(2, (PATCHES, PATCH, PATCH))

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(patches), truth).backward()
        return optimizer.step()

    return step


def time_in_turns(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Name -> median milliseconds, after one turn that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn > 0:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", default="plain,resnet18,resnet34,mobilenet_v2", help=f"all, or of {', '.join(ENCODERS)}")
    parser.add_argument("--skips", default="se,cbam,scse,attention,gpg", help=f"of {', '.join(GATES)}, gpg")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-train", action="store_true", help="leave the training step out")
    given = parser.parse_args()
    amx = "AMX" if has_amx() else "no AMX"
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {amx}; {given.size}x{given.size}, median of {given.repeats}")
    print(f"{'encoder':<14} {'skip':<10} {'parameters':>12} {'G mult-adds':>12}", end=" ")
    print(f"{'plain fp32':>11} {'fp32':>8} {'bf16':>8} {'ratio':>6} {'on none':>8} {'train step':>11}")
    for encoder in ENCODERS if given.encoders == "all" else given.encoders.split(","):
        without = math.nan
        for skip in ("none", *(name for name in given.skips.split(",") if name != "none")):
            torch.manual_seed(0)
            network = build_model("unet", encoder=encoder, skip=skip)
            calls = forward_passes(network, given.size)
            if not given.no_train:
                calls["train"] = training_step(network)
            times = time_in_turns(calls, given.repeats)
            best = min(times["fp32"], times["bf16"])
            without = best if skip == "none" else without
            outline, count = copy.deepcopy(network).to("meta").eval(), count_parameters(network)
            trained = f"{times['train']:>8.0f} ms" if "train" in times else f"{'–':>11}"
            print(f"{encoder:<14} {skip:<10} {count:>12,} {count_multiply_adds(outline, (1, 3, given.size, given.size)) / 1e9:>12.2f}", end=" ")
            print(f"{times['plain fp32']:>8.0f} ms {times['fp32']:>5.0f} ms {times['bf16']:>5.0f} ms", end=" ")
            print(f"{times['plain fp32'] / best:>6.1f} {best / without:>7.2f}x {trained}", flush=True)


if __name__ == "__main__":
    main()
