"""The learning rate of every update, and when training stops."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from busaug.config import TrainConfig

REFERENCE_BATCH = 32
"""The batch that ``train.learning_rate`` is meant for; scaling goes by the ratio to it."""


def scaled_rate(settings: TrainConfig) -> float:
    """The learning rate for the configured global batch (Goyal et al. 2017: linear; or its root).

    It does not depend on the number of processes, since the global batch does not.
    """
    ratio = settings.batch / REFERENCE_BATCH
    factor = {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}
    return settings.learning_rate * factor[settings.learning_rate_scaling]


@dataclasses.dataclass
class Schedule:
    """Linear warm-up to the scaled rate, a lower rate after every plateau, early stopping.

    A plateau is ``plateau_patience`` epochs without a new smallest validation loss.
    """

    rate: float
    """Without warm-up."""
    best_loss: float = math.inf
    best_epoch: int = 0
    since_drop: int = 0
    """Epochs without a better loss since the rate fell."""

    @classmethod
    def start(cls, settings: TrainConfig) -> Schedule:
        return cls(scaled_rate(settings))

    def rate_at(self, update: int, warmup_updates: int) -> float:
        """The rate of an update, counted from 1."""
        return self.rate * min(1.0, update / warmup_updates) if warmup_updates else self.rate

    def end_epoch(self, epoch: int, loss: float, settings: TrainConfig) -> bool:
        """Take in an epoch's validation loss; gives whether it is the smallest so far."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.since_drop = loss, epoch, 0
            return True
        self.since_drop += 1
        if self.since_drop >= settings.plateau_patience:
            lower = max(self.rate * settings.plateau_factor, settings.learning_rate_min)
            self.rate = min(self.rate, lower)
            self.since_drop = 0
        return False

    def stops_after(self, epoch: int, settings: TrainConfig) -> bool:
        return epoch - self.best_epoch >= settings.patience or epoch >= settings.epochs

    def row(self) -> dict[str, Any]:
        """Plain values; ``Schedule(**row)`` restores it."""
        return dataclasses.asdict(self)
