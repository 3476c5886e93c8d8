"""The real training in float64, for one rank or several."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from busaug.classify.batches import Feed, shuffled
from busaug.classify.checkpoint import Snapshot
from busaug.classify.fit import fit
from busaug.classify.inputs import ImageSet
from busaug.classify.train import measure_statistics, start_model
from busaug.config import Config, load_config
from busaug.distributed.communicator import Communicator
from busaug.models.classifier import ClassifierInfo
from busaug.models.weights import random_weights

IMAGES, VALIDATION = 12, 5
"""In batches of 5, 5 and 2: uneven shares, and of three ranks one has no part in the last."""

CONFIG = load_config(
    overrides=[
        *("train.size=32", "train.epochs=3", "train.batch=5", "train.learning_rate=0.2"),
        *("train.learning_rate_scaling=linear", "train.warmup_epochs=1", "compute.threads=1"),
    ]
)

GENTLE = CONFIG.model_copy(
    update={"train": CONFIG.train.model_copy(update={"learning_rate": 0.01, "epochs": 2})}
)
"""At which ResNet-50 does not amplify rounding beyond use."""


class SmallNet(nn.Sequential):
    """Every kind of layer that training treats of its own, in float64."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        super().__init__(
            *(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU()),
            *(nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            *(nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)),
        )
        self.double()


def classifier() -> nn.Module:
    """The classifier itself, in float64."""
    info = ClassifierInfo(("benign", "malignant"), size=32, srad_scale=0)
    return start_model(info, random_weights("resnet50"), CONFIG.seed).double()


def images_of(count: int) -> ImageSet:
    """Random float64 images whose ids, classes and pixels depend on their number alone."""
    generator = torch.Generator().manual_seed(count)
    targets = torch.arange(count) % 2
    images = torch.rand(count, 1, 32, 32, generator=generator, dtype=torch.float64)
    ids = tuple(f"image-{i:02d}" for i in range(count))
    return ImageSet(ids, images * 0.6 + 0.2 * targets.view(-1, 1, 1, 1), targets, ())


def train(model: nn.Module, comm: Communicator, config: Config = CONFIG) -> dict[str, Any]:
    """The real training: weights and statistics after it, its history, a snapshot an epoch."""
    training, validation = images_of(IMAGES), images_of(VALIDATION)
    snapshots: list[Snapshot] = []
    measure_statistics(model, training, config, comm)
    feed = feed_of(training, config)
    result = fit(model, feed, validation, config, comm, save=lambda s: snapshots.append(own(s)))
    return {
        "state": model.state_dict(),
        "history": [dict(row) for row in result.history],
        "logits": result.val_logits,
        "snapshots": snapshots,
    }


def feed_of(images: ImageSet, config: Config) -> Feed:
    return shuffled(images, config.train.batch, config.seed)


def own(snapshot: Snapshot) -> Snapshot:
    """A copy, as a file would be: the tensors of a snapshot are those in training."""
    return copy.deepcopy(snapshot)


def resume(comm: Communicator, snapshots: list[Snapshot]) -> dict[str, Any]:
    """The same from the first epoch's snapshot, which rank 0 alone has; others start elsewhere."""
    model = SmallNet()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1 + comm.rank
    start = snapshots[0] if comm.is_root else None
    feed = feed_of(images_of(IMAGES), CONFIG)
    fit(model, feed, images_of(VALIDATION), CONFIG, comm, start)
    return {"state": model.state_dict()}
