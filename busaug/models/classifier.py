"""The breast-ultrasound classifier: ResNet-50 trunk, then BatchNorm, dropout and a linear layer.

A checkpoint is one safetensors file whose header carries the class names and how inputs are made,
so that ``explain``, ``augment --explainer`` and ``evaluate`` need nothing else.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from busaug.config import SradConfig
from busaug.errors import InputError
from busaug.files import atomic_file
from busaug.models.resnet import ResNet, resnet50

_HEADER = "busaug_classifier"


@dataclasses.dataclass(frozen=True)
class ClassifierInfo:
    """What a checkpoint needs to be used: classes in logit order and input preparation."""

    classes: tuple[str, ...]
    size: int
    """Side of the square input, pixels."""
    srad_scale: int
    """Despeckling scale applied to inputs; 0 for none."""
    srad: SradConfig = dataclasses.field(default_factory=SradConfig)
    """How inputs are despeckled."""
    dropout: float = 0.5
    weights: str = "random"
    """What the trunk started from, for the report."""
    threshold: float | None = None
    """Operating point: probability of the last class from which on an image is called so, fixed on
    validation images. None for more than two classes, or where those were all of one class."""


def build_classifier(info: ClassifierInfo) -> ResNet:
    """A ResNet-50 whose ``fc`` is BatchNorm, dropout and a linear layer."""
    model = resnet50(num_classes=len(info.classes))
    assert isinstance(model.fc, nn.Linear)
    width = model.fc.in_features
    model.fc = nn.Sequential(nn.BatchNorm1d(width), nn.Dropout(info.dropout), model.fc)
    return model


def save_classifier(path: Path, model: ResNet, info: ClassifierInfo) -> None:
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    header = {**vars(info), "srad": info.srad.model_dump(mode="json")}
    with atomic_file(path) as temporary:
        save_file(state, temporary, metadata={_HEADER: json.dumps(header)})


def is_classifier(path: Path) -> bool:
    """Whether the file is a checkpoint written by ``save_classifier``."""
    try:
        with safe_open(path, framework="pt") as file:
            return _HEADER in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_classifier(path: Path) -> tuple[ResNet, ClassifierInfo]:
    """The model in eval mode and its information.

    ``path`` is the checkpoint or a ``busaug train`` folder. Raises InputError for anything else.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist", remedy="Run 'busaug train' first")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read: {error}", remedy="Train it again"
        ) from error
    if header is None:
        raise InputError(
            f"{path} is not a busaug classifier checkpoint", remedy="Run 'busaug train' first"
        )
    fields = json.loads(header)
    fields |= {"classes": tuple(fields["classes"]), "srad": SradConfig(**fields["srad"])}
    info = ClassifierInfo(**fields)
    model = build_classifier(info)
    model.load_state_dict(state)
    return model.eval(), info
