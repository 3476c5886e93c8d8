"""The first convolution of a network on gray images: exact, and faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

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
