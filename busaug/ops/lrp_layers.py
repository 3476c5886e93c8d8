"""Layers with weights, prepared for relevance rules.

Relevance is carried as R = a G, activation times a modified gradient G: ReLU, pooling and residual
sums then are ordinary backward passes (busaug.explain.rules), and what a layer here has to find is
G of its inputs.

z- of the alpha-beta rule is not convolved on its own: it is the linear part of the layer's output,
which the forward pass has found already, less z+. One transposed convolution with the positive and
the negative weights stacked carries both parts back.
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

# Bytes of quotients in flight at once on the CPU, by the rank of their tensor. Rows of a matrix
# product stay in the cache; a convolution of few images is slower, but more memory than this is
# given back to the system and paged in anew each time.
_SLICE_BYTES = {2: 1 << 22, 4: 1 << 24}
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
        # A 1x1 convolution is a linear layer at every position that its stride visits.
        self._visits: tuple[int, int] | None = None
        if shape is not None and weight.shape[2:] == (1, 1) and shape.padding == (0, 0):
            self._visits, weight, shape = shape.stride, weight.flatten(1), None
        self._whole = linear_map(weight, shape, packed=packed)
        # An input of any sign becomes two that are not negative, with weights w and -w.
        parts = weight if nonnegative else torch.cat([weight, -weight], dim=1)
        stacked = torch.cat([parts.clamp_min(0), parts.clamp_max(0)])
        self._positive = linear_map(stacked[: len(weight)], shape, packed=packed)
        self._stacked = linear_map(stacked, shape, packed=packed)

    def linear(self, a: Tensor) -> Tensor:
        """The layer's output less its bias."""
        if self._visits is None:
            return self._whole.apply(a)
        visited = _visited(a, self._visits)
        return _as_map(self._whole.apply(_as_rows(visited)), visited)

    def propagate(self, a: Tensor, linear: Tensor, factor: Tensor, kind: Factor) -> Tensor:
        """G of the inputs, where their relevance is a G.

        ``a`` (B, C, ...) are the inputs, ``linear`` what ``self.linear`` makes of them, and
        ``factor`` stands for the relevance R of the outputs y: ``relevance`` for R itself,
        ``gradient`` for G with R = y G, ``rectified_gradient`` for G with R = max(y, 0) G.
        """
        if self._visits is None:
            return self._propagate(a, linear, factor, kind)
        visited = _visited(a, self._visits)
        rows = self._propagate(_as_rows(visited), _as_rows(linear), _as_rows(factor), kind)
        found = _as_map(rows, visited)
        if self._visits == (1, 1):
            return found
        back = torch.zeros_like(a, memory_format=torch.channels_last)
        _visited(back, self._visits).copy_(found)
        return back

    def _propagate(self, a: Tensor, linear: Tensor, factor: Tensor, kind: Factor) -> Tensor:
        inputs = a if self.nonnegative else lrp_steps.split(a)
        slices = _slices(linear)
        if len(slices) == 1:
            back = self._back(inputs, linear, factor, kind)
        else:
            back = torch.empty_like(inputs)
            for some in slices:
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


def _visited(a: Tensor, stride: tuple[int, int]) -> Tensor:
    down, right = stride
    return a[:, :, ::down, ::right]


def _as_rows(a: Tensor) -> Tensor:
    """(B, C, h, w) as a row of channels for each position; no copy of a channels-last map."""
    return a.permute(0, 2, 3, 1).reshape(-1, a.shape[1])


def _as_map(rows: Tensor, like: Tensor) -> Tensor:
    """Rows of channels as (B, N, h, w), channels-last, on the positions of ``like``."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, rows.shape[1]).permute(0, 3, 1, 2)


def _slices(linear: Tensor) -> list[slice]:
    """What to take at once of a batch, or of rows, with these outputs."""
    count = 1
    if not linear.is_cuda:
        quotients = 2 * linear.numel() * linear.element_size()
        count = max(1, min(len(linear), -(-quotients // _SLICE_BYTES[linear.ndim])))
    bounds = [len(linear) * index // count for index in range(count + 1)]
    return list(map(slice, bounds, bounds[1:]))
