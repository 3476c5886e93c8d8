"""The training loop: SGD over global batches, every decision made once for all ranks."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from busaug import console
from busaug.classify.batches import Feed
from busaug.classify.checkpoint import Snapshot
from busaug.classify.inputs import ImageSet
from busaug.classify.predict import gather_logits
from busaug.classify.replica import Replica
from busaug.classify.schedule import Schedule
from busaug.config import Config
from busaug.distributed.communicator import Communicator, Single, agreed
from busaug.errors import InputError

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A finished training; the model holds the best epoch's weights."""

    history: tuple[Row, ...]
    """One row an epoch: epoch, train_loss, val_loss, val_accuracy, lr, updates (so far)."""
    best_epoch: int
    """Counted from 1; of the smallest validation loss."""
    val_logits: Tensor
    """(n_val, C) of the best epoch."""

    @property
    def updates(self) -> int:
        """Optimiser updates made."""
        return int(self.history[-1]["updates"])

    @property
    def best_val_loss(self) -> float:
        return float(self.history[self.best_epoch - 1]["val_loss"])


@dataclasses.dataclass(eq=False)
class _Progress:
    """How far a training has come."""

    schedule: Schedule
    history: list[Row] = dataclasses.field(default_factory=list)
    best_logits: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0))
    best_state: Mapping[str, Tensor] | None = None
    """On rank 0 only."""

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def updates(self) -> int:
        return int(self.history[-1]["updates"]) if self.history else 0


def fit(
    model: nn.Module,
    training: Feed,
    validation: ImageSet,
    config: Config,
    comm: Communicator | None = None,
    start: Snapshot | None = None,
    save: Callable[[Snapshot], None] | None = None,
) -> Fit:
    """Train ``model`` in place and leave it with the best epoch's weights, on its device.

    Cross-entropy, SGD with momentum. After ``plateau_patience`` epochs without a better validation
    loss the rate falls by ``plateau_factor``, after ``patience`` epochs training stops. The same
    arguments on the same machine give the same weights; other numbers of ranks give the same up to
    rounding, since the global batch, its BatchNorm statistics and its dropout do not depend on
    them. Every rank holds all images and computes its share of each batch.

    Rank 0 continues from ``start`` and gives ``save`` what is needed for that after every epoch but
    the last. Raises InputError for a training that diverges.
    """
    comm = comm or Single()
    settings = config.train
    replica = Replica(model, config, comm)
    progress = _begin(replica, config, start)
    replica.tie()
    batches = len(training.epoch(1))
    with (
        _repeatable(),
        console.progress("train", settings.epochs * batches) as advance,
    ):
        advance(progress.updates)
        for epoch in range(progress.epoch + 1, settings.epochs + 1):
            loss_sum, seen = 0.0, 0
            for step, rows in enumerate(training.epoch(epoch), start=1):
                update = (epoch - 1) * batches + step
                rate = progress.schedule.rate_at(update, settings.warmup_epochs * batches)
                loss = replica.update(training.images, rows, epoch, rate)
                loss_sum += loss * len(rows)
                seen += len(rows)
                advance(note=f"epoch {epoch}/{settings.epochs}  loss {loss:.3f}")
            logits = gather_logits(model, validation.images, settings.batch, comm)
            row = {
                "epoch": epoch,
                "train_loss": loss_sum / seen,
                **_validate(logits, validation.targets),
                "lr": rate,
                "updates": update,
            }
            row = comm.broadcast_object(row)
            with agreed(comm):
                _check_finite(row)
            progress.history.append(row)
            if progress.schedule.end_epoch(epoch, row["val_loss"], settings):
                progress.best_logits = logits
                progress.best_state = copy.deepcopy(model.state_dict()) if comm.is_root else None
            if progress.schedule.stops_after(epoch, settings):
                break
            with agreed(comm):
                if save is not None and comm.is_root:
                    save(_snapshot(replica, progress))
    if progress.best_state is not None:
        model.load_state_dict(progress.best_state)
    for tensor in model.state_dict().values():
        comm.broadcast(tensor)
    model.eval()
    return Fit(tuple(progress.history), progress.schedule.best_epoch, progress.best_logits)


def _validate(logits: Tensor, targets: Tensor) -> dict[str, float]:
    return {
        "val_loss": float(F.cross_entropy(logits, targets)),
        "val_accuracy": float((logits.argmax(dim=1) == targets).double().mean()),
    }


def _check_finite(row: Row) -> None:
    if not math.isfinite(row["train_loss"] + row["val_loss"]):
        raise InputError(
            f"training diverged in epoch {row['epoch']}: train loss {row['train_loss']}, "
            f"validation loss {row['val_loss']}, learning rate {row['lr']:g}",
            remedy="Lower train.learning_rate",
        )


def _begin(replica: Replica, config: Config, start: Snapshot | None) -> _Progress:
    """The progress that all ranks start from; rank 0's replica is brought to it."""
    comm = replica.comm
    progress = _Progress(Schedule.start(config.train))
    if comm.is_root and start is not None:
        state = start.group("model")
        replica.restore(state, start.group("momentum"))
        progress = _Progress(
            Schedule(**start.facts["schedule"]),
            list(start.facts["history"]),
            start.tensors["best_logits"],
            start.group("best") or state,
        )
    best_state = progress.best_state
    progress = comm.broadcast_object(dataclasses.replace(progress, best_state=None))
    return dataclasses.replace(progress, best_state=best_state)


def _snapshot(replica: Replica, progress: _Progress) -> Snapshot:
    assert progress.best_state is not None
    tensors = {f"model.{name}": value for name, value in replica.model.state_dict().items()}
    tensors |= {f"momentum.{name}": value for name, value in replica.momentum().items()}
    if progress.schedule.best_epoch < progress.epoch:
        tensors |= {f"best.{name}": value for name, value in progress.best_state.items()}
    tensors["best_logits"] = progress.best_logits
    facts = {"schedule": progress.schedule.row(), "history": progress.history}
    return Snapshot(facts, tensors)


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Keep cuDNN to its repeatable algorithms."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(benchmark=False, deterministic=True, allow_tf32=cudnn.allow_tf32):
        yield
