"""Ten minutes of training from random weights, then the test split: the table of README.md.

    python benchmarks/acceptance.py DATA [--minutes 10] [--sets drive_vessels,usgra_nerve] [--out runs/acceptance]

DATA holds a folder for each set with a manifest.csv (image,mask,split,group). A set that is not there is skipped, and said so.
Each step is the command that a user would type, and is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs"
SETS = {
    "drive_vessels": ("vessels", 0.80),
    "usgra_nerve": ("nerve", 0.64),
    "isbi2012_em": ("membranes", 0.81),
    "msd_hippocampus": ("hippocampus", 0.85),
}
"""Set -> its config, and the mean test Dice that is aimed at."""


def segkit(*arguments: str | Path) -> str:
    """Run a command of segkit, its progress on our stderr; its stdout."""
    line = [str(argument) for argument in arguments]
    print(f"$ segkit {shlex.join(line)}", file=sys.stderr, flush=True)
    return subprocess.run([sys.executable, "-m", "segkit", *line], check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(name: str, data: Path, out: Path, minutes: float) -> tuple[dict[str, float], int]:
    """Train, predict and evaluate one set: ({class: test Dice}, steps)."""
    manifest, run = data / name / "manifest.csv", out / name
    told = segkit("train", CONFIGS / f"{SETS[name][0]}.yaml", "--data", manifest, "-o", run, "--minutes", f"{minutes:g}", "--json")
    segkit("predict", manifest, "--split", "test", "-m", run, "-o", run / "test", "--save-overlay")
    scores = json.loads(segkit("evaluate", run / "test", manifest, "--split", "test", "--json"))
    return {kind: summary["dice"] for kind, summary in scores["classes"].items()}, json.loads(told)["steps"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--out", type=Path, default=Path("runs/acceptance"))
    given = parser.parse_args()
    print(f"{os.cpu_count()} processors, {given.minutes:g} minutes each")
    print(f"{'set':<18} {'mean Dice':>9} {'aim':>6} {'steps':>6}  classes")
    for name in given.sets.split(","):
        if not (given.data / name / "manifest.csv").is_file():
            print(f"{name:<18} skipped: no {given.data / name / 'manifest.csv'}", flush=True)
            continue
        dice, steps = measure(name, given.data, given.out, given.minutes)
        mean = sum(dice.values()) / len(dice)
        print(f"{name:<18} {mean:>9.4f} {SETS[name][1]:>6.2f} {steps:>6}  {', '.join(f'{kind} {value:.4f}' for kind, value in dice.items())}", flush=True)


if __name__ == "__main__":
    main()
