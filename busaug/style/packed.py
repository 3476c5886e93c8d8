"""Convolutions by the package's kernels in the place of a frozen network's own, for speed."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from busaug.models.resnet import Bottleneck
from busaug.ops.convolution import (
    PANEL,
    has_convolutions,
    pack,
    pointwise_backward_op,
    pointwise_op,
    winograd_backward_op,
    winograd_op,
)


class Packed(NamedTuple):
    """What the ops take of a convolution."""

    weight: Tensor
    transpose: Tensor
    bias: Tensor | None


class PackedConvolution(nn.Module):
    """A convolution with constant weights, by the package's kernels where they serve.

    That is of stride one, on the CPU, in float32 (``busaug.ops.convolution``); else it is the
    convolution. The weight is packed at the first image, so that none is held where it serves
    nothing.
    """

    def __init__(self, conv: nn.Conv2d, *, rectify: bool) -> None:
        """``rectify``: with the ReLU that follows."""
        super().__init__()
        self.conv = conv
        self.rectify = rectify
        self._packed: Packed | None = None

    def forward(self, images: Tensor, addend: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, N, h, w), plus an addend of that shape before the ReLU."""
        if not self.takes(images):
            plain: Tensor = self.conv(images)
            plain = plain if addend is None else plain + addend
            return plain.relu() if self.rectify else plain
        convolved: Tensor
        if self.conv.kernel_size == (1, 1):
            convolved = pointwise_op(images, *self.packed(), addend, self.rectify)
        else:
            assert addend is None
            convolved = winograd_op(images, *self.packed(), self.rectify)
        return convolved

    def takes(self, images: Tensor) -> bool:
        """Whether the package's kernels compute it."""
        weight = self.conv.weight
        single = images.dtype == weight.dtype == torch.float32
        here = images.device.type == weight.device.type == "cpu"
        return single and here and serves(self.conv)

    def packed(self) -> Packed:
        weight, bias = self.conv.weight, self.conv.bias
        if self._packed is None:
            self._packed = Packed(pack(weight), pack(weight, transposed=True), bias)
        return self._packed


class PackedBottleneck(nn.Module):
    """A BatchNorm-folded bottleneck whose ReLUs and sums are part of its convolutions."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        if any(isinstance(module, nn.BatchNorm2d) for module in block.modules()):
            raise ValueError("fold BatchNorm before convolutions are packed")
        self.conv1 = PackedConvolution(block.conv1, rectify=True)
        self.conv2 = PackedConvolution(block.conv2, rectify=True)
        self.conv3 = PackedConvolution(block.conv3, rectify=True)
        self.shortcut: PackedConvolution | None = None
        if block.downsample is not None:
            projection = block.downsample[0]
            assert isinstance(projection, nn.Conv2d)
            self.shortcut = PackedConvolution(projection, rectify=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, N, h, w)."""
        branch, shortcut = (self.conv1, self.conv2, self.conv3), self.shortcut
        if all(conv.takes(x) for conv in (*branch, shortcut) if conv is not None):
            packed = [conv.packed() for conv in branch]
            projection = None if shortcut is None else shortcut.packed()
            whole: Tensor = _Bottleneck.apply(x, *packed, projection)  # type: ignore[no-untyped-call]
            return whole
        beside = x if shortcut is None else shortcut(x)
        out: Tensor = self.conv3(self.conv2(self.conv1(x)), beside)
        return out


class _Bottleneck(torch.autograd.Function):
    """A bottleneck of stride one as a whole.

    Gradients that come down the two branches are gated and summed as they are read and written.
    Step by step, the gated gradient and the sum would go through memory once more each, and the
    first stages' are larger than a cache.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, conv1: Packed, conv2: Packed, conv3: Packed, shortcut: Packed | None
    ) -> Tensor:
        beside = x if shortcut is None else pointwise_op(x, *shortcut, None, False)
        narrow = pointwise_op(x, *conv1, None, True)
        wide = winograd_op(narrow, *conv2, True)
        out: Tensor = pointwise_op(wide, *conv3, beside, True)
        ctx.save_for_backward(narrow, wide, out)
        ctx.convolutions = conv1, conv2, conv3, shortcut
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        narrow, wide, out = ctx.saved_tensors
        conv1, conv2, conv3, shortcut = ctx.convolutions
        grad = grad.contiguous(memory_format=torch.channels_last)
        branch = pointwise_backward_op(grad, out, conv3.transpose)
        branch = winograd_backward_op(branch, wide, conv2.transpose)
        beside, gate = grad, out
        if shortcut is not None:
            beside, gate = pointwise_backward_op(grad, out, shortcut.transpose), None
        grad = pointwise_backward_op(branch, narrow, conv1.transpose, beside, gate)
        return grad, None, None, None, None


def pack_convolutions(network: nn.Module) -> None:
    """Put packed convolutions in the place of those of a frozen network that they can serve.

    With each goes the ReLU after it: the next among its parent's children, as ``fold_batchnorm``
    left them.
    """
    children = [(n, m) for n, m in network.named_children() if not isinstance(m, nn.Identity)]
    for (name, child), (next_name, after) in itertools.pairwise([*children, ("", nn.Identity())]):
        if isinstance(child, Bottleneck):
            setattr(network, name, PackedBottleneck(child))
        elif isinstance(child, nn.Conv2d) and serves(child):
            rectify = isinstance(after, nn.ReLU)
            setattr(network, name, PackedConvolution(child, rectify=rectify))
            if rectify:
                setattr(network, next_name, nn.Identity())
        else:
            pack_convolutions(child)


def serves(conv: nn.Conv2d) -> bool:
    """Whether the package's kernels can compute it on this machine."""
    shape = (conv.kernel_size, conv.padding)
    channels = (conv.in_channels, conv.out_channels)
    return (
        has_convolutions()
        and shape in (((3, 3), (1, 1)), ((1, 1), (0, 0)))
        and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
        and conv.padding_mode == "zeros"
        and all(count % PANEL == 0 for count in channels)
        and not conv.weight.requires_grad
    )
