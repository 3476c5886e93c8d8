"""Predictions of a classifier on every image of a split, and their metrics."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from busaug import console
from busaug.classify.inputs import ImageSet, load_set
from busaug.classify.metrics import Floats, Scores, score
from busaug.data.catalog import Catalog, Split
from busaug.distributed.communicator import Communicator, Single, agreed
from busaug.errors import InputError
from busaug.models.classifier import ClassifierInfo, load_classifier
from busaug.models.preprocess import imagenet_normalise
from busaug.trace import span

_DECIMALS = 7
"""Of stored probabilities: what float32 holds."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier said about a set of images."""

    images: ImageSet
    probability: Floats
    """(n, C), rows in the order of ``images``."""
    scores: Scores

    def row(self) -> dict[str, Any]:
        """Plain values for JSON: metrics, one prediction an image, images skipped."""
        classes = self.scores.classes
        targets = self.images.targets.tolist()
        rows = zip(self.images.ids, targets, self.probability, strict=True)
        return {
            **self.scores.row(),
            "predictions": [
                {
                    "id": name,
                    "class": classes[target],
                    "predicted": classes[int(p.argmax())],
                    "probability": {
                        label: round(float(value), _DECIMALS)
                        for label, value in zip(classes, p, strict=True)
                    },
                }
                for name, target, p in rows
            ],
            "skipped": list(self.images.skipped),
        }


def predict_logits(model: nn.Module, images: Tensor, batch: int) -> Iterator[Tensor]:
    """Logits (b, C) on the CPU of each batch of images (N, 1, S, S); the model is put in eval mode.

    Every image is predicted: the last batch is what is left.
    """
    model.eval()
    device = next(model.parameters()).device
    for part in torch.split(images, batch):
        with span("predict"), torch.no_grad():
            logits = model(imagenet_normalise(part.to(device))).detach().cpu()
        yield logits


def assess(images: ImageSet, logits: Tensor, classes: tuple[str, ...]) -> Evaluation:
    """Metrics of logits (N, C) for an image set."""
    probability = np.asarray(logits.double().softmax(dim=1))
    return Evaluation(images, probability, score(images.targets.tolist(), probability, classes))


def gather_logits(
    model: nn.Module, images: Tensor, batch: int, comm: Communicator, *, progress: str = ""
) -> Tensor:
    """Logits (N, C) on the CPU of all images, every rank predicting its share; on every rank.

    Each image counts once: the shares are the whole, and no rank pads its own. A ``progress`` is
    shown under that name.
    """
    own = images[comm.share(len(images))]
    shown = console.progress(progress, len(own)) if progress else contextlib.nullcontext()
    parts = []
    with shown as advance:
        for logits in predict_logits(model, own, batch):
            parts.append(logits)
            if advance is not None:
                advance(len(logits))
    return torch.cat(comm.gather(torch.cat(parts)))


def evaluate(
    checkpoint: Path,
    catalog: Catalog,
    split: Split,
    *,
    batch: int = 32,
    device: str = "cpu",
    comm: Communicator | None = None,
) -> Evaluation:
    """Every image of a Catalog's split through a checkpoint (a file or a ``busaug train`` folder).

    Raises InputError where the Catalog's classes are not the checkpoint's, or the split is empty.
    """
    comm = comm or Single()
    with agreed(comm):
        model, info = _open(checkpoint, catalog)
        model.to(comm.device(device))
    images = load_set([catalog.split(split)], info, split, comm)
    logits = gather_logits(model, images.images, batch, comm, progress="predict")
    return assess(images, logits, info.classes)


def _open(checkpoint: Path, catalog: Catalog) -> tuple[nn.Module, ClassifierInfo]:
    model, info = load_classifier(checkpoint)
    if catalog.labels != info.classes:
        raise InputError(
            f"{catalog.root} has the classes {', '.join(catalog.labels)}, the checkpoint "
            f"{checkpoint} has {', '.join(info.classes)}",
            remedy="Prepare the data set with the checkpoint's --classes",
        )
    return model, info
