"""The whole network trained on an arm's images, by updates or by epochs."""

from __future__ import annotations

import dataclasses

import torch

from busaug.classify.batches import Company, Feed, accompanied, shuffled
from busaug.classify.evaluate import probabilities
from busaug.classify.fit import Fit, fit
from busaug.classify.inputs import ImageSet
from busaug.classify.metrics import Bools, Floats
from busaug.classify.predict import predict_logits
from busaug.classify.train import measure_statistics, start_model
from busaug.config import Config
from busaug.distributed.communicator import Single
from busaug.experiment.protocols import Partition
from busaug.models.classifier import ClassifierInfo
from busaug.models.weights import Weights


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """Every sample of an arm, real and synthetic, as the network sees it."""

    images: ImageSet
    synthetic: Bools
    """(N,)."""


@dataclasses.dataclass(frozen=True)
class Regime:
    """How a network is trained."""

    info: ClassifierInfo
    weights: Weights
    config: Config
    """Its ``train``, ``compute`` and ``seed``."""
    by_updates: bool
    """Whether arms are equal in their updates and real images, or in their epochs."""

    @classmethod
    def of(cls, info: ClassifierInfo, weights: Weights, config: Config, budget: str) -> Regime:
        """Of the budget ``full`` or ``full-epochs``.

        Training stops early in the second alone: stopped early, arms were not equal in updates.
        """
        by_updates = budget == "full"
        if by_updates:
            train = config.train.model_copy(update={"patience": config.train.epochs})
            config = config.model_copy(update={"train": train})
        return cls(info, weights, config, by_updates)

    def on(self, device: torch.device) -> Regime:
        """The same on a process's own device."""
        compute = self.config.compute.model_copy(update={"device": str(device)})
        config = self.config.model_copy(update={"compute": compute})
        return dataclasses.replace(self, config=config)


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """What the best epoch's network said of the test samples, and its training."""

    probability: Floats
    """(n, C), rows in the order of the partition's test samples."""
    fit: Fit


def full(shown: Shown, partition: Partition, ratio: float, regime: Regime) -> Trained:
    """Train, keep the epoch with the least validation loss, predict the test samples.

    By updates, a batch has ``train.batch`` real images and ``ratio`` times as many synthetic ones
    beside them. Where no real image is trained on, and by epochs, all that there are come once an
    epoch. Raises InputError for a training that diverges.
    """
    config = regime.config
    rows, validation = (torch.from_numpy(part) for part in partition.stopping)
    model = start_model(regime.info, regime.weights, config.seed)
    if not regime.weights.pretrained:
        measure_statistics(model, shown.images.take(rows), config, Single())
    feed = _feed(shown, rows, ratio, regime)
    result = fit(model, feed, shown.images.take(validation), config)
    tested = shown.images.take(torch.from_numpy(partition.test))
    logits = torch.cat(list(predict_logits(model, tested.images, config.train.batch)))
    return Trained(probabilities(logits), result)


def _feed(shown: Shown, rows: torch.Tensor, ratio: float, regime: Regime) -> Feed:
    size, seed = regime.config.train.batch, regime.config.seed
    made = torch.from_numpy(shown.synthetic)[rows]
    if not regime.by_updates or made.all() or not made.any():
        return shuffled(shown.images, size, seed, rows)
    company = Company(rows[made], ratio)
    return accompanied(shown.images, rows[~made], company, size, seed)
