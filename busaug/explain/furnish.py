"""A folded model with its layers replaced by relevance rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn

from busaug.errors import InputError
from busaug.explain.registry import by_rule, rule_of
from busaug.explain.rules import AlphaBetaConv, EpsilonLinear, RectifiedSum, ZBoxConv
from busaug.explain.structure import Structure, structure_of
from busaug.ops.lrp_layers import AlphaBetaRule


def furnish(model: nn.Module, rule: AlphaBetaRule, kept: Collection[str]) -> ZBoxConv:
    """Replace layers by their rules, in place; the first convolution's rule is returned.

    The first convolution gets the z^B rule, others ``rule``, linear layers the epsilon rule, all
    else what is registered for it. Modules named in ``kept`` still return what they did. Raises
    InputError for a layer without a rule, naming it.
    """
    structure = structure_of(model)
    first: ZBoxConv | None = None
    rules: dict[str, AlphaBetaConv] = {}
    placed: dict[nn.Module, nn.Module] = {}
    for name, module in list(_units(model)):
        registered = rule_of(module)
        if registered is not None:
            if hasattr(module, "inplace"):
                setattr(module, "inplace", False)  # noqa: B010 - nn.Module's own types forbid it
            if module not in placed:  # one module may go by several names
                placed[module] = by_rule(module, registered)
            _replace(model, name, placed[module])
        elif module in placed:
            raise InputError(
                f"layer {name} of type {type(module).__name__} goes by another name as well",
                remedy="Give every convolution and linear layer one place: copy.deepcopy it",
            )
        elif isinstance(module, nn.Conv2d):
            if first is None:
                placed[module] = first = ZBoxConv(module)
            else:
                nonnegative = name in structure.nonnegative
                rules[name] = AlphaBetaConv(module, rule, nonnegative=nonnegative)
                placed[module] = rules[name]
            _replace(model, name, placed[module])
        elif isinstance(module, nn.Linear):
            placed[module] = EpsilonLinear(module)
            _replace(model, name, placed[module])
        else:
            kind = type(module).__name__
            raise InputError(
                f"layer {name} of type {kind} has no relevance rule",
                remedy=f"Register one: busaug.register_rule({kind}, 'gradient' or 'pass' or a "
                "function); help(busaug.register_rule) tells which",
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


def _units(parent: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every registered module and every other without children, in the order of registration.

    A module that goes by several names comes once for each of them.
    """
    for child, module in parent._modules.items():
        if module is None:
            continue
        name = prefix + child
        if rule_of(module) is not None or not module._modules:
            yield name, module
        else:
            yield from _units(module, f"{name}.")


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
