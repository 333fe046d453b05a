"""The weights that a light encoder starts from."""

from __future__ import annotations

from torch import nn


def initialise_fan_out(network: nn.Module) -> None:
    """Kaiming-normal convolutions (fan-out; He 2015, https://arxiv.org/abs/1502.01852) with biases 0; norms start at 1 and 0 by themselves."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
