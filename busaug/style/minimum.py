"""What a minimisation yields, and the best points on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

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
    """The best point seen by each image, and whether it is still looked for."""

    def __init__(self, images: Tensor, losses: Losses, plateau: int) -> None:
        self.images = images.clone()
        self.initial = self.losses = losses
        self.curve = [losses.total]
        self._plateau = plateau
        self._active = torch.ones_like(losses.total, dtype=torch.bool)

    def offer(self, images: Tensor, losses: Losses) -> None:
        better = (losses.total < self.losses.total) & self._active  # False for NaN
        self.images = torch.where(wide(better, images), images, self.images)
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


def wide(flags: Tensor, like: Tensor) -> Tensor:
    """(B,) as it is laid over images (B, C, H, W)."""
    return flags.view(-1, *([1] * (like.ndim - 1)))
