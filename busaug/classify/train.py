"""Training of the ResNet-50 classifier: SGD, plateau schedule, early stop, best epoch restored."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from busaug import console
from busaug.classify.evaluate import assess, predict_logits
from busaug.classify.inputs import ImageSet, load_set, training_rows
from busaug.config import Config
from busaug.data.catalog import Catalog, shared_groups
from busaug.device import open_device
from busaug.errors import InputError
from busaug.files import atomic_folder, write_json, write_jsonl
from busaug.models.classifier import ClassifierInfo, build_classifier, save_classifier
from busaug.models.preprocess import imagenet_normalise
from busaug.models.resnet import Bottleneck, ResNet
from busaug.models.weights import Weights, load_state
from busaug.runfolder import RunFolder
from busaug.seeding import draw, key_seed
from busaug.trace import span


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """A finished training; the model holds the best epoch's weights."""

    history: tuple[Mapping[str, Any], ...]
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


def train(
    catalog: Catalog,
    out: Path,
    config: Config,
    weights: Weights,
    synthetic: Sequence[Catalog] = (),
) -> dict[str, Any]:
    """Train on a Catalog's training split and write the run folder; gives the run's summary.

    ``out`` appears when all is done: ``model.safetensors`` (best epoch), ``history.jsonl``,
    ``metrics_val.json``, ``run.json``. ``synthetic`` Catalogs join the training images only.
    Raises InputError for a leak between splits, a class without training images, an empty
    validation split, or a training that diverges.
    """
    if len(catalog.labels) < 2:
        raise InputError(
            f"{catalog.root} has the one class {catalog.labels[0]}",
            remedy="Prepare a data set of two classes or more",
        )
    torch.set_num_threads(config.compute.threads or torch.get_num_threads())
    open_device(config.compute.device)
    info = ClassifierInfo(
        classes=catalog.labels,
        size=config.train.size,
        srad_scale=config.train.srad_scale,
        srad=config.srad,
        dropout=config.train.dropout,
        weights=weights.name,
    )
    if shared := shared_groups(catalog.records):
        raise InputError(
            f"{catalog.root} leaks: group {shared[0]} is in more than one split",
            remedy="Make the Catalog with 'busaug prepare'",
        )
    rows = training_rows(catalog, synthetic)
    identity = {
        "config": config.sections("train", "srad", "compute"),
        "catalog": catalog.hash,
        "synthetic": [part.hash for part in synthetic],
        "weights": weights.sha256,
    }
    with atomic_folder(out) as folder:
        training = load_set(rows, info, "training")
        validation = load_set([catalog.split("val")], info, "validation")
        _check_classes(training, info.classes, catalog.root)

        model = start_model(info, weights, config.seed)
        if not weights.pretrained:
            measure_statistics(model, training, config)
        result = fit(model, training, validation, config)
        assessed = assess(validation, result.val_logits, info.classes)

        summary = {
            "classes": list(info.classes),
            "weights": weights.name,
            "pretrained": weights.pretrained,
            "images": {
                "train": training.counts(info.classes),
                "val": validation.counts(info.classes),
            },
            "synthetic": sum(len(part.records) for part in rows[1:]),
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
            "best_val_loss": result.best_val_loss,
            "updates": result.updates,
            "skipped": [*training.skipped, *validation.skipped],
        }
        save_classifier(folder / "model.safetensors", model, info)
        write_jsonl(folder / "history.jsonl", (dict(row) for row in result.history))
        write_json(folder / "metrics_val.json", {"split": "val", **assessed.row()})
        RunFolder(folder, "train", identity).write(**summary)
    return summary


def start_model(info: ClassifierInfo, weights: Weights, seed: int) -> ResNet:
    """The classifier before training: the trunk from ``weights``, a head drawn from the seed.

    In a random trunk every residual branch starts at zero (Goyal et al. 2017): without it the
    sixteen sums amplify what BatchNorm's running statistics miss, and training from scratch on a
    small set ends in an evaluation loss of 10^3 and more.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_seed("classifier-head", seed))
        model = build_classifier(info)
    load_state(model, weights)
    if not weights.pretrained:
        for module in model.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
    return model


def measure_statistics(model: nn.Module, training: ImageSet, config: Config) -> None:
    """Set BatchNorm's running statistics to those of the training images.

    Random weights have none worth keeping, and the few updates of a small set leave the running
    values far behind.
    """
    device = open_device(config.compute.device)
    model.to(device)
    parts = minibatches(torch.arange(len(training)), config.train.batch)
    with _repeatable(device):
        update_bn((imagenet_normalise(training.images[rows].to(device)) for rows in parts), model)


def fit(model: nn.Module, training: ImageSet, validation: ImageSet, config: Config) -> Fit:
    """Train ``model`` in place and leave it with the best epoch's weights, on its device.

    Cross-entropy, SGD with momentum. After ``plateau_patience`` epochs without a better validation
    loss the rate falls by ``plateau_factor``, after ``patience`` epochs training stops. The same
    arguments on the same machine give the same weights.
    """
    settings = config.train
    device = open_device(config.compute.device)
    model.to(device)
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser,
        factor=settings.plateau_factor,
        # torch acts in the epoch after its patience is used up
        patience=max(settings.plateau_patience - 1, 0),
        min_lr=settings.learning_rate_min,
    )
    history: list[Mapping[str, Any]] = []
    best = (math.inf, 0, torch.empty(0), model.state_dict())
    updates = 0
    total = settings.epochs * len(minibatches(torch.arange(len(training)), settings.batch))
    with _repeatable(device), console.progress("train", total) as advance:
        for epoch in range(1, settings.epochs + 1):
            order = draw("training-order", config.seed, epoch).permutation(len(training))
            torch.manual_seed(key_seed("dropout", config.seed, epoch))
            rate = float(optimiser.param_groups[0]["lr"])
            train_loss = 0.0
            model.train()
            for rows in minibatches(torch.from_numpy(order), settings.batch):
                loss = _update(model, optimiser, training.images[rows], training.targets[rows])
                train_loss += loss * len(rows) / len(training)
                updates += 1
                advance(note=f"epoch {epoch}/{settings.epochs}  loss {loss:.3f}")
            logits = torch.cat(list(predict_logits(model, validation.images, settings.batch)))
            val_loss = float(F.cross_entropy(logits, validation.targets))
            if not math.isfinite(train_loss + val_loss):
                raise InputError(
                    f"training diverged in epoch {epoch}: train loss {train_loss}, validation "
                    f"loss {val_loss}, learning rate {rate:g}",
                    remedy="Lower train.learning_rate",
                )
            accuracy = float((logits.argmax(dim=1) == validation.targets).double().mean())
            history.append(
                {
                    "epoch": epoch,
                    "train_loss": train_loss,
                    "val_loss": val_loss,
                    "val_accuracy": accuracy,
                    "lr": rate,
                    "updates": updates,
                }
            )
            schedule.step(val_loss)
            if val_loss < best[0]:
                best = (val_loss, epoch, logits, copy.deepcopy(model.state_dict()))
            elif epoch - best[1] >= settings.patience:
                break
    model.load_state_dict(best[3])
    model.eval()
    return Fit(tuple(history), best_epoch=best[1], val_logits=best[2])


def minibatches(order: Tensor, size: int) -> list[Tensor]:
    """An order of images (n,) cut into batches; a last one of a single image joins the one before.

    Batch statistics of one image do not exist, and no image is dropped.
    """
    parts = list(torch.split(order, size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _update(
    model: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, targets: Tensor
) -> float:
    device = next(model.parameters()).device
    with span("train-update"):
        logits = model(imagenet_normalise(images.to(device)))
        loss = F.cross_entropy(logits, targets.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return float(loss.detach())


@contextlib.contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """Keep torch's global generators as they were, and cuDNN to its repeatable algorithms."""
    devices = [device] if device.type == "cuda" else []
    cudnn = torch.backends.cudnn
    with (
        torch.random.fork_rng(devices=devices),
        cudnn.flags(benchmark=False, deterministic=True, allow_tf32=cudnn.allow_tf32),
    ):
        yield


def _check_classes(training: ImageSet, classes: Sequence[str], root: Path) -> None:
    for label, count in training.counts(classes).items():
        if count == 0:
            raise InputError(
                f"{root}: class {label} has no training image",
                remedy="Prepare a data set with more images of it",
            )
