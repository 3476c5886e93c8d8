"""The network whose decision is explained: a trained classifier, or any ResNet or VGG."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from busaug.data.catalog import Record
from busaug.errors import InputError
from busaug.models.architecture import load_architecture
from busaug.models.classifier import ClassifierInfo, is_classifier, load_classifier
from busaug.models.preprocess import despeckle_inputs, imagenet_normalise
from busaug.models.weights import Weights, file_sha256, resolve_weights
from busaug.runfolder import read_run


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A network with logits, how its inputs are made, and where it came from."""

    model: nn.Module
    info: ClassifierInfo | None
    """None for a network of which only the weights are known, not the names of its classes."""
    name: str
    sha256: str
    architecture: str = "resnet50"
    catalog: str | None = None
    """Hash of the Catalog whose training split it was trained on, where that is known."""

    @property
    def classes(self) -> int:
        """How many logits the network has."""
        if self.info is not None:
            return len(self.info.classes)
        *_, last = (layer for layer in self.model.modules() if isinstance(layer, nn.Linear))
        return last.out_features

    def inputs(self, gray: Tensor) -> Tensor:
        """What ``model`` takes, (B, 3, H, W), for gray images (B, 1, H, W) in [0, 1]."""
        return imagenet_normalise(gray if self.info is None else despeckle_inputs(gray, self.info))

    def target(self, record: Record) -> int | None:
        """The logit to explain: the image's true class, or None for the highest one.

        Raises InputError for a class that the classifier does not know.
        """
        if self.info is None:
            return None
        if record.label not in self.info.classes:
            raise InputError(
                f"image {record.id} is of class {record.label!r}, unknown to {self.name}",
                remedy=f"Use a classifier trained on it (this one knows {self.info.classes})",
            )
        return self.info.classes.index(record.label)

    def targets(self, record: Record) -> Tensor | None:
        """The same as relevance models take it, for a batch of this image: (1,), int64, or None."""
        target = self.target(record)
        return None if target is None else torch.tensor([target])

    def class_name(self, index: int) -> str:
        """The class of a logit; of an unnamed one its number."""
        return f"class {index}" if self.info is None else self.info.classes[index]


def classifier_predictor(path: Path) -> Predictor:
    """A busaug checkpoint (a file or a ``busaug train`` folder)."""
    file = path / "model.safetensors" if path.is_dir() else path
    model, info = load_classifier(file)
    run = read_run(file.parent) or {}
    return Predictor(
        model,
        info,
        file.parent.name or file.name,
        file_sha256(file),
        catalog=run.get("identity", {}).get("catalog"),
    )


def imagenet_predictor(weights: Weights) -> Predictor:
    """A ResNet or VGG under torchvision's key names with its own logits, ImageNet's or others.

    Raises InputError for other networks, and where the weights lack the final layer.
    """
    model, architecture = load_architecture(weights)
    return Predictor(model, None, weights.name, weights.sha256, architecture)


def load_predictor(spec: str) -> Predictor:
    """From ``--model``: a busaug checkpoint, or weights as ``--weights`` takes them."""
    path = Path(spec)
    if path.is_dir() or (path.is_file() and is_classifier(path)):
        return classifier_predictor(path)
    return imagenet_predictor(resolve_weights(spec))
