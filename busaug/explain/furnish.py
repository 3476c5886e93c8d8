"""A folded model with its layers replaced by relevance rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn

from busaug.errors import InputError
from busaug.explain.rules import AlphaBetaConv, EpsilonLinear, RectifiedSum, ZBoxConv
from busaug.explain.structure import Structure, structure_of
from busaug.models.resnet import Add
from busaug.ops.lrp_layers import AlphaBetaRule

# Layers whose ordinary backward pass already is their rule in the form R = a G (explain.rules).
PASSIVE = (Add, nn.ReLU, nn.Identity, nn.Dropout, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def furnish(model: nn.Module, rule: AlphaBetaRule, kept: Collection[str]) -> ZBoxConv:
    """Replace layers by their rules, in place; the first convolution's rule is returned.

    The first convolution gets the z^B rule, others ``rule``, linear layers the epsilon rule.
    Modules named in ``kept`` still return what they did. Raises InputError for a layer without a
    rule, naming it.
    """
    structure = structure_of(model)
    first: ZBoxConv | None = None
    rules: dict[str, AlphaBetaConv] = {}
    for name, module in list(_leaves(model)):
        if isinstance(module, nn.Conv2d):
            if first is None:
                first = ZBoxConv(module)
                _replace(model, name, first)
            else:
                nonnegative = name in structure.nonnegative
                rules[name] = AlphaBetaConv(module, rule, nonnegative=nonnegative)
                _replace(model, name, rules[name])
        elif isinstance(module, nn.Linear):
            _replace(model, name, EpsilonLinear(module))
        elif isinstance(module, nn.ReLU):
            module.inplace = False
        elif not isinstance(module, PASSIVE):
            raise InputError(
                f"layer {name} of type {type(module).__name__} has no relevance rule",
                remedy="Add its type to PASSIVE in busaug.explain.furnish if R = a G holds",
            )
    if first is None:
        raise InputError("the model has no convolution", remedy="Give a convolutional classifier")
    _rectify(model, structure, rules, kept)
    return first


def _rectify(
    model: nn.Module, structure: Structure, rules: dict[str, AlphaBetaConv], kept: Collection[str]
) -> None:
    """Let a RectifiedSum do the additions before a ReLU wherever their results go nowhere else."""
    for source, relu in structure.rectified.items():
        if source in rules and source not in kept:
            _replace(model, relu, RectifiedSum(rules[source], masks=False))
        elif source in structure.summed and source not in kept:
            names = [name for name in structure.summed[source] if name not in kept]
            _replace(model, source, RectifiedSum(*(rules[name] for name in names), masks=True))
            _replace(model, relu, nn.Identity())


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module without children, in the order of their registration."""
    return ((name, module) for name, module in model.named_modules() if not any(module.children()))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
