"""What a model forgets when it learns more: a class renamed, a class added, and the one that stayed, before and after.

    python benchmarks/classes.py RUN MANIFEST [--minutes 5] [--out runs/classes]

RUN was trained on MANIFEST (image,mask,split,group) and has two classes or more. The masks are drawn anew: the first class stays, the last one gets another
name, and its rim, WIDTH pixels wide, which was background, becomes a class of its own. The run is finetuned on that by `segkit finetune --from RUN`.
Each step is the command that a user would type, and is printed.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path

import numpy as np
from commands import run_segkit
from scipy import ndimage

import segkit
from segkit.io import read_image, read_mask, write_csv, write_mask
from segkit.labels import Labels, Mask

WIDTH = 8


def draw_anew(manifest: Path, labels: Labels, folder: Path) -> tuple[Path, Labels]:
    """The same pictures with other masks: (manifest, what its masks mean)."""
    *kept, last = labels.names
    new = Labels((*kept, f"new_{last}", "rim"), (*labels.values, max(labels.values) + 1))
    rows = []
    with manifest.open(newline="") as file:
        for row in csv.DictReader(file):
            image = read_image(manifest.parent / row["image"])
            indices = labels.encode(read_mask(manifest.parent / row["mask"], image))
            whole = indices == len(kept)
            drawn = np.where(ndimage.binary_dilation(whole, iterations=WIDTH) & (indices == 0), len(kept) + 1, indices).astype(np.uint8)
            place = folder / "masks" / f"{Path(row['image']).stem}.png"
            write_mask(Mask(drawn, new, image.spacing_mm), image, place)
            rows.append([str((manifest.parent / row["image"]).resolve()), str(place.resolve()), row["split"], row["group"]])
    write_csv(folder / "manifest.csv", ["image", "mask", "split", "group"], rows)
    return folder / "manifest.csv", new


def dice_of(run: Path, manifest: Path, out: Path) -> dict[str, float]:
    """Class -> mean Dice on the test split."""
    run_segkit("predict", manifest, "--split", "test", "-m", run, "-o", out, "--quiet", "--overwrite")
    scores = json.loads(run_segkit("evaluate", out, manifest, "--split", "test", "--json"))
    return {kind: summary["dice"] for kind, summary in scores["classes"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/classes"))
    given = parser.parse_args()
    labels = segkit.load(given.run).labels
    with tempfile.TemporaryDirectory() as masks:
        before = dice_of(given.run, given.manifest, Path(masks))
    manifest, new = draw_anew(given.manifest, labels, given.out / "set")
    told = ",".join(f"{name}={value}" for name, value in new.mapping.items())
    run_segkit("finetune", manifest, "-o", given.out / "run", "--from", given.run, "--labels", told, "--minutes", f"{given.minutes:g}", "--json")
    with tempfile.TemporaryDirectory() as masks:
        after = dice_of(given.out / "run", manifest, Path(masks))
    print(f"{'class':<16} {'before':>7} {'after':>7}")
    for name in dict.fromkeys((*before, *after)):
        print(f"{name:<16} {before.get(name, float('nan')):>7.3f} {after.get(name, float('nan')):>7.3f}")


if __name__ == "__main__":
    main()
