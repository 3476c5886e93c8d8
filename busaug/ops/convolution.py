"""Convolutions with constant weights on the CPU, as torch ops: 3x3 and 1x1, of stride one.

3x3 kernels go by Winograd's minimal filtering, F(4x4, 3x3) of Lavin and Gray 2016 (arXiv
1509.09308): a quarter to a half of the products, with roundings of the same size
(csrc/cpu/convolution.hpp says why). What follows a convolution in a frozen network, bias, sum and
ReLU, is done on the way to memory. Float32, channels last. Weights are packed once and get no
gradient.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from busaug.ops import _launch
from busaug.ops._backend import native
from busaug.ops._check import check

PANEL = 16
"""Channels on both sides come in multiples of this."""

_POINTS = {3: (36,), 1: ()}
"""What goes before the panels of a packed weight, by the side of its kernel."""

_library = torch.library.Library("busaug", "FRAGMENT")
_library.define(
    "winograd(Tensor images, Tensor packed, Tensor transpose, Tensor? bias, bool rectify) -> Tensor"
)
_library.define("winograd_backward(Tensor grad, Tensor? gate, Tensor transpose) -> Tensor")
_library.define(
    "pointwise(Tensor images, Tensor packed, Tensor transpose, Tensor? bias, Tensor? addend, "
    "bool rectify) -> Tensor"
)
_library.define(
    "pointwise_backward(Tensor grad, Tensor? gate, Tensor transpose, Tensor? addend=None, "
    "Tensor? addend_gate=None) -> Tensor"
)
winograd_op = torch.ops.busaug.winograd.default
"""Images (B, C, H, W), what ``pack`` made of a weight (N, C, 3, 3) and of its transpose, and a bias
(N,) or None to (B, N, H, W), with ``rectify`` not below zero."""
pointwise_op = torch.ops.busaug.pointwise.default
"""Likewise of a weight (N, C, 1, 1), plus an addend (B, N, H, W) or None."""
winograd_backward_op = torch.ops.busaug.winograd_backward.default
"""Gradient (B, N, H, W), a gate of that shape or None, and the packed transpose to the gradient in
the images (B, C, H, W). The gradient counts as zero where the gate, what ``rectify`` left, is not
positive."""
pointwise_backward_op = torch.ops.busaug.pointwise_backward.default
"""Likewise, plus an addend (B, C, H, W) with a gate of its own, or None: of a branch beside."""


@functools.cache
def has_convolutions() -> bool:
    """Whether this machine has the instructions: AVX2 and fused multiply-add, or AVX-512."""
    found: bool = native().has_convolutions(simd="auto")
    return found


def pack(weight: Tensor, *, transposed: bool = False) -> Tensor:
    """A weight (N, C, k, k), k 3 or 1, as the ops take it: (..., N / 16, C, 16).

    ``transposed``: as they take it for the gradient in the input, (..., C / 16, N, 16).

    Raises:
        RuntimeError: other extents, another dtype or device.
    """
    side = weight.shape[-1]
    check(
        weight.ndim == 4
        and weight.shape[2:] in ((3, 3), (1, 1))
        and 0 not in weight.shape
        and weight.shape[0] % PANEL == weight.shape[1] % PANEL == 0
        and weight.dtype == torch.float32
        and weight.device.type == "cpu",
        lambda: f"convolution: weight {tuple(weight.shape)} of {weight.dtype} on {weight.device}",
    )
    before, after = (0, 1) if transposed else (1, 0)
    panels = (weight.shape[after] // PANEL, weight.shape[before], PANEL)
    packed = torch.empty((*_POINTS[side], *panels), dtype=torch.float32)
    _launch.pack(weight.detach().contiguous(), packed, transposed=transposed)
    return packed


def _winograd(
    images: Tensor, packed: Tensor, transpose: Tensor, bias: Tensor | None, rectify: bool
) -> Tensor:
    output = _winograd_fake(images, packed, transpose, bias, rectify)
    _launch.winograd_cpu(_gated(images, None), packed, bias, output, rectify)
    return output


def _winograd_backward(grad: Tensor, gate: Tensor | None, transpose: Tensor) -> Tensor:
    output = _winograd_backward_fake(grad, gate, transpose)
    _launch.winograd_cpu(_gated(grad, gate), transpose, None, output, False)
    return output


def _pointwise(
    images: Tensor,
    packed: Tensor,
    transpose: Tensor,
    bias: Tensor | None,
    addend: Tensor | None,
    rectify: bool,
) -> Tensor:
    output = _pointwise_fake(images, packed, transpose, bias, addend, rectify)
    given = None if addend is None else _gated(addend, None)
    _launch.pointwise_cpu(_gated(images, None), packed, bias, given, output, rectify)
    return output


def _pointwise_backward(
    grad: Tensor,
    gate: Tensor | None,
    transpose: Tensor,
    addend: Tensor | None = None,
    addend_gate: Tensor | None = None,
) -> Tensor:
    output = _pointwise_backward_fake(grad, gate, transpose, addend, addend_gate)
    given = None if addend is None else _gated(addend, addend_gate)
    _launch.pointwise_cpu(_gated(grad, gate), transpose, None, given, output, False)
    return output


def _gated(values: Tensor, gate: Tensor | None) -> _launch.Gated:
    """With channels last; copies where they are not."""
    return _launch.Gated(_last(values), None if gate is None else _last(gate))


def _last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _output(side: int, images: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """An empty output, where the arguments fit."""
    channels = packed.shape[-3] * PANEL if packed.ndim > 2 else 0
    check(
        images.ndim == 4
        and images.dtype == packed.dtype == torch.float32
        and 0 not in images.shape[1:]
        and packed.ndim > 2
        and packed.shape[:-3] == _POINTS[side]
        and packed.shape[-2:] == (images.shape[1], PANEL)
        and packed.is_contiguous(),
        lambda: (
            f"convolution: images {tuple(images.shape)} of {images.dtype} with a packed weight "
            f"{tuple(packed.shape)}"
        ),
    )
    check(
        bias is None
        or (bias.shape == (channels,) and bias.dtype == torch.float32 and bias.is_contiguous()),
        lambda: f"convolution: bias {() if bias is None else tuple(bias.shape)}",
    )
    return torch.empty(
        (images.shape[0], channels, *images.shape[2:]),
        dtype=torch.float32,
        device=images.device,
        memory_format=torch.channels_last,
    )


def _winograd_fake(
    images: Tensor, packed: Tensor, transpose: Tensor, bias: Tensor | None, rectify: bool
) -> Tensor:
    return _output(3, images, packed, bias)


def _pointwise_fake(
    images: Tensor,
    packed: Tensor,
    transpose: Tensor,
    bias: Tensor | None,
    addend: Tensor | None,
    rectify: bool,
) -> Tensor:
    output = _output(1, images, packed, bias)
    _check_alike("addend", addend, output)
    return output


def _winograd_backward_fake(grad: Tensor, gate: Tensor | None, transpose: Tensor) -> Tensor:
    _check_alike("gate", gate, grad)
    return _output(3, grad, transpose, None)


def _pointwise_backward_fake(
    grad: Tensor,
    gate: Tensor | None,
    transpose: Tensor,
    addend: Tensor | None = None,
    addend_gate: Tensor | None = None,
) -> Tensor:
    _check_alike("gate", gate, grad)
    output = _output(1, grad, transpose, None)
    _check_alike("addend", addend, output)
    _check_alike("gate of the addend", addend_gate, output)
    check(addend is not None or addend_gate is None, lambda: "convolution: a gate of no addend")
    return output


def _check_alike(name: str, given: Tensor | None, like: Tensor) -> None:
    if given is not None:
        check(
            given.shape == like.shape and given.dtype == torch.float32,
            lambda: f"convolution: {name} {tuple(given.shape)} of {given.dtype}",
        )


def _winograd_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, _, transpose, _, rectify = inputs
    ctx.save_for_backward(transpose, output if rectify else None)


def _winograd_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    _refuse_weights(ctx.needs_input_grad[1:4])
    transpose, gate = ctx.saved_tensors
    return winograd_backward_op(grad, gate, transpose), None, None, None, None


def _pointwise_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, _, transpose, _, _, rectify = inputs
    ctx.save_for_backward(transpose, output if rectify else None)


def _pointwise_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    _refuse_weights(ctx.needs_input_grad[1:4])
    transpose, gate = ctx.saved_tensors
    on_addend = None
    if ctx.needs_input_grad[4]:
        if gate is not None:
            grad, gate = torch.ops.aten.threshold_backward(grad, gate, 0), None
        on_addend = grad
    back = pointwise_backward_op(grad, gate, transpose)
    return back, None, None, None, on_addend, None


def _refuse_weights(wanted: tuple[bool, ...]) -> None:
    if any(wanted):
        raise NotImplementedError("the weight of a packed convolution gets no gradient")


def _no_second_gradient(ctx: Any, grad: Tensor) -> None:
    raise NotImplementedError("a packed convolution is differentiable once")


for _name, _implementation, _fake in (
    ("winograd", _winograd, _winograd_fake),
    ("winograd_backward", _winograd_backward, _winograd_backward_fake),
    ("pointwise", _pointwise, _pointwise_fake),
    ("pointwise_backward", _pointwise_backward, _pointwise_backward_fake),
):
    _library.impl(_name, _implementation, "CPU")
    torch.library.register_fake(f"busaug::{_name}", _fake, lib=_library)
torch.library.register_autograd(
    "busaug::winograd", _winograd_gradient, setup_context=_winograd_context, lib=_library
)
torch.library.register_autograd(
    "busaug::pointwise", _pointwise_gradient, setup_context=_pointwise_context, lib=_library
)
for _name in ("winograd_backward", "pointwise_backward"):
    torch.library.register_autograd(f"busaug::{_name}", _no_second_gradient, lib=_library)
