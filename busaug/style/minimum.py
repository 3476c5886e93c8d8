"""What a minimisation yields, and the best points on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from busaug.config import StyleConfig
from busaug.style.objective import Losses

Evaluate = Callable[[Tensor], tuple[Losses, Tensor]]
"""Images (B, C, H, W) to their losses and the gradients of the total ones."""

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


class Best:
    """The best point seen by each image, and whether it is still looked for.

    All state stays where it is in memory, so that a CUDA graph may replay ``offer``.
    """

    def __init__(self, images: Tensor, losses: Losses, config: StyleConfig) -> None:
        """After the first of ``config.iterations`` evaluations."""
        self.images = images.clone()
        self.losses = losses.clone()
        self._initial = losses.clone()
        self._iterations, self._plateau = config.iterations, config.plateau
        self._count = torch.ones(1, dtype=torch.int64, device=images.device)
        self._curve = losses.total.new_zeros(config.iterations, len(losses.total))
        self._curve[0] = losses.total
        self._active = torch.ones_like(losses.total, dtype=torch.bool)

    @property
    def progress(self) -> Tensor:
        """Share of the evaluations that is done, (1,), float64."""
        return self._count.double() / self._iterations

    def offer(self, images: Tensor, losses: Losses) -> None:
        """The next evaluation."""
        better = (losses.total < self.losses.total) & self._active  # False for NaN
        self.images.copy_(torch.where(wide(better, images), images, self.images))
        self.losses.take(losses, better)
        self._curve.index_copy_(0, self._count, self.losses.total[None])
        if self._plateau > 0:
            earlier = (self._count - self._plateau).clamp_min(0)
            before = self._curve.index_select(0, earlier)[0]
            gained = before - self.losses.total > _PLATEAU_GAIN * before
            self._active.logical_and_(gained | (self._count < self._plateau))
        self._count.add_(1)

    def finished(self, evaluations: int) -> bool:
        """Whether every image is, after so many. Looked up once a plateau: a device has to be
        waited for.
        """
        due = self._plateau > 0 and evaluations % self._plateau == 0
        return due and not bool(self._active.any())

    def minimum(self) -> Minimum:
        curve = list(self._curve[: int(self._count)])
        return Minimum(self.images, self._initial, self.losses, curve)


def wide(flags: Tensor, like: Tensor) -> Tensor:
    """(B,) as it is laid over images (B, C, H, W)."""
    return flags.view(-1, *([1] * (like.ndim - 1)))
