"""What the machine can do, and what is chosen because of it."""

from __future__ import annotations

from typing import Literal

import torch

from segkit.errors import DeviceError

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str = "auto") -> torch.device:
    """"auto", "cpu", "cuda", "cuda:N" or "mps" -> the device; "auto" takes CUDA, then MPS, then the CPU.

    Raises
    ------
    DeviceError
        The machine has no such device. A device that was asked for is never exchanged in silence.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise DeviceError(f"device {wanted!r} is not a device; choose auto, cpu, cuda, cuda:N or mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"device {wanted!r} is not supported; choose auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device {wanted!r} was asked for, but this torch sees {torch.cuda.device_count()} CUDA devices; choose auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' was asked for, but this machine has none; choose auto or cpu")
    return device


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """"auto" -> the fastest precision that the device has in hardware.

    On a CPU that is bfloat16 with AMX tiles only: AVX-512 BF16 alone was measured slower than float32
    (docs/decisions/0004-precision.md). On CUDA it is bfloat16 from compute capability 8, else float16.

    Raises
    ------
    DeviceError
        No such precision, or float16 on a CPU, which trains and infers far slower than float32 there.
    """
    if wanted not in PRECISIONS:
        raise DeviceError(f"precision {wanted!r} is not one of {', '.join(PRECISIONS)}")
    if wanted == "fp16" and device.type == "cpu":
        raise DeviceError("precision fp16 needs a GPU; on a CPU choose auto, bf16 or fp32")
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
    return "bf16" if device.type == "cpu" and has_amx() else "fp32"


def batch_pixels(device: torch.device) -> int:
    """Pixels of all patches together that go through a network at once.

    A processor is busy with a single patch of 512×512, and slower with several, whose maps its caches don't hold; at 128×128 sixteen were
    1.6 times as fast as one by one (ResNet-34 U-Net, two cores). What is best on a GPU was not measured.
    """
    return 2**18 if device.type == "cpu" else 2**20


def batches_in_flight(device: torch.device) -> int:
    """Batches that go through a network at a time: on CUDA one is uploaded while another is computed, a processor has its hands full with one."""
    return 2 if device.type == "cuda" else 1


def has_amx() -> bool:
    """Whether the processor multiplies bfloat16 matrices in AMX tiles."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe()) if probe is not None else False


def describe(device: torch.device) -> str:
    """The device in words, for run.json."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads{', AMX' if device.type == 'cpu' and has_amx() else ''})"
