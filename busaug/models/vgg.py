"""VGG networks with torchvision's key names (Simonyan & Zisserman 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

_WIDTHS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
_POOLED = 7
"""Side of what the linear layers see, whatever the size of the image."""
HIDDEN = 4096


def vgg19_features(pooling: Literal["max", "average"] = "max") -> nn.Sequential:
    """Layers 0..36 of ``vgg19().features``: images (B, 3, H, W) to (B, 512, H/32, W/32).

    Average pooling is the choice of Gatys et al. 2016 for style transfer.
    """
    return _features([[width] * depth for width, depth in _WIDTHS], pooling=pooling)


class VGG(nn.Module):
    """Images (B, 3, H, W), ImageNet-normalised, to logits (B, num_classes)."""

    def __init__(
        self, blocks: Sequence[Sequence[int]], num_classes: int = 1000, *, batchnorm: bool = False
    ) -> None:
        """``blocks`` has the widths of the convolutions between one max pooling and the next."""
        super().__init__()
        self.features = _features(blocks, batchnorm=batchnorm)
        self.avgpool = nn.AdaptiveAvgPool2d(_POOLED)
        self.classifier = nn.Sequential(
            nn.Linear(blocks[-1][-1] * _POOLED**2, HIDDEN),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(HIDDEN, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits


def _features(
    blocks: Sequence[Sequence[int]],
    *,
    batchnorm: bool = False,
    pooling: Literal["max", "average"] = "max",
) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for widths in blocks:
        for width in widths:
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            layers += [nn.BatchNorm2d(width)] if batchnorm else []
            layers.append(nn.ReLU())
            channels = width
        layers.append(nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2))
    return nn.Sequential(*layers)


def vgg19_layer(name: str) -> int:
    """The index in ``features`` of a layer named as in the papers, e.g. ``relu4_2``."""
    names: dict[str, int] = {}
    index = 0
    for block, (_, depth) in enumerate(_WIDTHS, start=1):
        for position in range(1, depth + 1):
            names[f"conv{block}_{position}"] = index
            names[f"relu{block}_{position}"] = index + 1
            index += 2
        names[f"pool{block}"] = index
        index += 1
    return names[name]
