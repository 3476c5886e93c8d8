"""Feature extraction for style transfer: truncated, BatchNorm-folded, gray-stemmed, frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from busaug.data.images import SIDE_MIN, Extent
from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from busaug.models.weights import Backbone, Weights
from busaug.style.backbones import BACKBONES, truncate

Features = dict[str, Tensor]
"""Layer name to (B, N, h, w)."""

_MAPS = 8
_PIXELS_AT_ONCE = 2**20
"""Of the images whose features are streamed, where one has not more by itself."""


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

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
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
            return colour
        size = images.shape[-2:]
        if size not in self._maps:
            if len(self._maps) == _MAPS:
                del self._maps[next(iter(self._maps))]
            with torch.no_grad():
                self._maps[size] = self.conv(self.normalised_zero.expand(1, 3, *size))
        stride, padding = self.conv.stride, self.conv.padding
        out: Tensor = _OneChannel.apply(images, self.kernel, stride, padding)  # type: ignore[no-untyped-call]
        return out + self._maps[size]


class _OneChannel(torch.autograd.Function):
    """The convolution of a single channel with a constant kernel (N, 1, k, k).

    oneDNN takes six to eleven times as long over the gradient of one channel as the product and the
    sum of overlaps that it is: an eighth of an evaluation.
    """

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, kernel: Tensor, stride: Sequence[int], padding: Sequence[int]
    ) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.extent, ctx.stride, ctx.padding = images.shape[-2:], stride, padding
        return functional.conv2d(images, kernel, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = grads
        (kernel,) = ctx.saved_tensors
        # A product an image: what one gets does not depend on how many there are.
        spread = kernel.flatten(1).T.expand(len(grad), -1, -1)
        patches = torch.bmm(spread, grad.flatten(2))
        images = functional.fold(
            patches, ctx.extent, kernel.shape[2:], padding=ctx.padding, stride=ctx.stride
        )
        return images, None, None, None


class FeatureExtractor(nn.Module):
    """Gray (or colour) images to the features of the style and content layers of a backbone.

    Args:
        backbone: A name in ``BACKBONES``.
        weights: Of that backbone.
        layers: One of its layer sets; InputError for an unknown one.
        softmax: Smooth activations by a softmax over each whole layer (SWAG, Wang et al. 2021),
            scaled to mean one.
        precision: ``mixed`` convolves in bfloat16 after the first stage, whose input, an image,
            would lose gray levels. Features are float32 all the same.
    """

    def __init__(
        self,
        backbone: Backbone,
        weights: Weights,
        layers: str = "default",
        *,
        softmax: bool = False,
        precision: Literal["single", "mixed"] = "single",
    ) -> None:
        super().__init__()
        spec = BACKBONES[backbone]
        chosen = spec.layers(layers)
        self.style_layers = chosen.style
        self.content_layer = chosen.content
        self.softmax = softmax
        stages = truncate(spec.stages(weights), chosen)
        stem = stages[0][1]
        assert isinstance(stem, nn.Sequential)
        assert isinstance(stem[0], nn.Conv2d)
        stem[0] = GrayStem(stem[0])
        self.stages = nn.ModuleDict(dict(stages))
        self._inner: dict[str, torch.dtype] = {}
        if precision == "mixed":
            self._inner = {name: torch.bfloat16 for name, _ in stages[1:]}
            for name in self._inner:
                self.stages[name].to(torch.bfloat16)
        self._grids: dict[Extent, dict[str, Extent]] = {}
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def grids(self, extent: Extent) -> dict[str, Extent]:
        """Rows and columns of every layer's features of such images, found once an extent."""
        if extent not in self._grids:
            # Of two strips: rows depend on rows alone, and columns on columns.
            rows, columns = (
                {name: x.shape for name, x in self.stream(torch.zeros(1, 1, *strip))}
                for strip in ((extent[0], SIDE_MIN), (SIDE_MIN, extent[1]))
            )
            self._grids[extent] = {name: (rows[name][2], columns[name][3]) for name in rows}
        return self._grids[extent]

    @torch.no_grad()
    def stream(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """What the forward pass gives, one layer after the other, for large images.

        Only one layer's features are held, and a few images are computed at a time: so many that it
        makes no difference for small ones.
        """
        x = images.to(self.device)
        step = max(1, _PIXELS_AT_ONCE // images.shape[-2:].numel())
        for name, stage in self.stages.items():
            x = _by_parts(stage, self._taken(x, name), step)
            yield name, self._given(x)

    def forward(self, images: Tensor) -> Features:
        """(B, 1 or 3, H, W) in [0, 1] to the features of every layer, shallow to deep."""
        features: Features = {}
        x = images
        for name, stage in self.stages.items():
            x = stage(self._taken(x, name))
            features[name] = self._given(x)
        return features

    def _taken(self, x: Tensor, name: str) -> Tensor:
        """In the precision of the stage of that name."""
        return x.to(self._inner[name]) if name in self._inner else x

    def _given(self, x: Tensor) -> Tensor:
        """A stage's output as features."""
        x = x.float() if x.dtype == torch.bfloat16 else x
        return _smoothed(x) if self.softmax else x


def _by_parts(stage: nn.Module, images: Tensor, step: int) -> Tensor:
    """The stage's output for ``step`` images at a time; the same as for all at once."""
    if len(images) <= step:
        whole: Tensor = stage(images)
        return whole
    out: Tensor | None = None
    for begin in range(0, len(images), step):
        part = stage(images[begin : begin + step])
        if out is None:
            out = torch.empty(
                (len(images), *part.shape[1:]),
                dtype=part.dtype,
                device=part.device,
                memory_format=torch.channels_last,
            )
        out[begin : begin + step] = part
    assert out is not None
    return out


def _smoothed(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return (flat.softmax(dim=1) * flat.shape[1]).view(x.shape)


def columns(features: Tensor) -> Tensor:
    """(B, N, h, w) to the sample matrix (B, N, h*w); free for either memory format."""
    return features.flatten(2)
