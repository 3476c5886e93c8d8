"""The networks whose features carry style: which layers, and how to cut them out.

A backbone is a chain of named stages; the features of a layer are the output of its stage. A new
one is a function that returns its stages and a line in ``BACKBONES``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from torch import nn

from busaug.models.fold import fold_batchnorm
from busaug.models.resnet import resnet50
from busaug.models.vgg import vgg19_features, vgg19_layer
from busaug.models.weights import Backbone, Weights, load_state

Stages = list[tuple[str, nn.Module]]


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """Layers and construction of a backbone."""

    style_layers: tuple[str, ...]
    content_layer: str
    stages: Callable[[Weights], Stages]
    """BatchNorm-folded stages in order, down to the deepest layer; the first module of the first
    stage is the stem convolution on three ImageNet-normalised channels."""


def _resnet50_stages(weights: Weights) -> Stages:
    model = resnet50()
    load_state(model, weights)
    folded = fold_batchnorm(model)
    stages: Stages = [("relu", nn.Sequential(folded.conv1, folded.relu))]  # type: ignore[arg-type]
    for index in (1, 2, 3):
        stage = folded.get_submodule(f"layer{index}")
        pooled = nn.Sequential(folded.get_submodule("maxpool"), stage)
        stages.append((f"layer{index}", pooled if index == 1 else nn.Sequential(stage)))
    return stages


def _vgg19_stages(weights: Weights) -> Stages:
    model = vgg19_features(pooling="average")
    load_state(model, weights, prefix="features.")
    model.eval().requires_grad_(False)
    stages: Stages = []
    begin = 0
    for name in ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"):
        end = vgg19_layer(name) + 1
        stages.append((name, model[begin:end]))
        begin = end
    return stages


BACKBONES: Mapping[Backbone, BackboneSpec] = {
    # Layers of the published code of arXiv 2411.00254.
    "resnet50": BackboneSpec(("relu", "layer1", "layer2", "layer3"), "layer3", _resnet50_stages),
    # Gatys et al. 2016; Li et al. 2017.
    "vgg19": BackboneSpec(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), "relu4_2", _vgg19_stages
    ),
}
