"""Projected L-BFGS of a batch, every image with its own curvature pairs, step length and search."""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.config import StyleConfig
from busaug.style.metric import Metric
from busaug.style.minimum import Best, Evaluate, Minimum, wide
from busaug.trace import span

# Armijo's constant, and the pixel change (root mean square) of a first step without curvature.
_SUFFICIENT = 1e-4
_FIRST_STEP_RMS = 0.005
# Where a search begins: at length one the slope is still a fifth of what it was.
_FIRST_LENGTH = 1.3
# What the loss may stand above the lowest, relative to it: the unit of rounding of bfloat16.
# Without it a search in mixed precision refuses all trials from some point on, though steps still
# lead down.
_ROUNDING = 2.0**-9
# After so many refused trials in a row the curvature pairs are forgotten.
_REFUSALS = 6


class _Curvature:
    """Ring of curvature pairs of each image for the L-BFGS two-loop recursion.

    Slots are shared by the batch; an image that did not accept a step leaves a slot of weight zero,
    so slots outnumber the pairs of config by the refusals that are usual.
    """

    def __init__(self, slots: int, movable: Tensor) -> None:
        """``movable`` (B, C, H, W) is 1 where a pixel may move, else 0."""
        self.slots = slots
        self._first = _FIRST_STEP_RMS * movable.sum(dim=(1, 2, 3), keepdim=True).sqrt()
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.rho: list[Tensor] = []
        self.scale = torch.zeros_like(self._first)

    def push(self, step: Tensor, change: Tensor, keep: Tensor, metric: Metric) -> None:
        """Add pairs (B, C, H, W) for the images ``keep`` (B, 1, 1, 1); others get an empty slot."""
        inner = _dot(step, change)
        keep = keep & (inner > 1e-8 * _norm(change) * _norm(step))
        zero = torch.zeros_like(inner)
        self.steps.append(torch.where(keep, step, zero))
        self.changes.append(torch.where(keep, change, zero))
        self.rho.append(torch.where(keep, 1 / torch.where(keep, inner, 1.0), zero))
        guessed = metric.square(change).clamp_min(1e-30)
        self.scale = torch.where(keep, inner / guessed, self.scale)
        if len(self.steps) > self.slots:
            del self.steps[0], self.changes[0], self.rho[0]

    def forget(self, images: Tensor) -> None:
        """Drop the pairs of the images marked in (B, 1, 1, 1)."""
        self.rho = [torch.where(images, 0.0, rho) for rho in self.rho]
        self.scale = torch.where(images, 0.0, self.scale)

    def direction(self, grad: Tensor, metric: Metric) -> Tensor:
        """-H grad of each image, (B, C, H, W); a short step where no pair is known."""
        q, weights = grad, []
        pairs = list(zip(self.steps, self.changes, self.rho, strict=True))
        for step, change, rho in reversed(pairs):
            weight = rho * _dot(step, q)
            weights.append(weight)
            q = q - weight * change
        q = metric(q)
        # Only looked at where no pair has changed q.
        first = self._first / _norm(q).clamp_min(1e-30)
        q = q * torch.where(self.scale > 0, self.scale, first)
        for (step, change, rho), weight in zip(pairs, reversed(weights), strict=True):
            q = q + step * (weight - rho * _dot(change, q))
        return -q


def lbfgs(evaluate: Evaluate, start: Tensor, movable: Tensor, config: StyleConfig) -> Minimum:
    """Projected L-BFGS (Nocedal 1980; active set as in Bertsekas 1982), backtracking per image.

    Every evaluation is one trial point of every image: an image whose trial falls enough takes it
    and draws a new direction, another one tries a shorter step next. ``Metric`` takes the place of
    the multiple of the identity that the recursion begins with.
    """
    x = start
    losses, grad = evaluate(start)
    grad = grad * movable
    best = Best(start, losses, config.plateau)
    value = wide(losses.total, x)
    metric = Metric(grad, movable, config)
    curvature = _Curvature(config.history, movable)
    free = movable * _free(x, grad)
    direction = curvature.direction(grad * free, metric)
    length = torch.full_like(value, _FIRST_LENGTH)
    refusals = torch.zeros_like(value)
    for t in range(1, config.iterations):
        if best.finished:
            break
        trial = (x + length * free * direction).clamp(0.0, 1.0)
        losses, trial_grad = evaluate(trial)
        with span("step"):
            trial_grad = trial_grad * movable
            best.offer(trial, losses)
            trial_value, lowest = wide(losses.total, x), wide(best.losses.total, x)
            step = trial - x
            slope = _dot(grad, step)
            enough = torch.maximum(value + _SUFFICIENT * slope, (1 + _ROUNDING) * lowest)
            taken = (trial_value <= enough) & (slope < 0)
            taken &= torch.isfinite(trial_grad).all(dim=(1, 2, 3), keepdim=True)

            metric.update(trial_grad, taken, t / config.iterations)
            curvature.push(step, trial_grad - grad, taken, metric)
            refusals = torch.where(taken, 0.0, refusals + 1)
            lost = refusals >= _REFUSALS
            curvature.forget(lost)
            # Quadratic interpolation through value, slope and the refused value, safeguarded.
            fitted = -0.5 * slope / (trial_value - value - slope)
            shorter = length * torch.nan_to_num(fitted, nan=0.1).clamp(0.1, 0.5)
            length = torch.where(taken | lost, _FIRST_LENGTH, shorter)
            x = torch.where(taken, trial, x)
            grad = torch.where(taken, trial_grad, grad)
            value = torch.where(taken, trial_value, value)
            free = movable * _free(x, grad)
            renewed = curvature.direction(grad * free, metric)
            direction = torch.where(taken | lost, renewed, direction)
    return best.minimum()


def _free(x: Tensor, grad: Tensor) -> Tensor:
    """1 where a pixel may move downhill, 0 where the box holds it."""
    held = ((x <= 0) & (grad > 0)) | ((x >= 1) & (grad < 0))
    return (~held).to(x.dtype)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2, 3), keepdim=True)


def _norm(a: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(a, dim=(1, 2, 3), keepdim=True)
    return norm
