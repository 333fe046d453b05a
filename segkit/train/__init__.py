"""Training: draw patches, step, validate by walking `predict` over whole pictures, keep the best.

The run's folder afterwards::

    RUN/
    ├── model.safetensors    the best weights so far, with their card: what predict takes
    ├── state.pt             all that --resume needs
    ├── run.json             settings, versions, machine, data, the weights that it began with, scores
    ├── log.csv              a row a validation
    ├── curves.png           the same, drawn
    ├── validation/          overlays of a few validation pictures, the truth outlined in white
    └── tensorboard/         the same for TensorBoard, with train.tensorboard
"""

from segkit.train.record import Outcome, Report, Row, Silence, Watcher
from segkit.train.run import train

__all__ = ["Outcome", "Report", "Row", "Silence", "Watcher", "train"]
