"""Does confidence mean something? On cases with known masks: how the expected Dice goes with the true one, and the calibration error.

    python benchmarks/confidence.py MODEL MANIFEST [--split test] [--cases]

MODEL is what `segkit predict -m` takes, MANIFEST a table with columns image, mask and perhaps split. Printed are Spearman's r of expected and true Dice,
the expected calibration error of the pixels without and with the model's temperature, and how many of the worst quarter of
the cases are among the quarter that the model would have people look at first. With --cases also both numbers of each case.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segkit.checkpoint import load_model, locate_model
from segkit.dataset import cases_of_split
from segkit.finetune.scoring import Confidence, Share, score_shares


def measure(model: Path, manifest: Path, split: str) -> tuple[Confidence, str]:
    """One pass over the cases, and what the model's expected Dice was learnt from."""
    run = load_model(model).run
    run = run.model_copy(update={"data": run.data.model_copy(update={"manifest": manifest.resolve()})})
    _, confidence = score_shares([Share(locate_model(model), run, cases_of_split(run.data, split))], run.predict, lambda *result: None)
    line = run.predict.expected_dice
    return confidence, "nothing" if line is None else line.learnt_from


def found_first(confidence: Confidence) -> tuple[int, int]:
    """Of the worst quarter of the cases, how many are in the quarter that comes first; and how many a quarter is."""
    _, rows = confidence.table()
    quarter = max(1, len(rows) // 4)
    worst = {row[0] for row in sorted(rows, key=lambda row: float(row[2]))[:quarter]}
    return len(worst & {row[0] for row in rows[:quarter]}), quarter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--cases", action="store_true")
    given = parser.parse_args()
    confidence, learnt_from = measure(given.model, given.manifest, given.split)
    told = confidence.to_json()
    if given.cases:
        for name, expected, true in confidence.table()[1]:
            print(f"{name:<32} expected {'-' if expected is None else format(expected, '.3f')}  true {true:.3f}")
    correlation = told["correlation"]
    print(f"expected and true Dice: r = {'-' if correlation is None else format(correlation, '.2f')} over {told['cases']} cases; learnt from {learnt_from}")
    met, quarter = found_first(confidence)
    print(f"of the {quarter} worst cases {met} are among the first {quarter} to review")
    print(f"calibration error: {told['ece_before']:.4f}, with a temperature of {told['temperature']:.2f} {told['ece_after']:.4f}")


if __name__ == "__main__":
    main()
