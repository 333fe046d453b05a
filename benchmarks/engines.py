"""What each engine costs: milliseconds for one picture and for a batch of four, and seconds until it is ready.

    python benchmarks/engines.py [--encoder resnet34] [--size 512] [--batches 1,4] [--repeats 7] [--threads 2]

Rows: torch in float32 channels-first, as most loops run it; then every engine in every precision that it has on this processor. An engine
whose packages are missing is named and left out. All are timed in turns in one process, so that other load on the machine hits them all;
medians are printed, and ratios to the first row. "Ready" is what the start of an engine takes: without a shelf, and with its graph on one.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from segkit.engines import ENGINES, Engine, Shelf, build_engine, has_amx
from segkit.errors import DeviceError, MissingExtraError
from segkit.io import write_bytes
from segkit.models import build_model

PRECISIONS = ("fp32", "bf16")
Scored = Callable[[Tensor], Tensor]


def plain(network: nn.Module) -> Scored:
    network = copy.deepcopy(network).eval()

    @torch.inference_mode()
    def score(batch: Tensor) -> Tensor:
        return network(batch)

    return score


def engines(network: nn.Module) -> dict[str, Engine]:
    """Name and precision -> the engine."""
    found: dict[str, Engine] = {}
    for name in ENGINES:
        for precision in PRECISIONS:
            try:
                found[f"{name} {precision}"] = build_engine(name, network, "cpu", precision)
            except (DeviceError, MissingExtraError) as error:
                print(f"left out: {name} {precision}: {error}")
    return found


def seconds_until_ready(name: str, network: nn.Module, batch: Tensor) -> tuple[float, float]:
    """Of an engine and its first batch: with nothing on the shelf, and with its graph there; packages are imported before."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            start = time.perf_counter()
            build_engine(name, network, "cpu", shelf=Shelf(Path(folder), write_bytes))(batch)
            taken.append(time.perf_counter() - start)
    return taken[0], taken[1]


def time_in_turns(calls: dict[str, Scored], batch: Tensor, repeats: int) -> dict[str, tuple[float, float]]:
    """Name -> median milliseconds by the clock and of the processor's cores together, after one turn that is not counted."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            clock, processor = time.perf_counter(), time.process_time()
            call(batch)
            if turn > 0:
                times[name][0].append(1e3 * (time.perf_counter() - clock))
                times[name][1].append(1e3 * (time.process_time() - processor))
    return {name: (statistics.median(clock), statistics.median(processor)) for name, (clock, processor) in times.items()}


def features() -> str:
    """Of the processor, as far as they matter here."""
    known = {"AVX2": "_is_avx2_supported", "AVX-512": "_is_avx512_supported", "AVX-512 VNNI": "_is_vnni_supported"}
    known |= {"AVX-512 BF16": "_is_avx512_bf16_supported", "AMX": "_is_amx_tile_supported"}
    return ", ".join(f"{'' if getattr(torch.cpu, probe, bool)() else 'no '}{name}" for name, probe in known.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet34")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {features()}; torch's choice here is {'bf16' if has_amx() else 'fp32'}")
    torch.manual_seed(0)
    network = build_model("unet", encoder=given.encoder).eval()
    calls: dict[str, Scored] = {"plain torch fp32": plain(network), **engines(network)}
    for count in map(int, given.batches.split(",")):
        batch = torch.rand(count, 3, given.size, given.size)
        right = calls["plain torch fp32"](batch)
        print(f"\n{count} of {given.size}x{given.size}, {given.encoder}, median of {given.repeats}")
        times = time_in_turns(calls, batch, given.repeats)
        reference, _ = times["plain torch fp32"]
        for name, (milliseconds, processor) in times.items():
            off = float((calls[name](batch) - right).abs().max() / right.abs().max())
            print(f"{name:<18} {milliseconds:>7.0f} ms {reference / milliseconds:>6.2f} times plain {processor:>8.0f} ms of cores  ", end=" ")
            print(f"logits off by {off:.0e}", flush=True)
    print("\nready, with the first picture: without its graph, with it")
    for name in ENGINES:
        if any(call.startswith(name) for call in calls):
            without, kept = seconds_until_ready(name, network, torch.rand(1, 3, given.size, given.size))
            print(f"{name:<18} {without:>6.2f} s {kept:>6.2f} s")


if __name__ == "__main__":
    main()
