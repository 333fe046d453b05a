"""For benchmarks that type what a user would type."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path


def run_segkit(*arguments: str | Path) -> str:
    """Run a command of segkit, its progress on our stderr; its stdout."""
    line = [str(argument) for argument in arguments]
    print(f"$ segkit {shlex.join(line)}", file=sys.stderr, flush=True)
    return subprocess.run([sys.executable, "-m", "segkit", *line], check=True, stdout=subprocess.PIPE, text=True).stdout
