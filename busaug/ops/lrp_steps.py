"""The steps of the alpha-beta rule between matrix products: native, else the plain reference.

All take and return tensors (B, N, ...), contiguous or channels-last, float32 or float64. Results do
not depend on the number of threads.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from busaug.ops import _launch
from busaug.ops._backend import has_cuda_kernels
from busaug.ops._launch import LrpOptions
from busaug.reference import lrp as reference

Factor = Literal["relevance", "gradient", "rectified_gradient"]
"""What stands for the relevance R of a unit with output y: R; G, R = y G; G, R = max(y, 0) G."""
FACTORS: tuple[Factor, ...] = ("relevance", "gradient", "rectified_gradient")
_SUM_BLOCK = 1 << 13  # elements whose sum is taken before it is added to others


def memory_format_of(tensor: Tensor) -> torch.memory_format:
    """Channels-last for a map that is it and not contiguous too; else contiguous."""
    channels_last = (
        tensor.ndim == 4
        and not tensor.is_contiguous()
        and tensor.is_contiguous(memory_format=torch.channels_last)
    )
    return torch.channels_last if channels_last else torch.contiguous_format


def quotients(
    positive: Tensor, linear: Tensor, bias: Tensor, factor: Tensor, options: LrpOptions
) -> tuple[Tensor, int]:
    """s+ beside s-, (B, 2 N, ...), with ``parts`` 2; s+ alone (B, N, ...) with 1.

    Given are z+ and the layer's output less its bias, (B, N, ...), the bias (N,), and what stands
    for the relevance. The number is that of s- left out which are not zero. On CUDA a number would
    have to be waited for: both are returned there, whatever ``parts`` says, and 0.
    """
    if linear.is_cuda:
        options = {**options, "parts": 2}
    linear = linear.contiguous(memory_format=memory_format_of(linear))
    positive, factor = _like(linear, positive), _like(linear, factor)
    out = _empty(linear, options["parts"])
    if _has_kernel(linear):
        return out, _launch.lrp_quotients(positive, linear, bias.contiguous(), factor, out, options)
    choice = {key: value for key, value in options.items() if key != "parts"}
    return reference.quotients(positive, linear, bias, factor, **choice), 0  # type: ignore[arg-type]


def rectified_sum(left: Tensor, right: Tensor | None, bias: Tensor) -> Tensor:
    """max(left + right + bias, 0) for a bias (N,)."""
    if not _has_kernel(left):
        return reference.rectified_sum(left, right, bias)
    left = left.contiguous(memory_format=memory_format_of(left))
    out = _empty(left)
    other = None if right is None else _like(left, right)
    _launch.lrp_rectified_sum(left, other, bias.contiguous(), out)
    return out


def split(inputs: Tensor) -> Tensor:
    """Positive beside negative magnitudes, (B, 2 C, ...)."""
    if not _has_kernel(inputs):
        return reference.split(inputs)
    inputs = inputs.contiguous(memory_format=memory_format_of(inputs))
    out = _empty(inputs, 2)
    _launch.lrp_split(inputs, out)
    return out


def merge(inputs: Tensor, back: Tensor) -> Tensor:
    """What comes back to the split inputs, (B, 2 C, ...), as what comes back to ``inputs``."""
    if not _has_kernel(inputs):
        return reference.merge(inputs, back)
    inputs = inputs.contiguous(memory_format=memory_format_of(inputs))
    out = _empty(inputs)
    _launch.lrp_merge(inputs, _like(inputs, back), out)
    return out


def product(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Elementwise left x right, and each image's sum and sum of magnitudes, (B, 2) float64."""
    if not _has_kernel(left):
        out = left * right
        exact = out.flatten(1).double()
        return out, torch.stack([exact.sum(1), exact.abs().sum(1)], dim=1)
    left = left.contiguous(memory_format=memory_format_of(left))
    out = _empty(left)
    blocks = -(-left.shape[1:].numel() // _SUM_BLOCK)
    sums = torch.empty(len(left), blocks, 2, dtype=torch.float64, device=left.device)
    _launch.lrp_product(left, _like(left, right), out, sums)
    return out, sums.sum(dim=1)


def _has_kernel(tensor: Tensor) -> bool:
    return has_cuda_kernels() if tensor.is_cuda else True


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    return other.contiguous(memory_format=memory_format_of(tensor))


def _empty(tensor: Tensor, parts: int = 1) -> Tensor:
    batch, channels, *rest = tensor.shape
    return torch.empty(
        (batch, parts * channels, *rest),
        dtype=tensor.dtype,
        device=tensor.device,
        memory_format=memory_format_of(tensor),
    )
