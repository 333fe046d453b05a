"""Ten minutes of training from random weights, then the test split: the tables of README.md.

    python benchmarks/acceptance.py DATA [--minutes 10] [--sets drive_vessels,usgra_nerve] [--out runs/acceptance]
    python benchmarks/acceptance.py DATA --finetune                                         # no settings at all: segkit finetune MANIFEST

DATA holds a folder for each set with a manifest.csv (image,mask,split,group). A set that is not there is skipped, and said so.
Each step is the command that a user would type, and is printed.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from commands import run_segkit

CONFIGS = Path(__file__).parents[1] / "configs"
SETS = {
    "drive_vessels": ("vessels", 0.80, 0.815),
    "usgra_nerve": ("nerve", 0.64, 0.69),
    "isbi2012_em": ("membranes", 0.81, 0.82),
    "msd_hippocampus": ("hippocampus", 0.85, 0.87),
}
"""Set -> its config, and the mean test Dice that is aimed at, with the config and by finetuning without any."""


SCORED_AS = {"isbi2012_em": "background=255,membrane=0"}
"""Sets whose object of interest is the 0 in the masks, which nobody tells `segkit finetune`: the same masks are scored for it."""


def measure_finetuned(name: str, manifest: Path, run: Path, minutes: float) -> tuple[dict[str, float], int]:
    """One command from pairs to the score: ({class: test Dice}, steps)."""
    told = json.loads(run_segkit("finetune", manifest, "-o", run, "--minutes", f"{minutes:g}", "--json"))
    scores = told["scores"]
    if name in SCORED_AS:
        scores = json.loads(run_segkit("evaluate", run / "test" / "masks", manifest, "--split", "test", "--labels", SCORED_AS[name], "--json"))
    return {kind: summary["dice"] for kind, summary in scores["classes"].items()}, told["steps"]


def measure(name: str, manifest: Path, run: Path, minutes: float) -> tuple[dict[str, float], int]:
    """Train, predict and evaluate one set: ({class: test Dice}, steps)."""
    told = run_segkit("train", CONFIGS / f"{SETS[name][0]}.yaml", "--data", manifest, "-o", run, "--minutes", f"{minutes:g}", "--json")
    run_segkit("predict", manifest, "--split", "test", "-m", run, "-o", run / "test", "--save-overlay")
    scores = json.loads(run_segkit("evaluate", run / "test", manifest, "--split", "test", "--json"))
    return {kind: summary["dice"] for kind, summary in scores["classes"].items()}, json.loads(told)["steps"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--out", type=Path, default=Path("runs/acceptance"))
    parser.add_argument("--finetune", action="store_true", help="segkit finetune in place of the set's config")
    given = parser.parse_args()
    print(f"{os.cpu_count()} processors, {given.minutes:g} minutes each")
    print(f"{'set':<18} {'mean Dice':>9} {'aim':>6} {'steps':>6}  classes")
    for name in given.sets.split(","):
        if not (given.data / name / "manifest.csv").is_file():
            print(f"{name:<18} skipped: no {given.data / name / 'manifest.csv'}", flush=True)
            continue
        manifest, run, aim = given.data / name / "manifest.csv", given.out / name, SETS[name][2 if given.finetune else 1]
        dice, steps = (measure_finetuned if given.finetune else measure)(name, manifest, run, given.minutes)
        mean = sum(dice.values()) / len(dice)
        print(f"{name:<18} {mean:>9.4f} {aim:>6.3f} {steps:>6}  {', '.join(f'{kind} {value:.4f}' for kind, value in dice.items())}", flush=True)


if __name__ == "__main__":
    main()
