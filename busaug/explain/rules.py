"""Relevance rules as layers: the forward pass is the layer's, the backward pass is the rule.

Relevance is carried as R = a G, activation times a modified gradient G. Then ReLU, max pooling and
average pooling pass G on exactly as autograd does, and a residual sum hands G to both branches
unchanged, which is the proportional split x_k R / (x_1 + x_2) without any division. Only layers
with weights differ from the ordinary backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from busaug.errors import InputError
from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from busaug.ops import lrp_steps
from busaug.ops.linear_map import ConvShape
from busaug.ops.lrp_layers import AlphaBetaLayer, AlphaBetaRule, ZBoxLayer
from busaug.ops.lrp_steps import Factor
from busaug.reference.lrp import stabilise


class AlphaBetaConv(nn.Module):
    """A convolution under the alpha-beta rule."""

    def __init__(self, conv: nn.Conv2d, rule: AlphaBetaRule, *, nonnegative: bool) -> None:
        """Prepare ``conv``; ``nonnegative`` promises that no input is below zero."""
        super().__init__()
        self.layer = AlphaBetaLayer(
            conv.weight, conv.bias, shape_of(conv), rule, nonnegative=nonnegative
        )
        self.adds_bias = True
        """False where a RectifiedSum does so."""
        self.masks = False
        """Whether G arrives from a ReLU that leaves it to this layer to drop what was negative."""

    def forward(self, a: Tensor) -> Tensor:
        kind: Factor = "rectified_gradient" if self.masks else "gradient"
        linear: Tensor = _AlphaBeta.apply(a, self.layer, kind)  # type: ignore[no-untyped-call]
        return linear + self.layer.bias.view(1, -1, 1, 1) if self.adds_bias else linear


class _AlphaBeta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, layer: AlphaBetaLayer, kind: Factor) -> Tensor:
        linear = layer.linear(a)
        ctx.save_for_backward(a, linear)
        ctx.layer, ctx.kind = layer, kind
        return linear

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        a, linear = ctx.saved_tensors
        return ctx.layer.propagate(a, linear, grad_output, ctx.kind), None, None


class RectifiedSum(nn.Module):
    """max(sum of inputs + biases, 0) in one pass over memory, for convolutions without theirs.

    In the place of the ReLU behind one convolution, or of a residual sum before its ReLU.
    """

    def __init__(self, *convolutions: AlphaBetaConv, masks: bool) -> None:
        """Take over the biases. ``masks`` false leaves it to the one convolution to drop G."""
        super().__init__()
        for conv in convolutions:
            conv.adds_bias, conv.masks = False, not masks
        self.biases = [conv.layer.bias for conv in convolutions]
        self.masks = masks

    def forward(self, left: Tensor, right: Tensor | None = None) -> Tensor:
        bias = sum(self.biases, start=left.new_zeros(left.shape[1]))
        out: Tensor = _RectifiedSum.apply(left, right, bias, self.masks)  # type: ignore[no-untyped-call]
        return out


class _RectifiedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor | None, bias: Tensor, masks: bool) -> Tensor:
        out = lrp_steps.rectified_sum(left, right, bias)
        ctx.save_for_backward(out if masks else None)
        ctx.is_sum = right is not None
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        (out,) = ctx.saved_tensors
        if out is not None:
            grad_output = torch.ops.aten.threshold_backward(grad_output, out, 0)
        return grad_output, grad_output if ctx.is_sum else None, None, None


class EpsilonLinear(nn.Module):
    """A linear layer under the epsilon rule, R_i = sum_j z_ij R_j / (z_j + eps sign z_j)."""

    def __init__(self, linear: nn.Linear, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.linear, self.epsilon = linear, epsilon

    def forward(self, a: Tensor) -> Tensor:
        weight = self.linear.weight
        given: Tensor | None = self.linear.bias
        bias = weight.new_zeros(len(weight)) if given is None else given
        out: Tensor = _Epsilon.apply(a, weight, bias, self.epsilon)  # type: ignore[no-untyped-call]
        return out


class _Epsilon(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        linear = a @ weight.mT
        ctx.save_for_backward(weight, linear, bias)
        ctx.epsilon = epsilon
        return linear + bias

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        weight, linear, bias = ctx.saved_tensors
        s = (linear + bias) * grad_output / stabilise(linear, ctx.epsilon)
        return s @ weight, None, None, None


class ZBoxConv(nn.Module):
    """The first convolution, under the z^B rule for inputs in [0, 1] before normalisation.

    Its output is the leaf that G is propagated to.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        if conv.in_channels != len(IMAGENET_MEAN):
            raise InputError(
                f"the first convolution takes {conv.in_channels} channels",
                remedy="Give a model for three ImageNet-normalised channels",
            )
        mean = conv.weight.new_tensor(IMAGENET_MEAN).view(1, -1, 1, 1)
        std = conv.weight.new_tensor(IMAGENET_STD).view(1, -1, 1, 1)
        self.layer = ZBoxLayer(
            conv.weight, conv.bias, shape_of(conv), (0 - mean) / std, (1 - mean) / std
        )
        self.leaf: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            out = self.layer.apply(x)
        self.leaf = out.requires_grad_(True)
        return self.leaf


def shape_of(conv: nn.Conv2d) -> ConvShape:
    """Stride, padding and dilation; InputError for groups or another padding than zeros."""
    if conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise InputError(
            f"{conv} has no relevance rule",
            remedy="Give convolutions without groups, padded with a number of zeros",
        )
    (down, right), (above, beside), (rows, columns) = conv.stride, conv.padding, conv.dilation
    return ConvShape((down, right), (above, beside), (rows, columns))
