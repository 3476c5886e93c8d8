"""Projected L-BFGS of a batch, every image with its own curvature pairs, step length and search."""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.config import StyleConfig
from busaug.style.curvature import Curvature, dot
from busaug.style.metric import Metric
from busaug.style.minimum import Best, Evaluate, wide
from busaug.trace import span

# Armijo's constant.
_SUFFICIENT = 1e-4
# Where a search begins: at length one the slope is still a fifth of what it was.
_FIRST_LENGTH = 1.3
# What the loss may stand above the lowest, relative to it: the unit of rounding of bfloat16.
# Without it a search in mixed precision refuses all trials from some point on, though steps still
# lead down.
_ROUNDING = 2.0**-9
# After so many refused trials in a row the curvature pairs are forgotten.
_REFUSALS = 6


class Lbfgs:
    """Projected L-BFGS (Nocedal 1980; active set as in Bertsekas 1982), backtracking per image.

    Every evaluation is one trial point of every image: an image whose trial falls enough takes it
    and draws a new direction, another one tries a shorter step next. ``Metric`` takes the place of
    the multiple of the identity that the recursion begins with.
    """

    def __init__(
        self, evaluate: Evaluate, start: Tensor, movable: Tensor, config: StyleConfig
    ) -> None:
        self._evaluate, self._movable = evaluate, movable
        losses, grad = evaluate(start)
        self.best = Best(start, losses, config)
        self._x = start.clone()
        self._grad = grad * movable
        self._value = wide(losses.total, start).clone()
        self._metric = Metric(self._grad, movable, config)
        self._curvature = Curvature(config.history, movable)
        self._free = movable * _free(self._x, self._grad)
        self._direction = self._curvature.direction(self._grad * self._free, self._metric)
        self._length = torch.full_like(self._value, _FIRST_LENGTH)
        self._refusals = torch.zeros_like(self._value)

    def step(self) -> None:
        """One evaluation, of each image's next trial. What is kept stays where it is in memory."""
        trial = (self._x + self._length * self._free * self._direction).clamp(0.0, 1.0)
        losses, grad = self._evaluate(trial)
        with span("step"):
            self.best.offer(trial, losses)
            self._judge(trial, losses.total, grad * self._movable)

    def _judge(self, trial: Tensor, total: Tensor, trial_grad: Tensor) -> None:
        x, grad, value = self._x, self._grad, self._value
        trial_value = wide(total, x)
        lowest = wide(self.best.losses.total, x)
        step = trial - x
        slope = dot(grad, step)
        enough = torch.maximum(value + _SUFFICIENT * slope, (1 + _ROUNDING) * lowest)
        taken = (trial_value <= enough) & (slope < 0)
        taken &= torch.isfinite(trial_grad).all(dim=(1, 2, 3), keepdim=True)

        self._metric.update(trial_grad, taken, self.best.progress)
        self._curvature.push(step, trial_grad - grad, taken, self._metric)
        refusals = torch.where(taken, 0.0, self._refusals + 1)
        lost = refusals >= _REFUSALS
        self._refusals.copy_(refusals)
        self._curvature.forget(lost)
        # Quadratic interpolation through value, slope and the refused value, safeguarded.
        fitted = -0.5 * slope / (trial_value - value - slope)
        shorter = self._length * torch.nan_to_num(fitted, nan=0.1).clamp(0.1, 0.5)
        self._length.copy_(torch.where(taken | lost, _FIRST_LENGTH, shorter))
        for kept, new in ((x, trial), (grad, trial_grad), (value, trial_value)):
            kept.copy_(torch.where(taken, new, kept))
        self._free.copy_(self._movable * _free(x, grad))
        renewed = self._curvature.direction(grad * self._free, self._metric)
        self._direction.copy_(torch.where(taken | lost, renewed, self._direction))


def _free(x: Tensor, grad: Tensor) -> Tensor:
    """1 where a pixel may move downhill, 0 where the box holds it."""
    held = ((x <= 0) & (grad > 0)) | ((x >= 1) & (grad < 0))
    return (~held).to(x.dtype)
