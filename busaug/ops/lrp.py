"""Relevance rules as modified backward passes.

Relevance is carried as R = a * G, activation times a modified gradient G. Then ReLU, max pooling
and average pooling pass G on exactly as autograd does, and a residual sum hands G to both branches
unchanged, which is the proportional split x_k R / (x_1 + x_2) without any division. Only layers
with weights differ from the ordinary backward pass; those are here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input

STABILISER = 1e-9


class ConvShape(NamedTuple):
    """Stride and padding of a convolution, vertical and horizontal."""

    stride: tuple[int, int]
    padding: tuple[int, int]


def _stabilised(z: Tensor, epsilon: float) -> Tensor:
    return z + torch.where(z >= 0, epsilon, -epsilon)


class _AlphaBeta(torch.autograd.Function):
    """Forward: the convolution. Backward: G of the inputs under the alpha-beta rule, zero bias."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, weight: Tensor, bias: Tensor, shape: ConvShape, alpha: float
    ) -> Tensor:
        linear = _conv(a, weight, shape)
        ctx.save_for_backward(a, weight, linear, bias)
        ctx.shape, ctx.alpha = shape, alpha
        return linear + bias.view(1, -1, 1, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        a, weight, linear, bias = ctx.saved_tensors
        relevance = (linear + bias.view(1, -1, 1, 1)) * grad_output
        w_pos, w_neg = weight.clamp_min(0), weight.clamp_max(0)
        # Both parts are sums of their own, not differences from the output: a unit without one
        # part must find an exact zero there.
        z_pos, z_neg = (
            _conv(a.clamp_min(0), w_pos, ctx.shape),
            _conv(a.clamp_min(0), w_neg, ctx.shape),
        )
        signed = bool((a < 0).any())
        if signed:
            a_neg = a.clamp_max(0)
            z_pos = z_pos + _conv(a_neg, w_neg, ctx.shape)
            z_neg = z_neg + _conv(a_neg, w_pos, ctx.shape)
        alpha, beta = ctx.alpha, ctx.alpha - 1.0
        # A unit without one part passes everything through the other, or it would leak.
        only_pos, only_neg = z_neg == 0, z_pos == 0
        share_pos = torch.where(only_pos, 1.0, torch.where(only_neg, 0.0, alpha))
        share_neg = torch.where(only_neg, 1.0, torch.where(only_pos, 0.0, -beta))
        s_pos = share_pos * relevance / _stabilised(z_pos, STABILISER)
        s_neg = share_neg * relevance / _stabilised(z_neg, STABILISER)
        stacked = torch.cat([s_pos, s_neg], dim=1)
        grad = _back(a, torch.cat([w_pos, w_neg]), stacked, ctx.shape)
        if signed:
            on_negative = _back(a, torch.cat([w_neg, w_pos]), stacked, ctx.shape)
            grad = torch.where(a < 0, on_negative, grad)
        return grad, None, None, None, None


class _Epsilon(torch.autograd.Function):
    """Forward: the linear layer. Backward: G of the inputs under the epsilon rule, zero bias."""

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
        s = (linear + bias) * grad_output / _stabilised(linear, ctx.epsilon)
        return s @ weight, None, None, None


def alpha_beta_conv(
    a: Tensor, weight: Tensor, bias: Tensor, shape: ConvShape, alpha: float
) -> Tensor:
    """conv2d(a) + bias whose backward pass is the alpha-beta rule with beta = alpha - 1.

    a (B, C, H, W), weight (N, C, k, k), bias (N,); float32 or float64.
    """
    out: Tensor = _AlphaBeta.apply(a, weight, bias, shape, alpha)  # type: ignore[no-untyped-call]
    return out


def epsilon_linear(a: Tensor, weight: Tensor, bias: Tensor, epsilon: float = 1e-6) -> Tensor:
    """A W^T + bias, (B, I) to (B, O), whose backward pass is the epsilon rule."""
    out: Tensor = _Epsilon.apply(a, weight, bias, epsilon)  # type: ignore[no-untyped-call]
    return out


def z_box_conv(
    x: Tensor, weight: Tensor, low: Tensor, high: Tensor, relevance: Tensor, shape: ConvShape
) -> Tensor:
    """Relevance of inputs x with low <= x <= high, under the z^B rule of a first convolution.

    x (B, C, H, W); low, high (1, C, 1, 1); relevance (B, N, h, w) of the outputs.
    """
    w_pos, w_neg = weight.clamp_min(0), weight.clamp_max(0)
    low, high = low.expand_as(x[:1]), high.expand_as(x[:1])
    lifted = _conv(low, w_pos, shape) + _conv(high, w_neg, shape)
    s = relevance / _stabilised(_conv(x, weight, shape) - lifted, STABILISER)
    plain, on_low, on_high = (_back(x, w, s, shape) for w in (weight, w_pos, w_neg))
    return x * plain - low * on_low - high * on_high


def _conv(a: Tensor, weight: Tensor, shape: ConvShape) -> Tensor:
    return functional.conv2d(a, weight, None, shape.stride, shape.padding)


def _back(a: Tensor, weight: Tensor, s: Tensor, shape: ConvShape) -> Tensor:
    out: Tensor = conv2d_input(a.shape, weight, s, shape.stride, shape.padding)
    return out
