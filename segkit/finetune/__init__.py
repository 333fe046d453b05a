"""Finetuning: from a folder of pictures and masks to a model, with settings that are derived from them, and its score on cases that it never saw.

The run's folder afterwards holds what `segkit.train` leaves there, and::

    RUN/
    ├── finetune.json        what was asked for: `--resume` goes by it
    ├── config.yaml          all settings, each with its reason; segkit train takes it as it is
    ├── manifest.csv         the pairs, their sides and groups
    ├── splits.json          the same for people: who is on which side, what is left out, and why
    ├── check.json           what segkit check found
    ├── measurements.json    the data set in numbers
    ├── settings.json        setting, value, reason
    ├── smoke.json           how well a few pictures were learnt by heart
    ├── start.json           with --from: what became of each tensor and class
    ├── tuning.csv           what mirror images and tidying were worth on the validation cases
    ├── evidence.npz         what these said of how sure to be
    ├── test/                of each case that was never trained on the mask, the score, and how sure the model was
    ├── report.html          how good, for whom, and where it fails
    ├── data/                a clean copy, where training could not read the masks as they are
    └── fold0/, fold1/, …    with --folds, a run each; model.safetensors above is their ensemble
"""

from segkit.finetune.plan import Plan, Request
from segkit.finetune.prepare import prepare
from segkit.finetune.run import Result, finetune

__all__ = ["Plan", "Request", "Result", "finetune", "prepare"]
