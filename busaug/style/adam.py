"""Adam of a batch, in the box."""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.config import StyleConfig
from busaug.style.metric import band_limit, smoothing_at
from busaug.style.minimum import Best, Evaluate
from busaug.trace import span

_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8


class Adam:
    """Adam (Kingma & Ba 2015) with a cosine from ``step`` to ``decay`` of it, clamped each step.

    With S = ``band_limit`` it runs on variables u with x = S u, whose gradient is S grad.
    """

    def __init__(
        self, evaluate: Evaluate, start: Tensor, movable: Tensor, config: StyleConfig
    ) -> None:
        self._evaluate, self._movable, self._config = evaluate, movable, config
        losses, grad = evaluate(start)
        self.best = Best(start, losses, config)
        self._x, self._grad = start.clone(), grad.clone()
        self._mean, self._square = torch.zeros_like(start), torch.zeros_like(start)
        self._powers = torch.ones(2, dtype=torch.float64, device=start.device)
        self._betas = self._powers.new_tensor([_BETA1, _BETA2])

    def step(self) -> None:
        """A step and its evaluation. What is kept stays where it is in memory."""
        with span("step"):
            self._move()
        losses, grad = self._evaluate(self._x)
        self._grad.copy_(grad)
        self.best.offer(self._x, losses)

    def _move(self) -> None:
        parts = smoothing_at(self._config, self.best.progress).unbind()
        grad = band_limit(self._grad * self._movable, parts)
        self._mean.mul_(_BETA1).add_((1 - _BETA1) * grad)
        self._square.mul_(_BETA2).add_((1 - _BETA2) * grad.square())
        self._powers.mul_(self._betas)
        mean, square = self._mean, self._square
        unbiased = 1 - self._powers
        direction = (mean / unbiased[0]) / ((square / unbiased[1]).sqrt() + _TINY)
        step = self._rate() * self._movable * band_limit(direction, parts)
        self._x.copy_((self._x - step).clamp(0.0, 1.0))

    def _rate(self) -> Tensor:
        """The step length of the step that comes."""
        config = self._config
        done = self.best.progress[0] * config.iterations - 1
        steps = max(config.iterations - 2, 1)
        cosine = 0.5 * (1 + torch.cos(torch.pi * done / steps))
        return config.step * (config.decay + (1 - config.decay) * cosine)
