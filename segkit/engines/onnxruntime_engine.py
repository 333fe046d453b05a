"""ONNX Runtime on the processor, https://onnxruntime.ai."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from segkit.engines.extras import require
from segkit.engines.graph import LOGITS, PICTURE
from segkit.engines.graph_engine import GraphEngine, Run
from segkit.engines.hardware import Precision


class ONNXRuntimeEngine(GraphEngine):
    """In float32: it has no convolution in bfloat16 for processors."""

    name = "onnxruntime"
    extra = "onnx"

    def precisions(self) -> tuple[Precision, ...]:
        return ("fp32",)

    def compile(self, graph: bytes) -> Run:
        return open_graph(graph)


def open_graph(graph: bytes) -> Run:
    """An ONNX graph made ready to run, on as many threads as torch has; MissingExtraError without onnxruntime."""
    runtime = require("onnxruntime", ONNXRuntimeEngine.extra)
    state = runtime.capi.onnxruntime_pybind11_state
    runtime.disable_telemetry_events()                  # only its builds for Windows have any
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return session.run([LOGITS], {PICTURE: batch})[0]
        except (state.Fail, state.RuntimeException) as error:  # among them what it says of memory, which torch says by this class
            raise RuntimeError(str(error)) from error

    return run
