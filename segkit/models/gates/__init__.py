"""Gates on the skips: what an encoder map is put through before the decoder joins it.

A new gate is a class in a file of its own and a line in `GATES`. It is made with (skip channels, channels of the decoder's
map, how many times smaller that map is), and called with (skip, decoder's map); it returns the skip, of the same shape.
Its class may say which weakness of the U-Net it `answers`, and its `source`: `segkit models` shows both; and which layer it `weighs_with`,
which then starts small (see `segkit.models.blocks.initialise`).
"""

from __future__ import annotations

from torch import nn

from segkit.models.gates.attention import AttentionGate
from segkit.models.gates.cbam import CBAMGate
from segkit.models.gates.none import OpenGate
from segkit.models.gates.scse import SCSEGate, SCSEMaxGate
from segkit.models.gates.se import SEGate

GATES: dict[str, type[nn.Module]] = {
    "none": OpenGate,
    "se": SEGate,
    "cbam": CBAMGate,
    "scse": SCSEGate,
    "scse_max": SCSEMaxGate,
    "attention": AttentionGate,
}

__all__ = ["GATES", "AttentionGate", "CBAMGate", "OpenGate", "SCSEGate", "SCSEMaxGate", "SEGate"]
