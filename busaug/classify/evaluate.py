"""Predictions of a classifier on every image of a split, and their metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from busaug.classify.inputs import ImageSet, load_set
from busaug.classify.metrics import Floats, Scores, score
from busaug.classify.predict import gather_logits
from busaug.data.catalog import Catalog, Split
from busaug.distributed.communicator import Communicator, Single, agreed
from busaug.errors import InputError
from busaug.models.classifier import ClassifierInfo, load_classifier

_DECIMALS = 7
"""Of stored probabilities: what float32 holds."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier said about a set of images."""

    images: ImageSet
    probability: Floats
    """(n, C), rows in the order of ``images``."""
    scores: Scores
    threshold: float | None = None
    """The classifier's own, fixed on validation images."""
    at_threshold: Scores | None = None

    def row(self) -> dict[str, Any]:
        """Plain values for JSON: metrics, one prediction an image, images skipped."""
        classes = self.scores.classes
        targets = self.images.targets.tolist()
        rows = zip(self.images.ids, targets, self.probability, strict=True)
        return {
            **self.scores.row(),
            "operating_point": self._operating_point(),
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

    def _operating_point(self) -> dict[str, Any] | None:
        if self.at_threshold is None:
            return None
        found = self.at_threshold.row()
        kept = ("confusion", "metrics", "undefined")
        return {"threshold": self.threshold, **{key: found[key] for key in kept}}


def assess(
    images: ImageSet, logits: Tensor, classes: tuple[str, ...], threshold: float | None = None
) -> Evaluation:
    """Metrics of logits (N, C) for an image set, of the likeliest class and at a threshold."""
    probability = probabilities(logits)
    truth = images.targets.tolist()
    at_threshold = None
    if threshold is not None:
        at_threshold = score(truth, probability, classes, threshold=threshold)
    scores = score(truth, probability, classes)
    return Evaluation(images, probability, scores, threshold, at_threshold)


def probabilities(logits: Tensor) -> Floats:
    """Softmax of logits (N, C), in double precision."""
    return np.asarray(logits.double().softmax(dim=1))


def evaluate(
    checkpoint: Path,
    catalog: Catalog,
    split: Split | Literal["all"],
    *,
    batch: int = 32,
    device: str = "cpu",
    comm: Communicator | None = None,
) -> Evaluation:
    """Every image of a Catalog's split through a checkpoint (a file or a ``busaug train`` folder).

    ``all`` is for a data set from elsewhere, none of whose images was trained on. Raises InputError
    where the Catalog's classes are not the checkpoint's, or the split is empty.
    """
    comm = comm or Single()
    with agreed(comm):
        model, info = _open(checkpoint, catalog)
        model.to(comm.device(device))
    chosen = catalog if split == "all" else catalog.split(split)
    images = load_set([chosen], info, split, comm)
    logits = gather_logits(model, images.images, batch, comm, progress="predict")
    return assess(images, logits, info.classes, info.threshold)


def _open(checkpoint: Path, catalog: Catalog) -> tuple[nn.Module, ClassifierInfo]:
    model, info = load_classifier(checkpoint)
    if catalog.labels != info.classes:
        raise InputError(
            f"{catalog.root} has the classes {', '.join(catalog.labels)}, the checkpoint "
            f"{checkpoint} has {', '.join(info.classes)}",
            remedy="Prepare the data set with the checkpoint's --classes",
        )
    return model, info
