"""Coarse to fine: an image is optimised small first, and its change is carried to the next level.

Every level halves the sides of the one above it and has contents, targets and a loss of its own. A
coarse evaluation costs a quarter, and settles what lies beyond the reach of a fine one's receptive
fields. mr2NST (Wang et al., PRIME 2020) goes to large images so; its evaluations a level are not
published. benchmarks/resolution.py compares it with one level at equal cost.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from busaug.config import StyleConfig
from busaug.data.images import SIDE_MIN, Extent

_MARKED_MIN = 0.1
"""A pixel of a coarse level is an overlay where more than this part of what it averages is."""


def level_extents(extent: Extent, levels: int) -> tuple[Extent, ...]:
    """Rows and columns of every level, coarse to fine."""
    rows, columns = extent
    halved = [2**power for power in reversed(range(levels))]
    return tuple((max(SIDE_MIN, rows // n), max(SIDE_MIN, columns // n)) for n in halved)


def level_evaluations(config: StyleConfig) -> tuple[int, ...]:
    """Evaluations of every level, coarse to fine: ``iterations`` in all, one a level at least."""
    below = config.levels - 1
    if below == 0:
        return (config.iterations,)
    coarse = max(1, round(config.iterations * config.coarse / below))
    return (*[coarse] * below, max(1, config.iterations - below * coarse))


def reduced(images: Tensor, extent: Extent) -> Tensor:
    """Images (B, C, H, W) on a coarser grid: means over areas."""
    if images.shape[-2:] == torch.Size(extent):
        return images
    return functional.interpolate(images, size=extent, mode="area")


def reduced_overlays(overlays: Tensor, extent: Extent) -> Tensor:
    """Overlays, bool (B, 1, H, W), likewise."""
    if overlays.shape[-2:] == torch.Size(extent):
        return overlays
    return reduced(overlays.float(), extent) > _MARKED_MIN


def carried(start: Tensor, coarse_start: Tensor, coarse: Tensor) -> Tensor:
    """Where a finer level begins: ``start`` (B, C, H, W) with what changed at the coarser one.

    The change is enlarged bilinearly and added, so that the fine detail of ``start``, speckle above
    all, is not blurred away first and asked for again.
    """
    change = functional.interpolate(
        coarse - coarse_start, size=start.shape[-2:], mode="bilinear", align_corners=False
    )
    return (start + change).clamp(0.0, 1.0)
