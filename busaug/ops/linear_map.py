"""Linear maps of layers, W and its transpose, in the form that is fastest to apply many times.

A fully connected layer is a matrix product. Convolutions go through torch; on the CPU in float32
with weights packed once for oneDNN, where torch lets us, and with a transposed convolution of
stride one as a forward one with flipped weights.
"""

from __future__ import annotations

import contextlib
import functools
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional


class ConvShape(NamedTuple):
    """Stride, zero padding and dilation of a convolution, vertical and horizontal."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


class LinearMap(Protocol):
    """W of one layer, (B, C, ...) to (B, N, ...)."""

    def apply(self, a: Tensor) -> Tensor:
        """W a."""

    def transpose(self, s: Tensor, shape: torch.Size, out: Tensor | None = None) -> Tensor:
        """W^T s of the shape that W takes; written to ``out`` where one is given."""


def linear_map(weight: Tensor, shape: ConvShape | None, *, packed: bool) -> LinearMap:
    """The map of a weight (N, C), ``shape`` None, or of a convolution's weight (N, C, k, k).

    ``packed`` spends memory, and time at the first call, on faster later ones.
    """
    if shape is None:
        return _Matrix(weight)
    if packed and weight.device.type == "cpu" and weight.dtype == torch.float32 and _can_pack():
        return _PackedConvolution(weight, shape)
    return _Convolution(weight, shape)


class _Matrix:
    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.contiguous()

    def apply(self, a: Tensor) -> Tensor:
        return a @ self.weight.mT

    def transpose(self, s: Tensor, shape: torch.Size, out: Tensor | None = None) -> Tensor:
        return torch.mm(s, self.weight, out=out)


class _Convolution:
    def __init__(self, weight: Tensor, shape: ConvShape) -> None:
        self.weight, self.shape = weight.contiguous(memory_format=torch.channels_last), shape

    def apply(self, a: Tensor) -> Tensor:
        with _exactly(a):
            return functional.conv2d(a, self.weight, None, *self.shape)

    def transpose(self, s: Tensor, shape: torch.Size, out: Tensor | None = None) -> Tensor:
        # torch reads no value of the argument here, only its extents and memory format
        argument = torch.empty(
            shape, dtype=s.dtype, device=s.device, memory_format=torch.channels_last
        )
        with _exactly(s):
            found: Tensor = torch.ops.aten.convolution_backward(
                s,
                argument,
                self.weight,
                None,
                *self.shape,
                transposed=False,
                output_padding=[0, 0],
                groups=1,
                output_mask=[True, False, False],
            )[0]
        return found if out is None else out.copy_(found)


def _exactly(tensor: Tensor) -> AbstractContextManager[object]:
    """On CUDA: no TF32, whose rounding would pass for a negative part, and the same bits again."""
    if not tensor.is_cuda:
        return contextlib.nullcontext()
    context: AbstractContextManager[object] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return context


class _PackedConvolution(_Convolution):
    def __init__(self, weight: Tensor, shape: ConvShape) -> None:
        super().__init__(weight, shape)
        self._forward: _Packed | None = None
        self._backward: _Packed | None = None

    def apply(self, a: Tensor) -> Tensor:
        if self._forward is None or self._forward.extents != a.shape[2:]:
            self._forward = _Packed(self.weight, self.shape, a)
        return self._forward(a)

    def transpose(self, s: Tensor, shape: torch.Size, out: Tensor | None = None) -> Tensor:
        (_, _, *kernel), (stride, padding, dilation) = self.weight.shape, self.shape
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        outer = (reach[0] - padding[0], reach[1] - padding[1])
        if stride != (1, 1) or min(outer) < 0:
            return super().transpose(s, shape, out)
        if self._backward is None or self._backward.extents != s.shape[2:]:
            flipped = self.weight.transpose(0, 1).flip(2, 3)
            self._backward = _Packed(flipped, ConvShape((1, 1), outer, dilation), s)
        found = self._backward(s)
        return found if out is None else out.copy_(found)


class _Packed:
    """A convolution whose weight lies as oneDNN likes it best for one size of maps.

    torch reorders a plain weight at every call. These two functions are what torch.compile itself
    uses, but not public: nothing outside this class knows of them, and ``_can_pack`` asks first.
    """

    def __init__(self, weight: Tensor, shape: ConvShape, a: Tensor) -> None:
        self.extents = a.shape[2:]
        self.shape = shape
        stride, padding, dilation = shape
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight.contiguous(), padding, stride, dilation, 1, list(a.shape)
        )

    def __call__(self, a: Tensor) -> Tensor:
        stride, padding, dilation = self.shape
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            a, self.weight, None, padding, stride, dilation, 1, "none", [], ""
        )
        return found


@functools.cache
def _can_pack() -> bool:
    """Whether this torch has the functions and they compute a convolution."""
    a, weight = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3)
    try:
        found = _Packed(weight, ConvShape(padding=(1, 1)), a)(a)
    except (AttributeError, RuntimeError):
        return False
    return torch.equal(found, functional.conv2d(a, weight, padding=1))
