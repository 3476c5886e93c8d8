"""Which layers relevance passes, and how: the built-in rules and those that users register.

Convolutions and linear layers take the composite's rules (explain.furnish); what is here are all
other layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from busaug.errors import InputError
from busaug.models.resnet import Add

RelevanceRule = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
"""rule(layer, inputs, outputs, relevance of the outputs) -> relevance of the inputs."""
Rule = Literal["gradient", "pass"] | RelevanceRule

_OF_THE_COMPOSITE = (nn.Conv2d, nn.Linear)
# Layers whose ordinary backward pass already is their rule in the form R = a G (explain.rules).
_rules: dict[type[nn.Module], Rule] = dict.fromkeys(
    (
        Add,
        nn.AdaptiveAvgPool2d,
        nn.AvgPool2d,
        nn.Dropout,
        nn.Dropout2d,
        nn.Flatten,
        nn.Identity,
        nn.LeakyReLU,
        nn.MaxPool2d,
        nn.ReLU,
    ),
    "gradient",
)


def register_rule(layer_type: type[nn.Module], rule: Rule) -> None:
    """Let relevance pass layers of a type, and of its subclasses, in all later explanations.

    A layer takes the rule of the nearest of its base classes that has one. A registered layer is
    one unit: its children need no rules. Registering a type again replaces its rule.

    Args:
        layer_type: The class of the layer. Convolutions and linear layers have the composite's
            rules, but a subclass of theirs may be registered.
        rule: How relevance goes from outputs y to inputs x, both of shape (B, ...):

            - ``"gradient"``, R_x = x dL/dx for R_y = y dL/dy: the layer's own backward pass.
              Conserves where f(x) = J(x) x: piecewise linear layers without a bias (LeakyReLU,
              pooling, upsampling, concatenation), of any number of inputs.
            - ``"pass"``, R_x = R_y: for activations of one tensor, element by element, with
              f(0) = 0 (SiLU, GELU, Hardswish).
            - a function ``rule(layer, inputs, outputs, relevance)`` that returns the relevance of
              ``inputs``, in their shape and dtype, for layers of one tensor. Where an input is zero
              its relevance counts as zero. It must not write to what it is given.

    Raises:
        InputError: a type that is no nn.Module, a convolution or linear layer, an unknown rule.

    What a rule fails to conserve shows in ``Record.sums`` from that layer on.
    """
    given: object = layer_type
    if not (isinstance(given, type) and issubclass(given, nn.Module)):
        raise InputError(
            f"register_rule: {layer_type!r} is no layer type", remedy="Give a class of nn.Module"
        )
    if layer_type in (nn.Module, *_OF_THE_COMPOSITE):
        raise InputError(
            f"register_rule: {layer_type.__name__} cannot have a rule of its own",
            remedy="Register the subclass that your model uses, or choose another composite",
        )
    if not callable(rule) and rule not in ("gradient", "pass"):
        raise InputError(
            f"register_rule: unknown rule {rule!r}",
            remedy="Use 'gradient', 'pass' or a function (layer, inputs, outputs, relevance)",
        )
    _rules[layer_type] = rule


def rule_of(layer: nn.Module) -> Rule | None:
    """The rule of a layer; None where it has none, or the composite's."""
    for base in type(layer).__mro__:
        if base in _rules:
            return _rules[base]
        if base in _OF_THE_COMPOSITE:
            return None
    return None


def by_rule(layer: nn.Module, rule: Rule) -> nn.Module:
    """``layer``, or what stands in its place, whose backward pass hands on G by ``rule``."""
    if rule == "gradient":
        return layer
    return RuledLayer(layer, _pass if rule == "pass" else rule)


def _pass(layer: nn.Module, inputs: Tensor, outputs: Tensor, relevance: Tensor) -> Tensor:
    return relevance


class RuledLayer(nn.Module):
    """A layer of one tensor whose relevance follows a function."""

    def __init__(self, layer: nn.Module, rule: RelevanceRule) -> None:
        super().__init__()
        self.layer, self.rule = layer, rule

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Ruled.apply(x, self.layer, self.rule)  # type: ignore[no-untyped-call]
        return out


class _Ruled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module, rule: RelevanceRule) -> Tensor:
        out: Tensor = layer(x.clone())  # a copy, for layers that work in place
        ctx.save_for_backward(x, out)
        ctx.layer, ctx.rule = layer, rule
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, out = ctx.saved_tensors
        relevance = ctx.rule(ctx.layer, x, out, out * grad_output)
        if relevance.shape != x.shape or relevance.dtype != x.dtype:
            raise InputError(
                f"the rule of {type(ctx.layer).__name__} returned {relevance.dtype} of shape "
                f"{tuple(relevance.shape)} for inputs {x.dtype} of shape {tuple(x.shape)}",
                remedy="Return the relevance of the inputs, element for element",
            )
        # R = x G. An input of zero has no share in a sum of x w, so none is lost with it.
        return torch.where(x == 0, 0.0, relevance / torch.where(x == 0, 1.0, x)), None, None
