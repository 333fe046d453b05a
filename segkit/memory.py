"""Memory that a network has freed is kept for its next layer.

glibc hands every block of more than 32 MB back to the system as soon as it is freed, and the system zeroes fresh pages for the next one: for a U-Net
that was 6 to 18 % of the processor's time by itself, and the caches forgot what they had held. On two cores a picture through a ResNet-34
U-Net took 1.2 times as long, a training step of a plain one 1.3 times (docs/decisions/0011).
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""glibc's malloc.h, see mallopt(3)."""


def keep_freed_memory() -> bool:
    """From now on, for the whole process: what is freed stays with it. Whether that could be had: elsewhere than with glibc nothing changes.

    All threads share one heap then, since the heaps of further threads hold no large blocks.
    """
    libc = _glibc()
    if libc is None:
        return False
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**26}
    return all(libc.mallopt(what, number) == 1 for what, number in settings.items())


def give_back_freed_memory() -> None:
    """Once: between the stages of a large picture, none of which needs what the one before it had."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
