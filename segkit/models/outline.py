"""Networks as outlines: shapes without values, so that the largest is built and run in no time and in no memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode  # what torch's own counters stand on; it has no public name


@contextmanager
def outline() -> Iterator[None]:
    """Within, networks are built and run on the meta device: nothing is allocated, started or computed, but all shapes are right."""
    with torch.device("meta"), _Remembered():
        yield


class Uncompiled(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode for code that is not compiled: to be told so, torch would import its compiler, a second and more."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # type: ignore[no-untyped-call]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Remembered(Uncompiled):
    """Asks each operation on the meta device only once what comes out.

    Many of its answers are worked out in Python (a batch norm's takes milliseconds), and networks ask the same hundreds of times.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[Any, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        effect = _effect(func)
        if effect == "in place" and args[0].is_meta:
            return args[0]                                             # it would change values, and there are none
        if effect != "new":
            return func(*args, **kwargs)
        question = (func, _without_storage(args), _without_storage(tuple(kwargs.items())))
        if question in self.answers:
            return _with_storage(self.answers[question])
        result = func(*args, **kwargs)
        if _has_no_values(result):
            self.answers[question] = _without_storage(result)
        return result


@functools.cache
def _effect(func: Any) -> str:
    """What an operation does to tensors: it changes one "in place", it works out a "new" one, or "other": it makes one of nothing, or gives a view."""
    aliases = [result.alias_info for result in func._schema.returns]
    if all(alias is None for alias in aliases):
        return "new" if any("Tensor" in str(argument.type) for argument in func._schema.arguments) else "other"
    keeps_shape = torch.Tag.inplace_view not in func.tags
    return "in place" if len(aliases) == 1 and aliases[0].is_write and keeps_shape else "other"


class _Layout(NamedTuple):
    """All that a tensor without values is."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def _has_no_values(result: Any) -> bool:
    """One or several tensors, all on the meta device."""
    tensors = [part for part in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(part, Tensor)]
    return bool(tensors) and all(tensor.is_meta for tensor in tensors)


def _without_storage(value: Any) -> Any:
    """Tensors become layouts, lists tuples."""
    if isinstance(value, Tensor):
        return _Layout(value.shape, value.stride(), value.dtype, value.device)
    return tuple(map(_without_storage, value)) if isinstance(value, (tuple, list)) else value


def _with_storage(value: Any) -> Any:
    """Layouts become new tensors."""
    if isinstance(value, _Layout):
        return torch.empty_strided(value.shape, value.stride, dtype=value.dtype, device=value.device)
    return tuple(map(_with_storage, value)) if isinstance(value, tuple) else value
