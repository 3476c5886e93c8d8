"""A stand-in for CUDA graphs on the CPU: operations are recorded once and then done again.

As a graph does, it freezes what is no tensor, and gives every intermediate result the memory that
it had when it was recorded. What is outside of the dispatcher (the package's own kernels) is not
recorded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Records within its context, which leaves no trace: memory there before is as it was."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._own: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        for given in _tensors((args, kwargs)):
            place = given.untyped_storage().data_ptr()
            if place not in self._own and place not in self._before:
                whole = given.as_strided(
                    (given.untyped_storage().nbytes() // given.itemsize,), (1,), 0
                )
                self._before[place] = whole, whole.clone()
        out = func(*args, **kwargs)
        made = _tensors(out)
        self._own |= {t.untyped_storage().data_ptr() for t in made} - set(self._before)
        self._calls.append((func, args, kwargs, made))
        return out

    def rewind(self) -> None:
        for whole, before in self._before.values():
            whole.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, made in self._calls:
            for old, new in zip(made, _tensors(func(*args, **kwargs)), strict=True):
                if new.data_ptr() != old.data_ptr():
                    old.copy_(new)


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """Have ``torch.cuda`` record and replay with tapes; the list fills with those recorded."""
    tapes: list[Tape] = []

    class Graph:
        def replay(self) -> None:
            self.tape.replay()

    @contextlib.contextmanager
    def graph(made: Graph, **options: object) -> Iterator[None]:
        made.tape = Tape()
        tapes.append(made.tape)
        with made.tape:
            yield
        made.tape.rewind()

    stream = SimpleNamespace(wait_stream=lambda other: None)
    names = {
        "device": lambda device: contextlib.nullcontext(),
        "stream": lambda stream: contextlib.nullcontext(),
        "graph": graph,
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "CUDAGraph": Graph,
    }
    for name, part in names.items():
        monkeypatch.setattr(torch.cuda, name, part)
    return tapes
