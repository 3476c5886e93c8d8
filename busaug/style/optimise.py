"""Batched minimisation: every image has its own state, and no loop runs over images.

Both optimisers keep the pixels in [0, 1], count one evaluation of the objective a step for every
image, and return each image's best point, so that no image ends above the loss it starts from.
An image whose loss has levelled off is finished: its best point is frozen while the others go on,
and the batch keeps its shape, so that no image's result depends on another's. Steps are
band-limited (``band_limit``). docs/optimiser.md has the measured comparison behind the defaults.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from busaug.config import StyleConfig
from busaug.style.lbfgs import lbfgs
from busaug.style.metric import band_limit, smoothing_at
from busaug.style.minimum import Best, Evaluate, Minimum
from busaug.trace import span


def minimise(
    evaluate: Evaluate, start: Tensor, config: StyleConfig, pinned: Tensor | None = None
) -> Minimum:
    """Minimise from ``start`` (B, C, H, W) with the optimiser and evaluations of ``config``.

    Pixels marked in ``pinned`` (B, 1, H, W), bool, stay as they are in ``start``.
    """
    method = lbfgs if config.optimiser == "lbfgs" else adam
    movable = (
        torch.ones_like(start) if pinned is None else (~pinned).to(start.dtype).expand_as(start)
    )
    return method(evaluate, start.clamp(0.0, 1.0), movable, config)


def adam(evaluate: Evaluate, start: Tensor, movable: Tensor, config: StyleConfig) -> Minimum:
    """Adam (Kingma & Ba 2015) with a cosine from ``step`` to ``decay`` of it, clamped each step.

    With S = ``band_limit`` it runs on variables u with x = S u, whose gradient is S grad.
    """
    beta1, beta2, tiny = 0.9, 0.999, 1e-8
    images, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
    losses, grad = evaluate(images)
    best = Best(images, losses, config.plateau)
    steps = config.iterations - 1
    for t in range(1, steps + 1):
        if best.finished:
            break
        with span("step"):
            passes = smoothing_at(config, t / config.iterations)
            grad = band_limit(grad * movable, passes)
            mean = beta1 * mean + (1 - beta1) * grad
            square = beta2 * square + (1 - beta2) * grad.square()
            cosine = 0.5 * (1 + math.cos(math.pi * (t - 1) / max(steps - 1, 1)))
            rate = config.step * (config.decay + (1 - config.decay) * cosine)
            direction = (mean / (1 - beta1**t)) / ((square / (1 - beta2**t)).sqrt() + tiny)
            step = rate * movable * band_limit(direction, passes)
            images = (images - step).clamp(0.0, 1.0)
        losses, grad = evaluate(images)
        best.offer(images, losses)
    return best.minimum()
