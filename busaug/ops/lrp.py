"""Layer-wise relevance propagation through one layer with weights, backwards, as a torch op."""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.errors import InputError
from busaug.ops import lrp_steps
from busaug.ops._check import check
from busaug.ops.linear_map import ConvShape
from busaug.ops.lrp_layers import AlphaBetaLayer, AlphaBetaRule

_library = torch.library.Library("busaug", "FRAGMENT")
_library.define(
    "lrp_alpha_beta(Tensor inputs, Tensor weight, Tensor? bias, Tensor? linear, Tensor relevance, "
    "int[] stride, int[] padding, int[] dilation, float alpha, float beta, bool zero_part, "
    "bool absorb_bias, bool nonnegative) -> Tensor"
)
lrp_alpha_beta_op = torch.ops.busaug.lrp_alpha_beta.default
"""``lrp_alpha_beta`` as a torch op, with arguments of plain types."""


def lrp_alpha_beta(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    relevance: Tensor,
    *,
    rule: AlphaBetaRule | None = None,
    shape: ConvShape | None = None,
    linear: Tensor | None = None,
    nonnegative: bool = False,
) -> Tensor:
    """Relevance of a layer's inputs from that of its outputs under the alpha-beta rule.

    Deterministic; on the CPU independent of the number of threads up to torch's convolutions. It
    has no gradient.

    Args:
        inputs: a, (B, C, H, W) of a convolution or (B, C) of a linear layer, float32 or float64.
        weight: (N, C, k, k) or (N, C). Groups are not supported.
        bias: (N,) or None; read only if the rule lets it absorb relevance.
        relevance: R of the outputs, (B, N, h, w) or (B, N).
        rule: alpha 2, beta 1, zero bias by default.
        shape: Stride, zero padding and dilation of a convolution; 1, 0, 1 by default.
        linear: The layer's output less its bias, where the forward pass is at hand.
        nonnegative: A promise that no input is below zero, for half the work.

    Returns:
        R of the inputs, of their shape, contiguous or channels-last as they are. Under a rule with
        zero bias its sum is that of ``relevance``, units without contributions apart.

    Raises:
        InputError: rank, shape, dtype or device that does not fit; inputs or relevance not finite.
    """
    shape = shape or ConvShape()
    rule = rule or AlphaBetaRule()
    fault = _fault(inputs, weight, bias, linear, relevance, shape)
    if fault:
        raise InputError(f"lrp_alpha_beta: {fault[0]}", remedy=fault[1])
    for name, tensor in (("inputs", inputs), ("relevance", relevance)):
        if not bool(tensor.isfinite().all()):
            raise InputError(
                f"lrp_alpha_beta: {name} holds NaN or infinity", remedy="Replace them before"
            )
    out: Tensor = lrp_alpha_beta_op(
        inputs.detach(),
        weight.detach(),
        None if bias is None else bias.detach(),
        None if linear is None else linear.detach(),
        relevance.detach(),
        *shape,
        rule.alpha,
        rule.beta,
        rule.zero_part,
        rule.bias == "absorb",
        nonnegative,
    )
    return out


def _fault(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    linear: Tensor | None,
    relevance: Tensor,
    shape: ConvShape,
) -> tuple[str, str] | None:
    """What does not fit, and the remedy."""
    if weight.ndim not in (2, 4) or inputs.ndim != weight.ndim:
        return (
            f"inputs have the shape {tuple(inputs.shape)}, weight {tuple(weight.shape)}",
            "Give (B, C, H, W) and (N, C, k, k), or (B, C) and (N, C)",
        )
    if inputs.shape[1] != weight.shape[1] or 0 in weight.shape:
        return (
            f"inputs have {inputs.shape[1]} channels, weight takes {weight.shape[1]}",
            "Give one weight a channel; groups are not supported",
        )
    rest: list[int] = []
    if weight.ndim == 4:
        if min(*shape.stride, *shape.dilation) < 1 or min(shape.padding) < 0:
            return f"{shape} is out of range", "Give positive strides and dilations, padding >= 0"
        axes = zip(inputs.shape[2:], weight.shape[2:], *shape, strict=True)
        rest = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes]
        if min(rest) < 1:
            return (
                f"a kernel of {tuple(weight.shape[2:])} with {shape} exceeds inputs of "
                f"{tuple(inputs.shape[2:])}",
                "Give larger inputs or more padding",
            )
    outputs = (inputs.shape[0], weight.shape[0], *rest)
    for name, tensor, expected in (
        ("relevance", relevance, outputs),
        ("linear", linear, outputs),
        ("bias", bias, outputs[1:2]),
    ):
        if tensor is not None and tuple(tensor.shape) != expected:
            return f"{name} has the shape {tuple(tensor.shape)}", f"Give {expected}"
    for name, tensor in (
        ("weight", weight),
        ("relevance", relevance),
        ("linear", linear),
        ("bias", bias),
    ):
        if tensor is not None and (tensor.dtype, tensor.device) != (inputs.dtype, inputs.device):
            return (
                f"{name} is {tensor.dtype} on {tensor.device}, inputs are {inputs.dtype} on "
                f"{inputs.device}",
                "Bring them to one dtype and device",
            )
    if inputs.dtype not in (torch.float32, torch.float64):
        return f"the dtype is {inputs.dtype}", "Convert to float32 or float64"
    return None


def _check_op(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    linear: Tensor | None,
    relevance: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> ConvShape:
    check(
        len(stride) == len(padding) == len(dilation) == 2,
        lambda: "busaug::lrp_alpha_beta takes two numbers each as stride, padding and dilation",
    )
    (s, r), (p, q), (d, e) = stride, padding, dilation
    shape = ConvShape((s, r), (p, q), (d, e))
    fault = _fault(inputs, weight, bias, linear, relevance, shape)
    check(fault is None, lambda: f"busaug::lrp_alpha_beta: {fault[0] if fault else ''}")
    return shape


def _propagate(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    linear: Tensor | None,
    relevance: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    alpha: float,
    beta: float,
    zero_part: bool,
    absorb_bias: bool,
    nonnegative: bool,
) -> Tensor:
    shape = _check_op(inputs, weight, bias, linear, relevance, stride, padding, dilation)
    inputs = inputs.contiguous(memory_format=lrp_steps.memory_format_of(inputs))
    if not len(inputs):
        return torch.empty_like(inputs)
    layer = AlphaBetaLayer(
        weight,
        bias,
        shape if weight.ndim == 4 else None,
        AlphaBetaRule(alpha, beta, "absorb" if absorb_bias else "zero", zero_part),
        nonnegative=nonnegative,
        packed=False,
    )
    linear = layer.linear(inputs) if linear is None else linear
    out, _ = lrp_steps.product(inputs, layer.propagate(inputs, linear, relevance, "relevance"))
    return out


def _fake(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    linear: Tensor | None,
    relevance: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    *options: object,
) -> Tensor:
    _check_op(inputs, weight, bias, linear, relevance, stride, padding, dilation)
    return torch.empty_like(inputs, memory_format=lrp_steps.memory_format_of(inputs))


def _no_gradient(context: object, grad: Tensor) -> None:
    raise NotImplementedError(
        "busaug::lrp_alpha_beta has no gradient: detach its inputs, or use busaug.reference.lrp"
    )


_library.impl("lrp_alpha_beta", _propagate, "CPU")
_library.impl("lrp_alpha_beta", _propagate, "CUDA")
torch.library.register_fake("busaug::lrp_alpha_beta", _fake, lib=_library)
torch.library.register_autograd("busaug::lrp_alpha_beta", _no_gradient, lib=_library)
