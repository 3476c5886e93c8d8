"""``busaug train``: check the inputs, train the ResNet-50 classifier, write the run folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from busaug.classify.batches import shuffled
from busaug.classify.checkpoint import Checkpoint
from busaug.classify.fit import Fit, fit
from busaug.classify.inputs import ImageSet, load_set, training_rows
from busaug.classify.replica import Replica
from busaug.classify.schedule import scaled_rate
from busaug.config import Config
from busaug.data.catalog import Catalog, shared_groups
from busaug.distributed.communicator import Communicator, Single, agreed
from busaug.errors import InputError
from busaug.files import atomic_folder, write_json, write_jsonl
from busaug.models.classifier import ClassifierInfo, build_classifier, save_classifier
from busaug.models.resnet import Bottleneck, ResNet
from busaug.models.weights import Weights, load_state
from busaug.runfolder import Resume, RunFolder
from busaug.seeding import key_seed


def train(
    catalog: Catalog,
    out: Path,
    config: Config,
    weights: Weights,
    synthetic: Sequence[Catalog] = (),
    *,
    comm: Communicator | None = None,
    resume: Resume = "if-possible",
) -> dict[str, Any]:
    """Train on a Catalog's training split and write the run folder; gives the run's summary.

    ``out`` appears when all is done: ``model.safetensors`` (best epoch), ``history.jsonl``,
    ``metrics_val.json``, ``run.json``. ``synthetic`` Catalogs join the training images only.
    A training that was stopped goes on after its last finished epoch, as ``resume`` says. With
    several ranks each computes its share of every batch, and rank 0 writes.
    Raises InputError for a leak between splits, a class without training images, an empty
    validation split, or a training that diverges (on one rank; PeerFailure on the others).
    """
    comm = comm or Single()
    torch.set_num_threads(config.compute.threads or torch.get_num_threads())
    with agreed(comm):
        rows = _training_rows(catalog, synthetic)
        comm.device(config.compute.device)
    info = ClassifierInfo(
        classes=catalog.labels,
        size=config.train.size,
        srad_scale=config.train.srad_scale,
        srad=config.srad,
        dropout=config.train.dropout,
        weights=weights.name,
    )
    identity = {
        "config": config.sections("train", "srad", "compute"),
        "catalog": catalog.hash,
        "synthetic": [part.hash for part in synthetic],
        "weights": weights.sha256,
    }
    checkpoint = Checkpoint(RunFolder(out, "train", identity))
    with _root_folder(out, comm) as folder:
        with agreed(comm):
            start = checkpoint.load(resume) if comm.is_root else None
        training = load_set(rows, info, "training", comm)
        validation = load_set([catalog.split("val")], info, "validation", comm)
        with agreed(comm):
            _check_classes(training, info.classes, catalog.root)

        model = start_model(info, weights, config.seed)
        if not weights.pretrained and comm.broadcast_object(start is None):
            measure_statistics(model, training, config, comm)
        try:
            feed = shuffled(training, config.train.batch, config.seed)
            result = fit(model, feed, validation, config, comm, start, checkpoint.save)
        except InputError:  # with these settings it would fail again
            checkpoint.remove()
            raise

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
            "learning_rate": {
                "scaling": config.train.learning_rate_scaling,
                "scaled": scaled_rate(config.train),
                "warmup_epochs": config.train.warmup_epochs,
            },
            "distributed": {"backend": comm.backend, "processes": comm.size},
            "skipped": [*training.skipped, *validation.skipped],
        }
        with agreed(comm):
            if folder is not None:
                info = dataclasses.replace(
                    info, threshold=_threshold(validation, result, config.train.sensitivity_min)
                )
                save_classifier(folder / "model.safetensors", model, info)
                write_jsonl(folder / "history.jsonl", (dict(row) for row in result.history))
                _write_metrics(folder, validation, result, info)
                RunFolder(folder, "train", identity).write(**summary)
    if comm.is_root:
        checkpoint.remove()
    return summary


def _threshold(validation: ImageSet, result: Fit, sensitivity_min: float) -> float | None:
    from busaug.classify.evaluate import probabilities
    from busaug.classify.metrics import choose_threshold

    found = probabilities(result.val_logits)
    truth = validation.targets.tolist()
    return choose_threshold(truth, found, sensitivity_min=sensitivity_min)


def _write_metrics(folder: Path, validation: ImageSet, result: Fit, info: ClassifierInfo) -> None:
    # scikit-learn takes seconds to import, and only rank 0 needs it
    from busaug.classify.evaluate import assess

    assessed = assess(validation, result.val_logits, info.classes, info.threshold)
    write_json(folder / "metrics_val.json", {"split": "val", **assessed.row()})


@contextlib.contextmanager
def _root_folder(out: Path, comm: Communicator) -> Iterator[Path | None]:
    """An ``atomic_folder`` on rank 0, whose troubles all ranks share; None on the others."""
    with contextlib.ExitStack() as stack:
        with agreed(comm):
            folder = stack.enter_context(atomic_folder(out)) if comm.is_root else None
        yield folder
        with agreed(comm):
            stack.close()


def _training_rows(catalog: Catalog, synthetic: Sequence[Catalog]) -> list[Catalog]:
    """The Catalogs to train on, after all that can be said against them without reading images."""
    if len(catalog.labels) < 2:
        raise InputError(
            f"{catalog.root} has the one class {catalog.labels[0]}",
            remedy="Prepare a data set of two classes or more",
        )
    if shared := shared_groups(catalog.records):
        raise InputError(
            f"{catalog.root} leaks: group {shared[0]} is in more than one split",
            remedy="Make the Catalog with 'busaug prepare'",
        )
    return training_rows(catalog, synthetic)


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


def measure_statistics(
    model: nn.Module, training: ImageSet, config: Config, comm: Communicator
) -> None:
    """Set BatchNorm's running statistics to those of the training images."""
    Replica(model, config, comm).measure_statistics(training, config.train.batch)


def _check_classes(training: ImageSet, classes: Sequence[str], root: Path) -> None:
    for label, count in training.counts(classes).items():
        if count == 0:
            raise InputError(
                f"{root}: class {label} has no training image",
                remedy="Prepare a data set with more images of it",
            )
