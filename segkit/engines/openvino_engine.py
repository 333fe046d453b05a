"""OpenVINO: Intel's compiler for networks on processors, https://docs.openvino.ai."""

from __future__ import annotations

import sys
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segkit.engines.extras import require
from segkit.engines.graph_engine import GraphEngine, Run
from segkit.engines.hardware import Precision

HINTS: dict[str, str] = {"fp32": "f32", "bf16": "bf16"}


class OpenVINOEngine(GraphEngine):
    """In float32, or in bfloat16 where the processor has it; by itself where it has AMX, as with torch."""

    name = "openvino"
    extra = "openvino"
    in_flight = 2                                       # it has threads of its own: while it computes, this one gets the next batch ready

    def precisions(self) -> tuple[Precision, ...]:
        return ("fp32", "bf16") if "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else ("fp32",)

    def compile(self, graph: bytes) -> Run:
        core = _core()
        compiled = core.compile_model(core.read_model(graph), "CPU", self._settings())
        request, one_at_a_time = compiled.create_infer_request(), Lock()

        def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            with one_at_a_time:  # of several threads
                request.infer([batch], share_inputs=True)
                return request.get_output_tensor(0).data.copy()  # the next batch's logits will lie where these do

        return run

    def _settings(self) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,                # two runs side by side would be pinned to the same cores
        }


def _core() -> Any:
    """OpenVINO, imported without openvino_telemetry, which reports each import to its maker over the network unless it is told not to."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return require("openvino", OpenVINOEngine.extra).Core()
