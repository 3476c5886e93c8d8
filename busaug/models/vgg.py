"""The convolutional part of VGG-19 with torchvision's key names (Simonyan & Zisserman 2015)."""

from __future__ import annotations

from typing import Literal

from torch import nn

_WIDTHS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


def vgg19_features(pooling: Literal["max", "average"] = "max") -> nn.Sequential:
    """Layers 0..36 of ``vgg19().features``: images (B, 3, H, W) to (B, 512, H/32, W/32).

    Average pooling is the choice of Gatys et al. 2016 for style transfer.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in _WIDTHS:
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
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
