"""Feature extraction for style transfer: truncated, BatchNorm-folded, gray-stemmed, frozen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from busaug.data.images import SIDE_MIN, Extent
from busaug.models.weights import Backbone, Weights
from busaug.style.backbones import BACKBONES, truncate
from busaug.style.packed import pack_convolutions
from busaug.style.stem import GrayStem

Features = dict[str, Tensor]
"""Layer name to (B, N, h, w)."""

_PIXELS_AT_ONCE = 2**20
"""Of the images whose features are streamed, where one has not more by itself."""


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
        packed: Convolve by the package's own kernels where they serve (``PackedConvolution``).
    """

    def __init__(
        self,
        backbone: Backbone,
        weights: Weights,
        layers: str = "default",
        *,
        softmax: bool = False,
        precision: Literal["single", "mixed"] = "single",
        packed: bool = True,
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
        rectify = len(stem) > 1 and isinstance(stem[1], nn.ReLU)
        stem[0] = GrayStem(stem[0], rectify=rectify)
        if rectify:
            stem[1] = nn.Identity()
        self.stages = nn.ModuleDict(dict(stages))
        self._inner: dict[str, torch.dtype] = {}
        if precision == "mixed":
            self._inner = {name: torch.bfloat16 for name, _ in stages[1:]}
            for name in self._inner:
                self.stages[name].to(torch.bfloat16)
        elif packed:
            pack_convolutions(self.stages)
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
