"""From relevance to the weights r of the content loss.

S_j is the relevance of position j, summed over the channels of a layer. All weights have mean one,
so that the content loss keeps its size.

- ``LA``: r_j = lambda + (1 - lambda) M S_j+ / sum S+ (weighted).
- ``LB``: r_j = 1/rho where |S_j| reaches the quantile, else 0 (selected), rho the share kept.
- ``LS``: LA with its positions shuffled, the control.
"""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.config import RelevanceConfig
from busaug.seeding import Key, torch_draw


def spatial_relevance(layer_relevance: Tensor) -> Tensor:
    """S: (B, N, h, w) to (B, 1, h, w)."""
    return layer_relevance.sum(dim=1, keepdim=True)


def content_weights(spatial: Tensor, config: RelevanceConfig, *key: Key) -> Tensor:
    """R of one image from S (1, h, w); ``key`` seeds the shuffle of LS. Raises for mode L0."""
    if config.mode == "LB":
        magnitude = spatial.abs()
        kept = (magnitude >= torch.quantile(magnitude, config.quantile)).to(spatial)
        return kept / kept.mean()
    if config.mode not in ("LA", "LS"):
        raise ValueError(f"mode {config.mode} has no weights")
    positive = spatial.clamp_min(0)
    if float(positive.sum()) <= 0:
        positive = spatial.abs()
    total = positive.sum()
    share = positive / total * positive.numel() if total > 0 else torch.ones_like(positive)
    weights = config.floor + (1 - config.floor) * share
    if config.mode == "LS":
        order = torch.randperm(weights.numel(), generator=torch_draw("shuffle", *key))
        weights = weights.flatten()[order].view_as(weights)
    return weights
