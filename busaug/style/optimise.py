"""Batched minimisation: every image has its own state, and no loop runs over images.

Both optimisers keep the pixels in [0, 1], count one evaluation of the objective a step for every
image, and return each image's best point, so that no image ends above the loss it starts from.
An image whose loss has levelled off is finished: its best point is frozen while the others go on,
and the batch keeps its shape, so that no image's result depends on another's. Steps are
band-limited (``band_limit``). docs/optimiser.md has the measured comparison behind the defaults.
"""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.config import StyleConfig
from busaug.style.adam import Adam
from busaug.style.captured import Captured
from busaug.style.lbfgs import Lbfgs
from busaug.style.minimum import Evaluate, Minimum


def minimise(
    evaluate: Evaluate,
    start: Tensor,
    config: StyleConfig,
    pinned: Tensor | None = None,
    *,
    graph: bool = False,
) -> Minimum:
    """Minimise from ``start`` (B, C, H, W) with the optimiser and evaluations of ``config``.

    Pixels marked in ``pinned`` (B, 1, H, W), bool, stay as they are in ``start``. With ``graph`` a
    step is one CUDA graph: ``evaluate`` must then do the same for all images.
    """
    method = Lbfgs if config.optimiser == "lbfgs" else Adam
    movable = (
        torch.ones_like(start) if pinned is None else (~pinned).to(start.dtype).expand_as(start)
    )
    search = method(evaluate, start.clamp(0.0, 1.0), movable, config)
    step = Captured(search.step, start.device) if graph else search.step
    for evaluations in range(1, config.iterations):
        if search.best.finished(evaluations):
            break
        step()
    return search.best.minimum()
