"""What follows what in a model, read from its traced graph.

Relevance rules can save passes over memory where a layer's output goes to a single ReLU, and half
of a convolution's work where its input cannot be negative. A model that cannot be traced, because
its forward pass depends on the data, is explained without these savings.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import torch
from torch import fx, nn
from torch.nn import functional

from busaug.explain.registry import rule_of
from busaug.models.resnet import Add

_TRANSPARENT = (nn.Identity, nn.Dropout)
_CHECKED = (nn.ReLU, nn.LeakyReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_RELU_FUNCTIONS = (torch.relu, functional.relu)
_SIGN_KEEPING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, *_TRANSPARENT)


@dataclasses.dataclass(frozen=True)
class Structure:
    """Names of modules, as ``named_modules`` has them."""

    nonnegative: frozenset[str] = frozenset()
    """Modules whose input is never below zero."""
    rectified: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """A convolution or an Add to the ReLU that alone takes its output."""
    summed: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """An Add to the convolutions whose output it alone takes."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(m.children()) or rule_of(m) is not None


def structure_of(model: nn.Module) -> Structure:
    """The structure of ``model`` in eval mode; an empty one where it cannot be traced."""
    try:
        graph = _Tracer().trace(model)
    except Exception:  # whatever a forward pass does with a stand-in for a tensor
        return Structure()
    return _Reader(model, graph).structure()


def conserving_layers(model: nn.Module) -> tuple[str, ...]:
    """Activations and pools whose output all relevance goes through, in forward order.

    The sum of their relevance is the logit, unlike that of a layer inside one branch of a residual
    sum. None for a model that cannot be traced.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception:  # as above
        return ()
    return _Reader(model, graph).conserving()


class _Reader:
    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        self._modules = dict(model.named_modules())
        self._nodes = list(graph.nodes)
        self._calls = Counter(node.target for node in self._nodes if node.op == "call_module")

    def structure(self) -> Structure:
        rectified: dict[str, str] = {}
        summed: dict[str, tuple[str, ...]] = {}
        for node in self._nodes:
            if self._is(node, nn.ReLU):
                source = self._only_source(node, 0, nn.Conv2d, Add)
                if source is not None:
                    rectified[source] = str(node.target)
            elif self._is(node, Add):
                sources = (self._only_source(node, index, nn.Conv2d) for index in (0, 1))
                summed[str(node.target)] = tuple(name for name in sources if name is not None)
        return Structure(self._nonnegative(), rectified, summed)

    def conserving(self) -> tuple[str, ...]:
        """Nodes that no edge of the graph jumps over, of the types worth a line each."""
        place = {node: index for index, node in enumerate(self._nodes)}
        names: list[str] = []
        reach = 0  # the last node that anything seen so far is passed to
        for index, node in enumerate(self._nodes):
            alone = reach <= index and bool(node.users)
            reach = max([reach, *(place[user] for user in node.users)])
            once = self._calls[node.target] == 1
            if alone and once and self._is(node, *_CHECKED):
                names.append(str(node.target))
        return tuple(names)

    def _is(self, node: fx.Node, *types: type[nn.Module]) -> bool:
        return node.op == "call_module" and isinstance(self._modules[str(node.target)], types)

    def _only_source(self, node: fx.Node, index: int, *types: type[nn.Module]) -> str | None:
        """The module that made an argument of ``node``, if both are called once and for each other.

        What lies between them may only pass on what it gets.
        """
        source = node.args[index]
        while isinstance(source, fx.Node) and len(source.users) == 1:
            if self._is(source, *types):
                once = self._calls[source.target] == self._calls[node.target] == 1
                return str(source.target) if once else None
            if not self._is(source, *_TRANSPARENT):
                return None
            source = source.args[0]
        return None

    def _nonnegative(self) -> frozenset[str]:
        """Modules whose inputs come, at every call, from a ReLU through nothing but pools."""
        positive: set[fx.Node] = set()
        fed: dict[str, bool] = {}
        for node in self._nodes:
            sources = node.all_input_nodes
            from_positive = bool(sources) and all(source in positive for source in sources)
            if node.op == "call_module":
                name = str(node.target)
                fed[name] = fed.get(name, True) and from_positive
            rectifies = node.target in _RELU_FUNCTIONS or self._is(node, nn.ReLU)
            if rectifies or (from_positive and self._is(node, Add, *_SIGN_KEEPING)):
                positive.add(node)
        return frozenset(name for name, always in fed.items() if always)
