"""Prediction over files, from ten to ten million: reading, the network and writing at the same time, and nothing lost.

The output folder::

    OUT/
    ├── <path below INPUT>/<stem>.<ext>      masks
    ├── overlays/...png                      with overlays asked for
    ├── probabilities/...npz or .nii.gz      with probabilities asked for
    ├── attention/...<stem>_attention.png    with attention asked for: all maps on one sheet, and
    │                 <stem>_attention/      each by itself: encoder_<block>.png, skip<level>_stride<pixels>.png
    ├── results.csv                          a row a file; with a review, what to look at first comes first
    ├── review.png, review-2.png, …          with a review: those cases, drawn
    ├── failures.csv                         path, code, message; only where something failed
    ├── run.json                             model, settings, labels, machine, and how it went
    └── .segkit/ledger.jsonl                 what became of each file, written as it happens: `--resume` goes by it
"""

from segkit.folder.ledger import Failure, Ledger, Result
from segkit.folder.masks import without_masks
from segkit.folder.outputs import Extras
from segkit.folder.run import Options, Summary, manifest_sources, predict_files
from segkit.folder.shards import Part, find_part, merge

__all__ = ["Extras", "Failure", "Ledger", "Options", "Part", "Result", "Summary", "find_part", "manifest_sources", "merge", "predict_files", "without_masks"]
