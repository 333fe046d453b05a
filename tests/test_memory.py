"""Memory that was freed is there for what comes next."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from segkit.memory import give_back_freed_memory, keep_freed_memory

FRESH_PAGES = """
import resource, sys
import numpy as np
from segkit.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
np.ones(2**26, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(2**26, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system has another malloc")
def test_freed_blocks_are_used_again_and_not_asked_for_anew() -> None:
    """64 MiB are 16,384 pages of 4 KiB, or 32 of 2 MiB."""

    def fresh_pages(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", FRESH_PAGES, how], check=True, capture_output=True, text=True).stdout)

    assert fresh_pages("as it is") >= 10 * 32
    assert fresh_pages("keep") < 32


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system has another malloc")
def test_freed_memory_can_be_given_back_all_the_same() -> None:
    program = """
import numpy as np
from segkit.memory import give_back_freed_memory, keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

keep_freed_memory()
blocks = [np.ones(2**26, np.uint8) for _ in range(4)]
kept = np.ones(2**20, np.uint8)
with_blocks = resident()
del blocks
freed = resident()
give_back_freed_memory()
print(with_blocks - freed < 2**24, with_blocks - resident() > 3 * 2**26)
"""
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert told.split() == ["True", "True"]


def test_where_malloc_is_another_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", None)
    assert not keep_freed_memory()
    give_back_freed_memory()
