"""Convolutions that feature extraction puts in the place of a network's own: exact, and faster."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from busaug.models.resnet import Bottleneck
from busaug.ops.convolution import PANEL, has_convolutions, pack, pointwise_op, winograd_op

_MAPS = 8


class GrayStem(nn.Module):
    """The stem convolution on one gray channel in [0, 1], equal to replicating the channel.

    It takes three different channels too, as they are.

    The three kernels merge into one, sum_c w_c / std_c. The constant -mean_c / std_c reaches the
    output through the kernel as well, but not where the kernel hangs over the zero-padded border,
    so it is a map, not a bias. Those of the last few sizes are kept.
    """

    kernel: Tensor
    std: Tensor
    normalised_zero: Tensor

    def __init__(self, conv: nn.Conv2d, *, rectify: bool = False) -> None:
        """``rectify``: with the ReLU that follows."""
        super().__init__()
        self.conv = conv
        self.rectify = rectify
        std = conv.weight.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
        mean = conv.weight.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        self.register_buffer("kernel", (conv.weight / std).sum(1, keepdim=True), persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.register_buffer("normalised_zero", -mean / std, persistent=False)
        self._maps: dict[torch.Size, Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) or (B, 3, H, W) to (B, N, h, w)."""
        if images.shape[1] == 3:
            colour: Tensor = self.conv(images / self.std + self.normalised_zero)
            return colour.relu() if self.rectify else colour
        size = images.shape[-2:]
        if size not in self._maps:
            if len(self._maps) == _MAPS:
                del self._maps[next(iter(self._maps))]
            with torch.no_grad():
                self._maps[size] = self.conv(self.normalised_zero.expand(1, 3, *size))
        stride, padding = self.conv.stride, self.conv.padding
        out: Tensor = _OneChannel.apply(  # type: ignore[no-untyped-call]
            images, self.kernel, self._maps[size], stride, padding, self.rectify
        )
        return out


class _OneChannel(torch.autograd.Function):
    """The convolution of a single channel with a constant kernel (N, 1, k, k), plus a map.

    oneDNN takes six to eleven times as long over the gradient of one channel as the product and the
    sum of overlaps that it is: an eighth of an evaluation.
    """

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        kernel: Tensor,
        offset: Tensor,
        stride: Sequence[int],
        padding: Sequence[int],
        rectify: bool,
    ) -> Tensor:
        # What follows is done in place: the first layer is the largest.
        out = functional.conv2d(images, kernel, None, stride, padding).add_(offset)
        if rectify:
            out.clamp_min_(0)
        ctx.save_for_backward(kernel, out if rectify else None)
        ctx.extent, ctx.stride, ctx.padding = images.shape[-2:], stride, padding
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        kernel, out = ctx.saved_tensors
        if out is not None:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        # A product an image: what one gets does not depend on how many there are.
        spread = kernel.flatten(1).T.expand(len(grad), -1, -1)
        patches = torch.bmm(spread, grad.flatten(2))
        images = functional.fold(
            patches, ctx.extent, kernel.shape[2:], padding=ctx.padding, stride=ctx.stride
        )
        return images, None, None, None, None, None


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
        self._packed: tuple[Tensor, Tensor] | None = None

    def forward(self, images: Tensor, addend: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, N, h, w), plus an addend of that shape before the ReLU."""
        weight, bias = self.conv.weight, self.conv.bias
        single = images.dtype == weight.dtype == torch.float32
        here = images.device.type == weight.device.type == "cpu"
        if not (single and here and serves(self.conv)):
            plain: Tensor = self.conv(images)
            plain = plain if addend is None else plain + addend
            return plain.relu() if self.rectify else plain
        if self._packed is None:
            self._packed = pack(weight), pack(weight, transposed=True)
        convolved: Tensor
        if self.conv.kernel_size == (1, 1):
            convolved = pointwise_op(images, *self._packed, bias, addend, self.rectify)
        else:
            assert addend is None
            convolved = winograd_op(images, *self._packed, bias, self.rectify)
        return convolved


class PackedBottleneck(nn.Module):
    """A BatchNorm-folded bottleneck whose ReLUs and sum are part of its convolutions."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        if any(isinstance(module, nn.BatchNorm2d) for module in block.modules()):
            raise ValueError("fold BatchNorm before convolutions are packed")
        self.conv1 = PackedConvolution(block.conv1, rectify=True)
        self.conv2 = PackedConvolution(block.conv2, rectify=True)
        self.conv3 = PackedConvolution(block.conv3, rectify=True)
        self.shortcut: nn.Module | None = None
        if block.downsample is not None:
            projection = block.downsample[0]
            assert isinstance(projection, nn.Conv2d)
            self.shortcut = PackedConvolution(projection, rectify=False)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        out: Tensor = self.conv3(self.conv2(self.conv1(x)), shortcut)
        return out


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
