"""The total loss of a batch of images: L = L_c + gamma * balance * sum_l w_l L_style,l.

L_c = 1/2 sum_j r_j ||f_j(image) - f_j(content)||^2 over the positions j of the content layer, with
relevance weights r of mean one (docs/method.md); r = 1 is the content loss of Gatys et al. 2016.
Positions under overlays enter neither loss.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from busaug.ops.style_loss import Kernel, style_loss
from busaug.style.features import FeatureExtractor, Features, columns
from busaug.style.masking import Kept, column_weights, kept_weights
from busaug.style.targets import Targets
from busaug.trace import span


@dataclasses.dataclass(frozen=True)
class Losses:
    """Parts of the loss of a batch."""

    content: Tensor
    """(B,)."""
    layers: Tensor
    """Style loss of each style layer, shallow to deep, (L, B)."""
    total: Tensor
    """(B,)."""

    @property
    def style(self) -> Tensor:
        """Unweighted sum over the style layers, (B,)."""
        return self.layers.sum(dim=0)

    def detach(self) -> Losses:
        return Losses(self.content.detach(), self.layers.detach(), self.total.detach())

    def clone(self) -> Losses:
        return Losses(self.content.clone(), self.layers.clone(), self.total.clone())

    def take(self, other: Losses, images: Tensor) -> None:
        """Overwrite the losses of some images (B,) with the other's."""
        for mine, theirs in (
            (self.content, other.content),
            (self.layers, other.layers),
            (self.total, other.total),
        ):
            mine.copy_(torch.where(images, theirs, mine))


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a batch of images is optimised for; callable by the optimisers."""

    extractor: FeatureExtractor
    content: Tensor
    """Content-layer features of the content images, (B, N, h, w)."""
    targets: Targets
    """Style targets of the batch."""
    style_weights: Tensor
    """gamma * balance * w_l of each style layer, shallow to deep, (L, 1)."""
    relevance: Tensor | None = None
    """Weights r of mean one, (B, 1, h, w) on the content layer's grid; None for r = 1."""
    kept: Kept | None = None
    """The positions of every layer that enter the losses; None: all."""
    kernel: Kernel = "polynomial"
    """Of the style loss. The Gaussian one is estimated from other positions at every evaluation."""
    _evaluation: Iterator[int] = dataclasses.field(default_factory=itertools.count, repr=False)

    @functools.cached_property
    def _content_weights(self) -> Tensor | None:
        if self.kept is None:
            return self.relevance
        return kept_weights(self.relevance, self.kept[self.extractor.content_layer])

    @functools.cached_property
    def _column_weights(self) -> dict[str, Tensor] | None:
        if self.kept is None:
            return None
        return {name: column_weights(self.kept[name]) for name in self.targets}

    def losses(self, images: Tensor) -> Losses:
        """Differentiable losses of images (B, 1 or 3, H, W)."""
        with span("features"):
            features = self.extractor(images)
        with span("loss"):
            content = content_loss(
                features[self.extractor.content_layer], self.content, self._content_weights
            )
            layers = style_losses(
                features, self.targets, self._column_weights, self.kernel, next(self._evaluation)
            )
            return Losses(content, layers, content + (self.style_weights * layers).sum(dim=0))

    def __call__(self, images: Tensor) -> tuple[Losses, Tensor]:
        """Losses and the gradient of each image's total loss, of the images' shape.

        Images share no term, so one backward pass of the sum serves them all.
        """
        leaf = images.detach().requires_grad_(True)
        losses = self.losses(leaf)
        with span("backward"):
            (grad_images,) = torch.autograd.grad(losses.total.sum(), leaf)
        return losses.detach(), grad_images


def style_losses(
    features: Features,
    targets: Targets,
    weights: Mapping[str, Tensor] | None = None,
    kernel: Kernel = "polynomial",
    seed: int = 0,
) -> Tensor:
    """The MMD style loss of each layer and image, (L, B).

    ``weights`` (B, 1, h, w) multiply the features of a layer (``column_weights``), for the
    polynomial kernel alone. ``seed`` is the Gaussian kernel's.
    """
    if weights is not None:
        features = {name: features[name] * weights[name] for name in targets}
    losses = (
        style_loss(columns(features[name]), target, kernel=kernel, seed=seed)
        for name, target in targets.items()
    )
    return torch.stack(list(losses))


def content_loss(features: Tensor, content: Tensor, relevance: Tensor | None = None) -> Tensor:
    """1/2 sum_j r_j ||f_j - c_j||^2: (B, N, h, w) twice and (B, 1, h, w) to (B,)."""
    squares = (features - content).square()
    if relevance is not None:
        squares = squares * relevance
    return 0.5 * squares.sum(dim=(1, 2, 3))
