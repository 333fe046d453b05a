"""What a network costs: parameters, multiply-adds and memory, of the whole and of each of its modules.

All but the parameters follows from the operations of one pass. It runs where the weights are: build the network within ``torch.device("meta")``,
where tensors have shapes but no values, and it costs next to nothing.
A multiply-add is one product and its addition in a convolution, a matrix product or attention; norms, activations and interpolation are not counted.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode  # what torch's own counters stand on; it has no public name
from torch.utils.flop_counter import flop_registry, sdpa_flop

Shape = tuple[int, ...]

FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""Attention in one operation: the result, and a number for each query that the way back needs. The score of each pair is never held."""

FLOPS: dict[Any, Callable[..., int]] = {**flop_registry, FUSED: sdpa_flop}
"""Operation -> its floating-point operations, two for each multiply-add: torch's own formulas, and the one that they lack."""


@dataclass(frozen=True)
class Layer:
    """One module of a network.

    name : where it stands in the network, "decoder.0.up"; "" for the network itself
    kind : its class
    depth : how many modules are around it; lists of modules, which do nothing themselves, don't count
    outputs : shape of each tensor that it returned; none where it was not called, as heads that only training uses
    parameters, multiply_adds : its own and those of all modules in it; what is called twice works twice
    """

    name: str
    kind: str
    depth: int
    outputs: tuple[Shape, ...]
    parameters: int
    multiply_adds: int


def count_parameters(module: nn.Module) -> int:
    """Trainable numbers; the running means of batch norms are none."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_multiply_adds(module: nn.Module, shape: Shape) -> int:
    """Of one pass of a (B, C, H, W) picture in eval mode."""
    with _Tally() as tally:
        _score(module, shape)
    return sum(tally.own.values())


def trace_layers(module: nn.Module, shape: Shape) -> list[Layer]:
    """All modules, the network itself first, as they do one pass of a (B, C, H, W) picture in eval mode.

    Where a module is not called but lends its weights to the one around it, the multiply-adds are that one's.
    """
    with _Tally() as tally, _followed(module, tally) as outputs:
        _score(module, shape)
    layers = []
    depths = {"": 0}
    for name, part in module.named_modules():
        above = depths[name.rpartition(".")[0]]
        depths[name] = above
        if name in outputs or not isinstance(part, (nn.ModuleList, nn.ModuleDict)):
            depths[name] = above + 1
            layers.append(Layer(name, type(part).__name__, above, outputs.get(name, ()), count_parameters(part), tally.within(name)))
    return layers


def peak_bytes(module: nn.Module, shape: Shape) -> int:
    """The most that a (B, C, H, W) picture and the maps that follow from it take at one time of a pass in eval mode.

    The weights come on top, and what a convolution borrows for its work.
    """
    with _Memory() as memory:
        _score(module, shape)
    return memory.peak


def training_peak_bytes(module: nn.Module, shape: Shape) -> int:
    """The same for a pass in train mode and the way back, with the maps that are kept for it and the gradients.

    The weights come on top, what the optimizer remembers, the loss, and what a convolution borrows for its work.
    """
    network = copy.deepcopy(module).train()                            # it is left with gradients and other running means
    with _Memory() as memory, _FusedAttention(), torch.inference_mode(False), torch.enable_grad():
        outputs = _tensors(network(_picture(network, shape)))
        torch.autograd.backward(outputs, [torch.zeros_like(logits) for logits in outputs])
    return memory.peak


def _score(module: nn.Module, shape: Shape) -> None:
    """One pass in eval mode; the module is left in the modes that it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with _FusedAttention(), torch.inference_mode(False), torch.no_grad():      # inference mode would show operations without a formula
            module(_picture(module, shape))
    finally:
        for part, training in modes.items():
            part.training = training


def _picture(module: nn.Module, shape: Shape) -> Tensor:
    """Of zeros, where the weights are and of their type."""
    weight = next(module.parameters(), torch.empty(0))
    return torch.zeros(shape, device=weight.device, dtype=weight.dtype)


def _tensors(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else [tensor for part in output for tensor in _tensors(part)]


class _FusedAttention(TorchFunctionMode):
    """Attention on shapes is done as it is on values: in one operation. torch itself does it on shapes in steps, with all scores between them."""

    def __torch_function__(self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return (_attend if func is F.scaled_dot_product_attention else func)(*args, **(kwargs or {}))


def _attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False, **more: Any) -> Tensor:
    """`F.scaled_dot_product_attention`; what torch does in steps on values too stays as it is: dropout, no axis of heads, values of another width."""
    in_steps = dropout_p > 0 or query.ndim != 4 or query.shape[-1] != value.shape[-1]
    if in_steps or not query.is_meta:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, **more)
    result: Tensor = FUSED(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=more.get("scale"))[0]
    return result


class _Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up multiply-adds, for each module those of its own.

    at_work : names of the modules that are in the middle of their call, the innermost last
    own : name -> multiply-adds outside of any module within
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.at_work = [""]
        self.own: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        formula = FLOPS.get(func.overloadpacket)
        if formula is not None:
            self.own[self.at_work[-1]] += formula(*args, **kwargs, out_val=result) // 2
        return result

    def within(self, name: str) -> int:
        """Its own, and those of all modules in it."""
        return sum(count for inner, count in self.own.items() if not name or inner == name or inner.startswith(f"{name}."))


@contextmanager
def _followed(module: nn.Module, tally: _Tally) -> Iterator[dict[str, tuple[Shape, ...]]]:
    """Within, the tally knows which module is at work; gives a dict that fills with the shapes that each returned, by its name."""
    names = {part: name for name, part in module.named_modules()}
    outputs: dict[str, tuple[Shape, ...]] = {}

    def enter(part: nn.Module, inputs: Any) -> None:
        tally.at_work.append(names[part])

    def leave(part: nn.Module, inputs: Any, output: Any) -> None:
        tally.at_work.pop()
        outputs[names[part]] = tuple(tuple(tensor.shape) for tensor in _tensors(output))

    hooks = [hook for part in names for hook in (part.register_forward_pre_hook(enter), part.register_forward_hook(leave))]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


class _Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what operations made: who still holds it, and how much that was at most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self.held: dict[StorageWeakRef, int] = {}                      # -> bytes

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_storage(arg) for arg in args if isinstance(arg, Tensor)}
        self.held = {storage: size for storage, size in self.held.items() if not storage.expired()}  # type: ignore[no-untyped-call]
        for made in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(made, Tensor) and _storage(made) not in given:    # a view, and what was changed in place, is not new
                self.held[_storage(made)] = made.untyped_storage().nbytes()
        self.peak = max(self.peak, sum(self.held.values()))
        return result


def _storage(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
