"""A network written down as a graph (ONNX), which other runtimes than torch read.

https://onnx.ai. A graph is a list of operations and their weights: nothing in it is code that its reader would run.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit import __version__
from segkit.engines.extras import require
from segkit.engines.torch_engine import fold_batch_norms
from segkit.errors import SettingsError

OPSET = 18
"""Version of ONNX's set of operations."""

PICTURE, LOGITS = "picture", "logits"
"""Names of what goes into a graph and comes out."""

CARD = "segkit"
"""The name in a graph's metadata under which it tells what it is."""

LARGEST_BYTES = 2**31 - 2**20
"""Of weights, that a file of ONNX's holds: its format counts to 2**31, and the operations need some room."""


def export_graph(network: nn.Module) -> bytes:
    """The network in eval mode and float32, batch norms folded, as one ONNX file that takes (N, C, h, w) of any N, and any h and w that are
    multiples of the network's largest stride: `grow` makes them so.

    By torch's TorchScript exporter (``dynamo=False``), which needs no package but onnx; its successor needs onnxscript too.

    Raises
    ------
    SettingsError
        The network does something that ONNX, or this exporter, has no word for, or is too large for one file.
    """
    size = sum(tensor.numel() * 4 for _, tensor in _tensors(network))
    if size > LARGEST_BYTES:
        raise SettingsError(f"this network has {size / 2**30:.1f} GiB of weights in float32, and a graph holds less than 2; choose the engine torch")
    folded = fold_batch_norms(copy.deepcopy(network).cpu().float().eval())
    written, sizes = io.BytesIO(), {0: "n", 2: "h", 3: "w"}
    names: dict[str, Any] = {"input_names": [PICTURE], "output_names": [LOGITS], "dynamic_axes": {PICTURE: sizes, LOGITS: sizes}}
    torch.onnx.register_custom_op_symbolic("aten::channel_shuffle", _channel_shuffle, OPSET)  # type: ignore[attr-defined]
    torch._C._jit_set_onnx_log_output_stream("stderr")                  # where it fails it prints the graph, and stdout is for data
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # branches on the size: see `grow`
            warnings.simplefilter("ignore", DeprecationWarning)  # of the exporter
            torch.onnx.export(folded, (_example(network),), written, dynamo=False, opset_version=OPSET, **names)  # type: ignore[arg-type]
    except (torch.onnx.errors.OnnxExporterError, torch.onnx.errors.UnsupportedOperatorError) as error:
        raise SettingsError(f"this network can't be written as a graph ({str(error).splitlines()[0]}); choose the engine torch") from error
    return written.getvalue()


class AnySize(nn.Module):
    """(N, C, h, w) of any size -> (N, K, h, w), by a network that wants multiples: `grow` in operations that a graph can hold."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self._multiple = network, multiple_of(network)

    def forward(self, batch: Tensor) -> Tensor:
        height, width = batch.shape[-2:]
        grown = self._grow(self._grow(batch, 3), 2)
        return self.network(grown)[..., :height, :width]

    def _grow(self, batch: Tensor, axis: int) -> Tensor:
        length: Any = torch._shape_as_tensor(batch)[axis]               # traced, where a plain size would be a constant of the graph
        more = (self._multiple - length % self._multiple) % self._multiple
        place, last = torch.arange(length + more), length - 1
        mirrored = last - (place - last).abs()                          # 0 1 2 3 2 1 ...
        return batch.index_select(axis, torch.where(more < length, mirrored, place.minimum(last)))


def with_card(graph: bytes, card: Mapping[str, Any]) -> bytes:
    """The graph with a card in its metadata, as JSON under `CARD`; MissingExtraError without onnx."""
    onnx = require("onnx", "onnx")
    model = onnx.load_from_string(graph)
    onnx.helper.set_model_props(model, {CARD: json.dumps(card)})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def graph_key(network: nn.Module) -> str:
    """sha256 of all that the graph follows from: the versions, the modules' code, what each was set to, and every weight."""
    digest = hashlib.sha256(repr((__version__, torch.__version__, OPSET)).encode())
    for file in _sources(network):
        digest.update(file.read_bytes())
    for path, module in network.named_modules():
        digest.update(f"{path} {type(module)} {_set_to(module)}\n".encode())
    for name, tensor in _tensors(network):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def grow(batch: Tensor, shape: tuple[int, int]) -> Tensor:
    """(N, C, h, w) grown at its ends to (H, W): mirrored where it is long enough, its last line repeated otherwise.

    The networks do so themselves, but the choice between the two is no operation that a graph could hold.
    """
    height, width = batch.shape[-2:]
    for sides, length in (((0, shape[1] - width, 0, 0), width), ((0, 0, 0, shape[0] - height), height)):
        if any(sides):
            batch = F.pad(batch, sides, mode="reflect" if max(sides) < length else "replicate")
    return batch


def multiple_of(network: nn.Module) -> int:
    """What height and width of a batch must be multiples of."""
    return int(getattr(network, "multiple", 1))


def _channel_shuffle(graph: Any, x: Any, groups: Any) -> Any:
    """The one operation of segkit's networks that the exporter lacks: (N, groups · c, h, w) -> the same, a channel of each group in turn.

    In shapes for ONNX, 0 is "as it is" and -1 "what is left"; c itself is not known here.
    """

    def reshaped(x: Any, *shape: int) -> Any:
        return graph.op("Reshape", x, graph.op("Constant", value_t=torch.tensor(shape)))

    last = graph.op("Transpose", reshaped(x, 0, 0, -1), perm_i=[0, 2, 1])            # (N, h · w, groups · c)
    count = torch.onnx.symbolic_helper._get_const(groups, "i", "groups")  # type: ignore[no-untyped-call]
    apart = reshaped(last, 0, 0, count, -1)                                           # (N, h · w, groups, c)
    return graph.op("Reshape", graph.op("Transpose", apart, perm_i=[0, 3, 2, 1]), graph.op("Shape", x))    # (N, c, groups, h · w) before


def _example(network: nn.Module) -> Tensor:
    """A batch to follow through the network; no two of its sizes are alike."""
    stem = next(weight for weight in network.parameters() if weight.ndim == 4)
    multiple = multiple_of(network)
    height, width = (-(-length // multiple) * multiple for length in (64, 96))
    return torch.zeros(2, stem.shape[1], height, width)


def _sources(network: nn.Module) -> list[Path]:
    """The files with the code of the network's modules; torch's own is known by its version."""
    kinds = {kind for module in network.modules() for kind in type(module).__mro__}
    modules = {kind.__module__ for kind in kinds if kind.__module__.partition(".")[0] not in ("torch", "builtins", "typing")}
    files = {getattr(sys.modules.get(name), "__file__", None) for name in modules}
    return sorted(Path(file) for file in files if file)


def _set_to(module: nn.Module) -> str:
    """What was chosen when the module was made: factor=2, strides=(2, 4, 8)."""
    chosen = {key: value for key, value in vars(module).items() if not key.startswith("_") and key != "training"}
    return re.sub(r" at 0x[0-9a-f]+", "", repr(chosen))


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)
