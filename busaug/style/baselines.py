"""Parts of published methods that the proposed one does without (docs/baselines.md).

Layer weights in proportion to the positions (Li et al. 2017), and of the program that the paper's
authors published its means over elements, its randomly mixed content target and its colour image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Generator, Tensor

from busaug.style.features import Features

# Luma of ITU-R BT.601, as colour pictures are read.
_LUMA = (0.299, 0.587, 0.114)


def layer_weights(
    features: Features, layers: tuple[str, ...], scheme: Literal["equal", "positions"]
) -> Tensor:
    """w_l of the style layers, (L, 1), of mean one: all 1, or in proportion to the positions M_l.

    The factor that Li et al. have beside M_l is the same for every layer: it belongs to the
    balance.
    """
    like = features[layers[0]]
    sizes = [features[name].shape[-2:].numel() if scheme == "positions" else 1 for name in layers]
    weights = torch.tensor(sizes, dtype=torch.float64)
    return (weights / weights.mean()).to(like)[:, None]


def elements_balance(content: Tensor) -> float:
    """N M / 2 of content features (B, N, h, w), as beta'.

    With it L / beta' is a mean over elements: L_c / beta' = mean (F - C)^2, and of four style
    layers sum_l L_l = mean_l mean (G_l - T_l)^2.
    """
    return content[0].numel() / 2


def mixed(features: Tensor, generators: Sequence[Generator]) -> Tensor:
    """Each image's features (B, N, h, w) through a random 1x1 convolution of its own.

    N to N channels, no bias, weights uniform in +- sqrt(6 / 2N) (Glorot and Bengio 2010); image b
    draws from generator b.
    """
    n = features.shape[1]
    limit = math.sqrt(6 / (2 * n))
    mixtures = [torch.rand(n, n, generator=g, dtype=torch.float64) for g in generators]
    weights = ((2 * torch.stack(mixtures) - 1) * limit).to(features)
    return (weights @ features.flatten(2)).view(features.shape)


def luma(images: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) to (B, 1, H, W); one channel stays as it is."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
