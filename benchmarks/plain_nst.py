"""Style transfer as PyTorch's tutorial writes it, one image at a time: the engine's peer.

The network is as published (BatchNorm apart, NCHW, three channels) and cut after the last layer
that is used; the losses are autograd through Gram matrices; ``torch.optim.Adam`` moves the image,
which is clamped after each step. Given the engine's targets it minimises the engine's loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from busaug.models.preprocess import imagenet_normalise
from busaug.models.resnet import ResNet


class PlainTransfer:
    """The loss of one image against its own targets.

    Args:
        network: Frozen, in eval mode.
        content: (1, 1, H, W) in [0, 1].
        grams: Target Gram matrices (N, N), from ``relu`` to ``layer3``.
        relevance: (1, 1, h, w), of mean one.
        style_weight: The factor beside the sum over the style layers.
    """

    def __init__(
        self,
        network: ResNet,
        content: Tensor,
        grams: list[Tensor],
        relevance: Tensor,
        style_weight: float,
    ) -> None:
        stem = nn.Sequential(network.conv1, network.bn1, network.relu)
        first = nn.Sequential(network.maxpool, network.get_submodule("layer1"))
        self.stages = [stem, first, *(network.get_submodule(f"layer{i}") for i in (2, 3))]
        self.grams = grams
        self.relevance = relevance
        self.style_weight = style_weight
        with torch.no_grad():
            self.content = self.features(content)[-1]

    def features(self, image: Tensor) -> list[Tensor]:
        x = imagenet_normalise(image)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def loss(self, image: Tensor) -> Tensor:
        """Differentiable total loss of an image (1, 1, H, W)."""
        features = self.features(image)
        style = image.new_zeros(())
        for layer, target in zip(features, self.grams, strict=True):
            f = layer.flatten(2)[0]
            gram = f @ f.T / f.shape[1]
            style = style + functional.mse_loss(gram, target) / 4
        squares = (features[-1] - self.content).square()
        return 0.5 * (self.relevance * squares).sum() + self.style_weight * style

    def run(self, start: Tensor, evaluations: int, step: float) -> list[float]:
        """The loss at ``start`` and after each Adam step, so many in all."""
        image = start.clone().requires_grad_(True)
        adam = torch.optim.Adam([image], lr=step)
        losses = []
        for _ in range(evaluations):
            adam.zero_grad()
            loss = self.loss(image)
            loss.backward()
            losses.append(float(loss.detach()))
            adam.step()
            with torch.no_grad():
                image.clamp_(0.0, 1.0)
        return losses
