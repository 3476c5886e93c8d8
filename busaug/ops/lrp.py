"""Layer-wise relevance propagation through one layer with weights, backwards.

``lrp_alpha_beta`` takes the relevance of a layer's outputs to its inputs under the alpha-beta rule
(Bach et al. 2015, PLoS ONE 10(7):e0130140). An ``AlphaBetaLayer`` does so for many calls, and can
carry G instead of relevance, R = a G with activation a: then ReLU, pooling and residual sums are
ordinary backward passes (busaug.explain.rules). ``ZBoxLayer`` is the z^B rule of a first
convolution (Montavon et al. 2017).

z- is not convolved on its own: it is the linear part of the layer's output, which the forward pass
has found already, less z+. One transposed convolution with the positive and the negative weights
stacked carries both parts back.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from busaug.errors import InputError
from busaug.ops import lrp_steps
from busaug.ops._launch import LrpOptions
from busaug.ops.linear_map import ConvShape, linear_map
from busaug.ops.lrp_steps import Factor

_library = torch.library.Library("busaug", "FRAGMENT")
_library.define(
    "lrp_alpha_beta(Tensor inputs, Tensor weight, Tensor? bias, Tensor? linear, Tensor relevance, "
    "int[] stride, int[] padding, int[] dilation, float alpha, float beta, bool zero_part, "
    "bool absorb_bias, bool nonnegative) -> Tensor"
)
lrp_alpha_beta_op = torch.ops.busaug.lrp_alpha_beta.default
"""``lrp_alpha_beta`` as a torch op, with arguments of plain types."""

# Bytes of quotients that are in flight at once on the CPU: they are to stay in the cache, and
# larger blocks of memory are given back to the system and page in anew each time.
_SLICE_BYTES = 1 << 24
# Rounding of z+ and of the linear part, in multiples of the root of the number of terms times the
# machine epsilon, relative to z+: two sums, each with a probabilistic bound of 2 (Higham and Mary
# 2019). Measured on ResNet-50 on the CPU: at most 0.5 and 0.03 in the mean. On CUDA fast
# convolution algorithms round more.
_ROUNDING = {"cpu": 2.0, "cuda": 32.0}


@dataclasses.dataclass(frozen=True)
class AlphaBetaRule:
    """R_i = sum_j R_j (alpha z_ij+ / z_j+ - beta z_ij- / z_j-), z_ij = a_i w_ij.

    z_j+ and z_j- are the sums of positive and negative z_ij. Raises InputError where alpha - beta
    is not 1, or beta is negative.
    """

    alpha: float = 2.0
    beta: float = 1.0
    bias: Literal["zero", "absorb"] = "zero"
    """``zero``: no bias in z+ and z-, relevance is conserved. ``absorb``: z_j+ = sum_i z_ij+ +
    b_j+, z_j- likewise, and the bias keeps its share (Bach et al. 2015)."""
    zero_part: bool = True
    """A unit whose z+ or z- is zero passes everything through the other part; else it leaks alpha
    or beta times its relevance."""

    def __post_init__(self) -> None:
        if not (self.beta >= 0 and math.isclose(self.alpha - self.beta, 1, abs_tol=1e-9)):
            raise InputError(
                f"alpha-beta rule: alpha={self.alpha:g}, beta={self.beta:g}",
                remedy="Give alpha - beta = 1 and beta >= 0",
            )
        if self.bias not in ("zero", "absorb"):
            raise InputError(
                f"alpha-beta rule: bias={self.bias!r}", remedy="Give 'zero' or 'absorb'"
            )


class AlphaBetaLayer:
    """A convolution or a linear layer, prepared for the rule."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        shape: ConvShape | None,
        rule: AlphaBetaRule,
        *,
        nonnegative: bool,
        packed: bool = True,
    ) -> None:
        """Prepare a weight (N, C), ``shape`` None, or (N, C, k, k), and a bias (N,) or None.

        ``nonnegative`` promises that no input is below zero; any sign costs about twice as much.
        ``packed`` spends memory, and time at the first call, on faster later ones.
        """
        self.bias = weight.new_zeros(len(weight)) if bias is None else bias
        self.rule, self.nonnegative = rule, nonnegative
        self._rounding = (
            _ROUNDING.get(weight.device.type, 2.0)
            * math.sqrt(weight[0].numel())
            * torch.finfo(weight.dtype).eps
        )
        self._whole = linear_map(weight, shape, packed=packed)
        # An input of any sign becomes two that are not negative, with weights w and -w.
        parts = weight if nonnegative else torch.cat([weight, -weight], dim=1)
        stacked = torch.cat([parts.clamp_min(0), parts.clamp_max(0)])
        self._positive = linear_map(stacked[: len(weight)], shape, packed=packed)
        self._stacked = linear_map(stacked, shape, packed=packed)

    def linear(self, a: Tensor) -> Tensor:
        """The layer's output less its bias."""
        return self._whole.apply(a)

    def propagate(self, a: Tensor, linear: Tensor, factor: Tensor, kind: Factor) -> Tensor:
        """G of the inputs, where their relevance is a G.

        ``a`` (B, C, ...) are the inputs, ``linear`` what ``self.linear`` makes of them, and
        ``factor`` stands for the relevance R of the outputs y: ``relevance`` for R itself,
        ``gradient`` for G with R = y G, ``rectified_gradient`` for G with R = max(y, 0) G.
        """
        inputs = a if self.nonnegative else lrp_steps.split(a)
        images = _images_at_once(linear)
        if images >= len(a):
            back = self._back(inputs, linear, factor, kind)
        else:
            back = torch.empty_like(inputs)
            for first in range(0, len(a), images):
                some = slice(first, first + images)
                self._back(inputs[some], linear[some], factor[some], kind, back[some])
        return back if self.nonnegative else lrp_steps.merge(a, back)

    def _back(
        self,
        inputs: Tensor,
        linear: Tensor,
        factor: Tensor,
        kind: Factor,
        out: Tensor | None = None,
    ) -> Tensor:
        options = LrpOptions(
            alpha=self.rule.alpha,
            beta=self.rule.beta,
            rounding=self._rounding,
            zero_part=self.rule.zero_part,
            absorb_bias=self.rule.bias == "absorb",
            factor_kind=lrp_steps.FACTORS.index(kind),
            parts=2 if self.rule.beta else 1,
        )
        arguments = (self._positive.apply(inputs), linear, self.bias, factor)
        found, omitted = lrp_steps.quotients(*arguments, options)
        if omitted:  # without beta, units without z+ alone pass through z-: few layers have any
            found, _ = lrp_steps.quotients(*arguments, {**options, "parts": 2})
        both = found.shape[1] > linear.shape[1]
        return (self._stacked if both else self._positive).transpose(found, inputs.shape, out)


class ZBoxLayer:
    """A first convolution, prepared for the z^B rule for inputs with low <= x <= high.

    R_i = sum_j (x_i w_ij - l_i w_ij+ - h_i w_ij-) R_j / sum_i(...), no bias in the denominator.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, shape: ConvShape, low: Tensor, high: Tensor
    ) -> None:
        """Weight (N, C, k, k), bias (N,) or None; low and high (1, C, 1, 1)."""
        self.weight, self.bias, self.shape = weight, bias, shape
        self.low, self.high = low, high
        self._parts = linear_map(
            torch.cat([weight.clamp_min(0), weight.clamp_max(0)], dim=1), shape, packed=False
        )

    def apply(self, x: Tensor) -> Tensor:
        """The convolution's output, its bias included."""
        return functional.conv2d(x, self.weight, self.bias, *self.shape)

    def propagate(self, x: Tensor, output: Tensor, gradient: Tensor) -> Tensor:
        """Relevance of inputs x (B, C, H, W), given ``self.apply(x)`` and G there, R = output G."""
        lifted = self._parts.apply(
            torch.cat([self.low, self.high], dim=1).expand(1, -1, *x.shape[2:])
        )
        if self.bias is not None:
            lifted = lifted + self.bias.view(1, -1, 1, 1)
        nothing = output.new_zeros(output.shape[1])
        options = LrpOptions(
            alpha=1.0,
            beta=0.0,
            rounding=0.0,
            zero_part=False,
            absorb_bias=False,
            factor_kind=lrp_steps.FACTORS.index("gradient"),
            parts=1,
        )
        s, _ = lrp_steps.quotients(output - lifted, output, nothing, gradient, options)
        back = self._parts.transpose(
            s[:, : output.shape[1]], torch.Size((len(x), 2 * x.shape[1], *x.shape[2:]))
        )
        on_positive, on_negative = back.chunk(2, dim=1)
        return (x - self.low) * on_positive + (x - self.high) * on_negative


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


def _images_at_once(linear: Tensor) -> int:
    if linear.is_cuda or not linear.numel():
        return len(linear)
    return max(1, _SLICE_BYTES // (2 * linear[0].numel() * linear.element_size()))


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
    torch._check(
        len(stride) == len(padding) == len(dilation) == 2,
        lambda: "busaug::lrp_alpha_beta takes two numbers each as stride, padding and dilation",
    )
    (s, r), (p, q), (d, e) = stride, padding, dilation
    shape = ConvShape((s, r), (p, q), (d, e))
    fault = _fault(inputs, weight, bias, linear, relevance, shape)
    torch._check(fault is None, lambda: f"busaug::lrp_alpha_beta: {fault[0] if fault else ''}")
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
