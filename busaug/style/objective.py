"""The total loss of a batch of images: L = L_c + gamma * balance * sum_l L_style,l.

L_c = 1/2 sum_j r_j ||f_j(image) - f_j(content)||^2 over the positions j of the content layer, with
relevance weights r of mean one (METHODS 5b); r = 1 is the content loss of Gatys et al. 2016.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from busaug.ops.style_loss import style_loss
from busaug.style.features import FeatureExtractor, Features, columns
from busaug.style.targets import Targets


@dataclasses.dataclass(frozen=True)
class Losses:
    """Parts of the loss, each (B,)."""

    content: Tensor
    style: Tensor
    """Unweighted sum over the style layers."""
    total: Tensor


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a batch of images is optimised for; callable by the optimisers."""

    extractor: FeatureExtractor
    content: Tensor
    """Content-layer features of the content images, (B, N, h, w)."""
    targets: Targets
    """Style targets, (B, N, N) a layer."""
    style_weight: float
    """gamma * balance."""
    relevance: Tensor | None = None
    """Weights r of mean one, (B, 1, h, w) on the content layer's grid; None for r = 1."""

    def losses(self, images: Tensor) -> Losses:
        """Differentiable losses of images (B, 1, H, W)."""
        features = self.extractor(images)
        content = content_loss(features[self.extractor.content_layer], self.content, self.relevance)
        style = self.style(features)
        return Losses(content, style, content + self.style_weight * style)

    def style(self, features: Features) -> Tensor:
        """Sum over the style layers of the polynomial-MMD style loss, (B,)."""
        parts = [style_loss(columns(features[name]), t) for name, t in self.targets.items()]
        return torch.stack(parts).sum(dim=0)

    def __call__(self, images: Tensor) -> tuple[Losses, Tensor]:
        """Losses and the gradient of each image's total loss, (B, 1, H, W).

        Images share no term, so one backward pass of the sum serves them all.
        """
        leaf = images.detach().requires_grad_(True)
        losses = self.losses(leaf)
        (grad_images,) = torch.autograd.grad(losses.total.sum(), leaf)
        return Losses(losses.content.detach(), losses.style.detach(), losses.total.detach()), (
            grad_images
        )


def content_loss(features: Tensor, content: Tensor, relevance: Tensor | None = None) -> Tensor:
    """1/2 sum_j r_j ||f_j - c_j||^2: (B, N, h, w) twice and (B, 1, h, w) to (B,)."""
    squares = (features - content).square()
    if relevance is not None:
        squares = squares * relevance
    return 0.5 * squares.sum(dim=(1, 2, 3))
