"""Batched minimisation: every image has its own state, and no loop runs over images.

Both optimisers keep the pixels in [0, 1], count one evaluation of the objective a step for every
image, and return each image's best point, so that no image ends above the loss it starts from.
An image whose loss has levelled off is finished: its best point is frozen while the others go on,
and the batch keeps its shape, so that no image's result depends on another's. Steps are
band-limited (``band_limit``). docs/optimiser.md has the measured comparison behind the defaults.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from busaug.config import StyleConfig
from busaug.style.objective import Losses

Evaluate = Callable[[Tensor], tuple[Losses, Tensor]]

# Armijo's constant, and the pixel change (root mean square) of a first step without curvature.
_SUFFICIENT = 1e-4
_FIRST_STEP_RMS = 0.005
# The diagonal of L-BFGS's first guess: side of its window, memory from one evaluation to the next,
# power of the mean square, and what is added to that, relative to its mean.
_WINDOW = 9
_MEMORY = 0.9
_EQUALISE = 0.75
_QUIETEST = 1e-3
# After so many refused trials in a row the curvature pairs are forgotten.
_REFUSALS = 6
# A smaller relative gain over ``plateau`` evaluations finishes an image.
_PLATEAU_GAIN = 1e-3


@dataclasses.dataclass(frozen=True)
class Minimum:
    """The outcome for a batch."""

    images: Tensor
    """Best points, (B, C, H, W) in [0, 1]."""
    initial: Losses
    final: Losses
    curve: list[Tensor]
    """Best total loss (B,) after each evaluation, the first at the start. Shorter than the
    evaluations of the configuration where every image finished early."""

    def begun_at(self, initial: Losses) -> Minimum:
        """The same with other losses for the start."""
        return dataclasses.replace(self, initial=initial, curve=[initial.total, *self.curve])


def minimise(
    evaluate: Evaluate, start: Tensor, config: StyleConfig, pinned: Tensor | None = None
) -> Minimum:
    """Minimise from ``start`` (B, C, H, W) with the optimiser and evaluations of ``config``.

    Pixels marked in ``pinned`` (B, 1, H, W), bool, stay as they are in ``start``.
    """
    method = _lbfgs if config.optimiser == "lbfgs" else _adam
    movable = (
        torch.ones_like(start) if pinned is None else (~pinned).to(start.dtype).expand_as(start)
    )
    return method(evaluate, start.clamp(0.0, 1.0), movable, config)


def band_limit(images: Tensor, passes: float) -> Tensor:
    """Binomial smoothing [1 2 1]/4 along both axes of (B, C, H, W), ``passes`` times.

    It has a zero at the highest frequency. A network that samples every second pixel cannot tell
    patterns there from others, and steps along the plain gradient print a fine checkerboard into
    dark regions. Scanners are band-limited too. With replicated borders the operator is symmetric,
    as a preconditioner has to be. The fraction f of a pass is [f, 4 - 2f, f]/4, which leaves
    1 - f of the highest frequency.
    """
    whole = int(passes)
    for part in (*(1.0 for _ in range(whole)), passes - whole):
        if part > 0:
            side, middle = 0.25 * part, 1 - 0.5 * part
            padded = functional.pad(images, (1, 1, 0, 0), mode="replicate")
            images = side * (padded[..., :-2] + padded[..., 2:]) + middle * images
            padded = functional.pad(images, (0, 0, 1, 1), mode="replicate")
            images = side * (padded[..., :-2, :] + padded[..., 2:, :]) + middle * images
    return images


def smoothing_at(config: StyleConfig, progress: float) -> float:
    """Passes of the filter after the share ``progress`` (0 to 1) of the evaluations."""
    return config.smoothing * (1 - progress * (1 - config.smoothing_left))


class _Best:
    """The best point seen by each image, and whether it is still looked for."""

    def __init__(self, images: Tensor, losses: Losses, plateau: int) -> None:
        self.images = images.clone()
        self.initial = self.losses = losses
        self.curve = [losses.total]
        self._plateau = plateau
        self._active = torch.ones_like(losses.total, dtype=torch.bool)

    def offer(self, images: Tensor, losses: Losses) -> None:
        better = (losses.total < self.losses.total) & self._active  # False for NaN
        self.images = torch.where(_wide(better, images), images, self.images)
        self.losses = losses.where(better, self.losses)
        self.curve.append(self.losses.total)
        if 0 < self._plateau < len(self.curve):
            before = self.curve[-1 - self._plateau]
            self._active &= before - self.losses.total > _PLATEAU_GAIN * before

    @property
    def finished(self) -> bool:
        """Whether every image is. Asked for once a plateau: a device has to be waited for."""
        due = self._plateau > 0 and len(self.curve) % self._plateau == 0
        return due and not bool(self._active.any())

    def minimum(self) -> Minimum:
        return Minimum(self.images, self.initial, self.losses, self.curve)


def _adam(evaluate: Evaluate, start: Tensor, movable: Tensor, config: StyleConfig) -> Minimum:
    """Adam (Kingma & Ba 2015) with a cosine from ``step`` to ``decay`` of it, clamped each step.

    With S = ``band_limit`` it runs on variables u with x = S u, whose gradient is S grad.
    """
    beta1, beta2, tiny = 0.9, 0.999, 1e-8
    images, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
    losses, grad = evaluate(images)
    best = _Best(images, losses, config.plateau)
    steps = config.iterations - 1
    for t in range(1, steps + 1):
        if best.finished:
            break
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


class _Metric:
    """H0 = S D S, the guess of the inverse Hessian that curvature pairs are laid over.

    S = ``band_limit``. D is diagonal: a power of the mean square of the band-limited gradient, over
    a window of pixels and the last evaluations. Gradients of a style loss differ by orders of
    magnitude between echo-free and bright parts of a picture, and pairs are too few to learn that.
    """

    def __init__(self, grad: Tensor, movable: Tensor, config: StyleConfig) -> None:
        """From the gradient (B, C, H, W) at the start; pixels that may not move count nowhere."""
        self._config = config
        self._movable, self._neighbours = movable, _window_mean(movable).clamp_min(1e-30)
        self._passes = config.smoothing
        self._square = self._smooth(grad).square()
        self._diagonal = self._equaliser()

    def update(self, grad: Tensor, taken: Tensor, progress: float) -> None:
        """Learn from the gradients of the images ``taken`` (B, 1, 1, 1)."""
        self._passes = smoothing_at(self._config, progress)
        square = _MEMORY * self._square + (1 - _MEMORY) * self._smooth(grad).square()
        self._square = torch.where(taken, square, self._square)
        self._diagonal = self._equaliser()

    def __call__(self, values: Tensor) -> Tensor:
        """H0 values, (B, C, H, W)."""
        return self._smooth(self._diagonal * self._smooth(values))

    def _equaliser(self) -> Tensor:
        local = self._movable * _window_mean(self._movable * self._square) / self._neighbours
        count = self._movable.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1.0)
        mean = (local.sum(dim=(1, 2, 3), keepdim=True) / count).clamp_min(1e-30)
        equaliser: Tensor = (local / mean + _QUIETEST) ** -_EQUALISE
        return equaliser

    def _smooth(self, values: Tensor) -> Tensor:
        return band_limit(values, self._passes)


def _window_mean(values: Tensor) -> Tensor:
    """The mean over the window about each pixel, zero outside the image."""
    reach = _WINDOW // 2
    rows = functional.avg_pool2d(values, (1, _WINDOW), stride=1, padding=(0, reach))
    found: Tensor = functional.avg_pool2d(rows, (_WINDOW, 1), stride=1, padding=(reach, 0))
    return found


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

    def push(self, step: Tensor, change: Tensor, keep: Tensor, metric: _Metric) -> None:
        """Add pairs (B, C, H, W) for the images ``keep`` (B, 1, 1, 1); others get an empty slot."""
        inner = _dot(step, change)
        keep = keep & (inner > 1e-8 * _norm(change) * _norm(step))
        zero = torch.zeros_like(inner)
        self.steps.append(torch.where(keep, step, zero))
        self.changes.append(torch.where(keep, change, zero))
        self.rho.append(torch.where(keep, 1 / torch.where(keep, inner, 1.0), zero))
        guessed = _dot(change, metric(change)).clamp_min(1e-30)
        self.scale = torch.where(keep, inner / guessed, self.scale)
        if len(self.steps) > self.slots:
            del self.steps[0], self.changes[0], self.rho[0]

    def forget(self, images: Tensor) -> None:
        """Drop the pairs of the images marked in (B, 1, 1, 1)."""
        self.rho = [torch.where(images, 0.0, rho) for rho in self.rho]
        self.scale = torch.where(images, 0.0, self.scale)

    def direction(self, grad: Tensor, metric: _Metric) -> Tensor:
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


def _lbfgs(evaluate: Evaluate, start: Tensor, movable: Tensor, config: StyleConfig) -> Minimum:
    """Projected L-BFGS (Nocedal 1980; active set as in Bertsekas 1982), backtracking per image.

    Every evaluation is one trial point of every image: an image whose trial falls enough takes it
    and draws a new direction, another one tries a shorter step next. ``_Metric`` takes the place of
    the multiple of the identity that the recursion begins with.
    """
    x = start
    losses, grad = evaluate(start)
    grad = grad * movable
    best = _Best(start, losses, config.plateau)
    value = _wide(losses.total, x)
    metric = _Metric(grad, movable, config)
    curvature = _Curvature(config.history, movable)
    free = movable * _free(x, grad)
    direction = curvature.direction(grad * free, metric)
    length = torch.ones_like(value)
    refusals = torch.zeros_like(value)
    for t in range(1, config.iterations):
        if best.finished:
            break
        trial = (x + length * free * direction).clamp(0.0, 1.0)
        losses, trial_grad = evaluate(trial)
        trial_grad = trial_grad * movable
        best.offer(trial, losses)
        trial_value = _wide(losses.total, x)
        step = trial - x
        slope = _dot(grad, step)
        taken = (trial_value <= value + _SUFFICIENT * slope) & (slope < 0)
        taken &= torch.isfinite(trial_grad).all(dim=(1, 2, 3), keepdim=True)

        metric.update(trial_grad, taken, t / config.iterations)
        curvature.push(step, trial_grad - grad, taken, metric)
        refusals = torch.where(taken, 0.0, refusals + 1)
        lost = refusals >= _REFUSALS
        curvature.forget(lost)
        # Quadratic interpolation through value, slope and the refused value, safeguarded.
        fitted = -0.5 * slope / (trial_value - value - slope)
        shorter = length * torch.nan_to_num(fitted, nan=0.1).clamp(0.1, 0.5)
        length = torch.where(taken | lost, 1.0, shorter)
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


def _wide(flags: Tensor, like: Tensor) -> Tensor:
    return flags.view(-1, *([1] * (like.ndim - 1)))
