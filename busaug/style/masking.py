"""Overlays on the grids of the layers: which positions count, and with what weight.

A position is left out where its square of the image holds an overlay pixel. Features of kept
positions still see marks beside them, since receptive fields are wider than squares;
docs/overlays.md has what that leaves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Kept = Mapping[str, Tensor]
"""Layer name to the positions that count, bool (B, 1, h, w)."""
Grids = Mapping[str, tuple[int, int]]
"""Layer name to the rows and columns of its features."""


@dataclasses.dataclass(frozen=True, eq=False)
class Masks:
    """The overlays of a batch of images, and what they leave of every layer."""

    overlays: Tensor
    """Bool (B, 1, H, W)."""
    kept: Kept

    @classmethod
    def of(cls, overlays: Tensor, grids: Grids) -> Masks:
        kept = {layer: kept_positions(overlays, grid) for layer, grid in grids.items()}
        return cls(overlays, kept)

    @property
    def share(self) -> Tensor:
        """Of an image's positions, the part that is kept in the layer that keeps least, (B,)."""
        shares = [kept.float().mean(dim=(1, 2, 3)) for kept in self.kept.values()]
        return torch.stack(shares).amin(dim=0)


def kept_positions(overlays: Tensor, grid: tuple[int, int]) -> Tensor:
    """Overlays, bool (B, 1, H, W), to the positions (h, w) free of them, bool (B, 1, h, w)."""
    return functional.adaptive_max_pool2d(overlays.float(), grid) == 0


def column_weights(kept: Tensor) -> Tensor:
    """sqrt(M / M_kept) where ``kept`` (B, 1, h, w), else 0.

    Weighted features have, over all M positions, the Gram matrix F F^T / M that the M_kept columns
    have by themselves: whatever compares Gram matrices needs to know nothing of masks.
    """
    return kept / _mean(kept).sqrt()


def kept_weights(weights: Tensor | None, kept: Tensor) -> Tensor:
    """Weights of the content loss, both (B, 1, h, w), over the kept positions alone.

    Their mean over all positions is one again, so that content and style keep their balance: the
    style loss, a mean over positions, does not shrink with their number either. Images that keep
    every position keep their weights to the bit. None stands for equal weights, and so do those
    that are zero at every kept position.
    """
    whole = kept.flatten(1).all(dim=1).view(-1, 1, 1, 1)
    even = kept / _mean(kept)
    if weights is None:
        return even
    masked = weights * kept
    mean = masked.mean(dim=(2, 3), keepdim=True)
    scaled = torch.where(mean > 0, masked / torch.where(mean > 0, mean, 1.0), even)
    return torch.where(whole, weights, scaled)


def _mean(kept: Tensor) -> Tensor:
    """Share of the positions that is kept, (B, 1, 1, 1)."""
    return kept.float().mean(dim=(2, 3), keepdim=True)
