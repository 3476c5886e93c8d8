"""Relevance rules as they are defined: relevance in, relevance out, float64-clean, slow.

Each rule takes a layer's input, its parameters and the relevance of its outputs, and returns the
relevance of its inputs. Contributions are z_ij = a_i w_ij; their sign, not the weight's, decides
which part they belong to. The bias enters no denominator, so relevance is conserved, unless the
alpha-beta rule is told to let it absorb its share.
Formulas: Bach et al. 2015 (alpha-beta, epsilon), Montavon et al. 2017 (z^B).

The last functions are the steps that busaug.ops.lrp_steps has kernels for, in plain torch.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input

STABILISER = 1e-9


def stabilise(z: Tensor, epsilon: float = STABILISER) -> Tensor:
    """Z moved away from zero by epsilon; zero counts as positive."""
    return z + torch.where(z >= 0, z.new_tensor(epsilon), z.new_tensor(-epsilon))


@dataclasses.dataclass(frozen=True)
class Linear:
    """A linear map without its bias: a convolution, or a matrix for ``weight`` (out, in)."""

    weight: Tensor
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def apply(self, a: Tensor, weight: Tensor | None = None) -> Tensor:
        weight = self.weight if weight is None else weight
        if weight.ndim == 2:
            return a @ weight.mT
        return functional.conv2d(a, weight, None, self.stride, self.padding, self.dilation)

    def transpose(self, s: Tensor, like: Tensor, weight: Tensor | None = None) -> Tensor:
        """The adjoint map, onto the shape of ``like``."""
        weight = self.weight if weight is None else weight
        if weight.ndim == 2:
            return s @ weight
        out: Tensor = conv2d_input(like.shape, weight, s, self.stride, self.padding, self.dilation)
        return out


def alpha_beta(
    layer: Linear,
    a: Tensor,
    relevance: Tensor,
    alpha: float,
    beta: float,
    *,
    zero_part: bool = True,
    absorbing: Tensor | None = None,
) -> Tensor:
    """R_i = sum_j R_j (alpha z_ij+ / z_j+ - beta z_ij- / z_j-), alpha - beta = 1.

    With ``zero_part`` a unit whose z+ (or z-) is zero passes all its relevance through the other
    part with coefficient one; without, it would leak. ``absorbing`` (N,) is a bias that belongs to
    the parts by its sign, z_j+ = sum_i z_ij+ + b_j+, and keeps its share of the relevance.
    """
    w_pos, w_neg = layer.weight.clamp_min(0), layer.weight.clamp_max(0)
    a_pos, a_neg = a.clamp_min(0), a.clamp_max(0)
    z_pos = layer.apply(a_pos, w_pos) + layer.apply(a_neg, w_neg)
    z_neg = layer.apply(a_pos, w_neg) + layer.apply(a_neg, w_pos)
    if absorbing is not None:
        bias = along_channels(absorbing, z_pos)
        z_pos, z_neg = z_pos + bias.clamp_min(0), z_neg + bias.clamp_max(0)
    share_pos, share_neg = torch.full_like(z_pos, alpha), torch.full_like(z_neg, -beta)
    if zero_part:
        share_pos = torch.where(z_neg == 0, 1.0, share_pos)
        share_neg = torch.where(z_neg == 0, 0.0, share_neg)
        share_neg = torch.where(z_pos == 0, 1.0, share_neg)
        share_pos = torch.where(z_pos == 0, 0.0, share_pos)
    s_pos = share_pos * relevance / stabilise(z_pos)
    s_neg = share_neg * relevance / stabilise(z_neg)
    onto_pos = layer.transpose(s_pos, a, w_pos) + layer.transpose(s_neg, a, w_neg)
    onto_neg = layer.transpose(s_pos, a, w_neg) + layer.transpose(s_neg, a, w_pos)
    return a_pos * onto_pos + a_neg * onto_neg


def along_channels(values: Tensor, like: Tensor) -> Tensor:
    """Values (N,) shaped to meet ``like`` (B, N, ...)."""
    return values.view(-1, *(1,) * (like.ndim - 2))


def epsilon(layer: Linear, a: Tensor, relevance: Tensor, eps: float = 1e-6) -> Tensor:
    """R_i = sum_j z_ij R_j / (z_j + eps sign z_j)."""
    return a * layer.transpose(relevance / stabilise(layer.apply(a), eps), a)


def z_box(layer: Linear, x: Tensor, low: Tensor, high: Tensor, relevance: Tensor) -> Tensor:
    """R_i = sum_j (x_i w_ij - l_i w_ij+ - h_i w_ij-) R_j / sum_i(...), for l <= x <= h."""
    w_pos, w_neg = layer.weight.clamp_min(0), layer.weight.clamp_max(0)
    low, high = low.expand_as(x), high.expand_as(x)
    z = layer.apply(x) - layer.apply(low, w_pos) - layer.apply(high, w_neg)
    s = relevance / stabilise(z)
    lifted = low * layer.transpose(s, x, w_pos) + high * layer.transpose(s, x, w_neg)
    return x * layer.transpose(s, x) - lifted


def residual_sum(left: Tensor, right: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """R_k = x_k R / (x_1 + x_2): each branch in proportion to what it adds."""
    s = relevance / stabilise(left + right)
    return left * s, right * s


def max_pool(x: Tensor, relevance: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Winner takes all: relevance goes to each window's (first) maximum."""
    _, index = functional.max_pool2d(x, kernel, stride, padding, return_indices=True)
    out = torch.zeros_like(x).flatten(2)
    return out.scatter_add_(2, index.flatten(2), relevance.flatten(2)).view_as(x)


def global_average_pool(x: Tensor, relevance: Tensor) -> Tensor:
    """Proportional: R_i = x_i R / sum_i x_i for (B, N, h, w) and (B, N)."""
    total = x.sum(dim=(2, 3))
    return x * (relevance / stabilise(total))[..., None, None]


def quotients(
    positive: Tensor,
    linear: Tensor,
    bias: Tensor,
    factor: Tensor,
    *,
    alpha: float,
    beta: float,
    rounding: float,
    zero_part: bool,
    absorb_bias: bool,
    factor_kind: int,
) -> Tensor:
    """s+ = alpha R / z+ beside s- = -beta R / z-, (B, 2 N, ...), for z_ij to be multiplied with.

    ``positive`` is z+ without the bias and z- is ``linear`` less that, zero where the difference
    is at most ``rounding`` times ``positive``. ``factor`` stands for R by its kind: 0 is R, 1 is G
    with R = y G for the output y = linear + bias, 2 is G with R = max(y, 0) G.
    """
    bias = along_channels(bias, linear)
    relevance = factor
    if factor_kind:
        output = linear + bias
        relevance = factor * (output if factor_kind == 1 else output.clamp_min(0))
    difference = linear - positive
    z_pos = positive
    z_neg = torch.where(difference < -rounding * positive, difference, 0.0)
    if absorb_bias:
        z_pos, z_neg = z_pos + bias.clamp_min(0), z_neg + bias.clamp_max(0)
    share_pos, share_neg = torch.full_like(z_pos, alpha), torch.full_like(z_neg, -beta)
    if zero_part:
        share_pos = torch.where(z_neg < 0, share_pos, 1.0).masked_fill(z_pos <= 0, 0.0)
        share_neg = torch.where(z_pos > 0, share_neg, 1.0).masked_fill(z_neg >= 0, 0.0)
    s_pos = share_pos * relevance / stabilise(z_pos)
    s_neg = share_neg * relevance / stabilise(z_neg)
    return torch.cat([s_pos, s_neg], dim=1)


def rectified_sum(left: Tensor, right: Tensor | None, bias: Tensor) -> Tensor:
    """max(left + right + bias, 0) for (B, N, ...) and a bias (N,)."""
    total = left if right is None else left + right
    return (total + along_channels(bias, left)).clamp_min(0)


def split(inputs: Tensor) -> Tensor:
    """Positive beside negative magnitudes, (B, C, ...) to (B, 2 C, ...)."""
    return torch.cat([inputs.clamp_min(0), (-inputs).clamp_min(0)], dim=1)


def merge(inputs: Tensor, back: Tensor) -> Tensor:
    """What comes back to the split inputs, (B, 2 C, ...), as what comes back to the inputs."""
    positive, negative = back.chunk(2, dim=1)
    return torch.where(inputs < 0, -negative, positive)
