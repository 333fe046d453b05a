"""Make the built-in model `fundus-vessels` from a run on DRIVE, with the test scores in its card.

    segkit train configs/vessels.yaml --data DRIVE/manifest.csv -o RUN --minutes 10
    python benchmarks/fundus_vessels.py RUN DRIVE/manifest.csv

The run worked at DRIVE's own 584 pixels. A photograph twice as large has vessels twice as wide, so the model that is shipped brings every
picture to a long side of 584 first; on DRIVE itself that changes nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from segkit.checkpoint import BUILT_IN, load_model, save_model
from segkit.cli import main as segkit
from segkit.config import validate_run
from segkit.evaluation import evaluate

TRAINED_ON = "the 20 training photographs of DRIVE (Staal et al. 2004, doi 10.1109/TMI.2004.825627), 18 to train on and 2 to choose the weights by"
LICENCE = "research use only, as DRIVE; not a medical device"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("manifest", type=Path)
    given = parser.parse_args()
    file = load_model(given.run)
    settings = file.run.model_dump(mode="json")
    settings["preprocess"]["resize"] = {"kind": "long_side", "pixels": 584}
    run = validate_run(settings, str(given.run))
    card = replace(file.card, trained_on=TRAINED_ON, licence=LICENCE)
    save_model(BUILT_IN["fundus-vessels"], run, file.weights, card)
    with tempfile.TemporaryDirectory() as out:
        assert segkit(["predict", str(given.manifest), "--split", "test", "-m", "fundus-vessels", "-o", out]) == 0
        scores = evaluate(out, given.manifest, split="test")
    test = {name: round(summary.means["dice"], 4) for name, summary in scores.classes.items()}
    save_model(BUILT_IN["fundus-vessels"], run, file.weights, replace(card, scores={**card.scores, "test": test}))
    print(f"{BUILT_IN['fundus-vessels']}: {BUILT_IN['fundus-vessels'].stat().st_size} bytes, test Dice {test}")


if __name__ == "__main__":
    main()
