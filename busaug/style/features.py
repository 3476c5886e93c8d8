"""Feature extraction for style transfer: truncated, BatchNorm-folded, gray-stemmed, frozen."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from busaug.models.weights import Backbone, Weights
from busaug.style.backbones import BACKBONES, truncate

Features = dict[str, Tensor]
"""Layer name to (B, N, h, w)."""


class GrayStem(nn.Module):
    """The stem convolution on one gray channel in [0, 1], equal to replicating the channel.

    The three kernels merge into one, sum_c w_c / std_c. The constant -mean_c / std_c reaches the
    output through the kernel as well, but not where the kernel hangs over the zero-padded border,
    so it is a map (one a size, kept), not a bias.
    """

    kernel: Tensor
    normalised_zero: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        std = torch.tensor(IMAGENET_STD).to(conv.weight).view(1, 3, 1, 1)
        mean = torch.tensor(IMAGENET_MEAN).to(conv.weight).view(1, 3, 1, 1)
        self.register_buffer("kernel", (conv.weight / std).sum(1, keepdim=True), persistent=False)
        self.register_buffer("normalised_zero", -mean / std, persistent=False)
        self._maps: dict[torch.Size, Tensor] = {}

    def forward(self, gray: Tensor) -> Tensor:
        """(B, 1, H, W) to (B, N, h, w)."""
        size = gray.shape[-2:]
        if size not in self._maps:
            with torch.no_grad():
                self._maps[size] = self.conv(self.normalised_zero.expand(1, 3, *size))
        stride, padding = self.conv.stride, self.conv.padding
        return functional.conv2d(gray, self.kernel, None, stride, padding) + self._maps[size]


class FeatureExtractor(nn.Module):
    """Gray images to the features of the style and content layers of a backbone.

    Args:
        backbone: A name in ``BACKBONES``.
        weights: Of that backbone.
        layers: One of its layer sets; InputError for an unknown one.
        softmax: Smooth activations by a softmax over each whole layer (SWAG, Wang et al. 2021),
            scaled to mean one.
    """

    def __init__(
        self,
        backbone: Backbone,
        weights: Weights,
        layers: str = "default",
        *,
        softmax: bool = False,
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
        self._grids: dict[int, dict[str, tuple[int, int]]] = {}
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def grids(self, size: int) -> dict[str, tuple[int, int]]:
        """Rows and columns of every layer's features of a square image, found once a size."""
        if size not in self._grids:
            with torch.no_grad():
                features = self(torch.zeros((1, 1, size, size), device=self.device))
            self._grids[size] = {name: (x.shape[2], x.shape[3]) for name, x in features.items()}
        return self._grids[size]

    def forward(self, gray: Tensor) -> Features:
        """(B, 1, H, W) in [0, 1] to the features of every layer, shallow to deep."""
        features: Features = {}
        x = gray
        for name, stage in self.stages.items():
            x = stage(x)
            features[name] = _smoothed(x) if self.softmax else x
        return features


def _smoothed(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return (flat.softmax(dim=1) * flat.shape[1]).view(x.shape)


def columns(features: Tensor) -> Tensor:
    """(B, N, h, w) to the sample matrix (B, N, h*w); free for either memory format."""
    return features.flatten(2)
