"""README's promise: a gate of one's own is a class and a line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from segkit.config import validate_run
from segkit.models import build_model
from segkit.models.gates import GATES

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_gate_of_the_readme_works_in_any_network_and_in_yaml() -> None:
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "GATES[" in block]
    names: dict[str, Any] = {}
    try:
        exec(compile(code, "README.md", "exec"), names)
        gates = [module for module in names["network"].modules() if isinstance(module, names["MeanGate"])]
        assert len(gates) == 4                                            # one for each skip
        network = build_model(validate_run({"model": {"skip": "mean", "feature_scale": 16}}, "test").model)
        network(torch.randn(2, 3, 33, 47)).square().mean().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
    finally:
        GATES.pop("mean", None)
