"""What the machine at hand can do in the minutes that there are: measured on a few training steps, not looked up."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segkit.config import RunConfig, validate_run
from segkit.engines import choose_device, choose_precision, describe
from segkit.engines.hardware import DTYPES
from segkit.losses import build_loss
from segkit.models import build_model
from segkit.models.counting import count_parameters, training_peak_bytes
from segkit.train.state import make_optimizer
from segkit.train.trial import batch_shape

MOST_STEPS = 4
"""Steps that are timed of each candidate, after one that is not."""

MOST_SECONDS = 4.0
"""After which no further step of a candidate is timed."""

OPTIMIZER = 16
"""Bytes that each parameter takes while training: itself, its gradient and AdamW's two moments."""

CGROUP_LIMIT, CGROUP_USE = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


@dataclass(frozen=True)
class Machine:
    """Where training will run; `memory_bytes` are free there."""

    device: torch.device
    precision: str
    memory_bytes: int

    def __str__(self) -> str:
        return f"{describe(self.device)}, {self.precision}, {self.memory_bytes / 2**30:.1f} GiB free"

    def seconds_per_step(self, tree: Mapping[str, Any]) -> float:
        """Of a training step as these settings say, without loading: the median of a few."""
        run = validate_run(tree, "settings")
        network = build_model(run.model).to(self.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        step = _Step(network, run, self)
        step()
        times: list[float] = []
        while len(times) < MOST_STEPS and sum(times) < MOST_SECONDS:
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    def bytes_per_step(self, tree: Mapping[str, Any]) -> int:
        """What a training step takes at most, reckoned from the sizes of its maps; nothing is trained for it."""
        run = validate_run(tree, "settings")
        with torch.device("meta"):
            network = build_model(run.model)
        return training_peak_bytes(network, batch_shape(run)) + OPTIMIZER * count_parameters(network)


class _Step:
    """A training step on noise."""

    def __init__(self, network: torch.nn.Module, run: RunConfig, machine: Machine) -> None:
        self._network, self._machine = network, machine
        self._optimizer = make_optimizer(network, run.train)
        self._loss = build_loss(run.loss).to(machine.device)
        shape = batch_shape(run)
        self._patches = torch.rand(shape, device=machine.device)
        self._truth = torch.randint(0, run.model.num_classes, (shape[0] * shape[1], *shape[-2:]), device=machine.device)

    def __call__(self) -> None:
        precision = self._machine.precision
        with torch.autocast(self._machine.device.type, DTYPES[precision], enabled=precision != "fp32"):
            logits = self._network(self._patches)
        self._optimizer.zero_grad(set_to_none=True)
        self._loss(logits, self._truth).backward()
        self._optimizer.step()
        if self._machine.device.type == "cuda":
            torch.cuda.synchronize(self._machine.device)


def find_machine(device: str = "auto", precision: str = "auto") -> Machine:
    """Raises DeviceError where the machine lacks the device or the precision."""
    chosen = choose_device(device)
    return Machine(chosen, choose_precision(precision, chosen), free_bytes(chosen))


def free_bytes(device: torch.device) -> int:
    """Of the GPU, or of the processor's memory as far as this process may use it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [_available()]
    if CGROUP_LIMIT.is_file() and (limit := CGROUP_LIMIT.read_text().strip()).isdecimal():
        limits.append(int(limit) - int(CGROUP_USE.read_text()))
    return max(0, min(limits))


def _available() -> int:
    """Bytes that Linux says can be had; elsewhere half of all that is built in."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        return int(lines["MemAvailable"].split()[0]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 * 2**30
