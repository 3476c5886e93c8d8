"""The networks whose features carry style: which layers, and how to cut them out.

A backbone is a chain of named stages; the features of a layer are the output of its stage. Which
layers the losses take is a named layer set; stages below the deepest of them are not run. A new
backbone is a function that returns its stages and a line in ``BACKBONES``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from torch import nn

from busaug.errors import InputError
from busaug.models.fold import fold_batchnorm
from busaug.models.resnet import resnet50
from busaug.models.vgg import vgg19_features, vgg19_layer
from busaug.models.weights import Backbone, Weights, load_state

Stages = list[tuple[str, nn.Module]]


@dataclasses.dataclass(frozen=True)
class LayerSet:
    """The layers that the losses are taken at."""

    style: tuple[str, ...]
    """Shallow to deep."""
    content: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset((*self.style, self.content))


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """Construction and layer sets of a backbone."""

    stages: Callable[[Weights], Stages]
    """BatchNorm-folded stages in order, down to the deepest layer of any set; the first module of
    the first stage is the stem convolution on three ImageNet-normalised channels."""
    layer_sets: Mapping[str, LayerSet]
    """One is called ``default``."""

    def layers(self, name: str) -> LayerSet:
        """The layer set of this name; InputError for an unknown one."""
        if name not in self.layer_sets:
            raise InputError(
                f"style.layers={name!r} is no layer set of this backbone",
                remedy=f"Use one of {', '.join(self.layer_sets)}",
            )
        return self.layer_sets[name]


def truncate(stages: Stages, layers: LayerSet) -> Stages:
    """The stages down to the deepest that the layers need."""
    last = max(index for index, (name, _) in enumerate(stages) if name in layers.names)
    return stages[: last + 1]


def _resnet50_stages(weights: Weights) -> Stages:
    model = resnet50()
    load_state(model, weights)
    folded = fold_batchnorm(model)
    stages: Stages = [("relu", nn.Sequential(folded.conv1, folded.relu))]  # type: ignore[arg-type]
    for index in (1, 2, 3, 4):
        stage = folded.get_submodule(f"layer{index}")
        pooled = nn.Sequential(folded.get_submodule("maxpool"), stage)
        stages.append((f"layer{index}", pooled if index == 1 else nn.Sequential(stage)))
    return stages


def _vgg19_stages(weights: Weights) -> Stages:
    names = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")
    # Weights for style transfer often end at the deepest layer that it takes.
    model = nn.Sequential(*list(vgg19_features(pooling="average"))[: vgg19_layer(names[-1]) + 1])
    load_state(model, weights, prefix="features.")
    model.eval().requires_grad_(False)
    stages: Stages = []
    begin = 0
    for name in names:
        end = vgg19_layer(name) + 1
        stages.append((name, model[begin:end]))
        begin = end
    return stages


_RELUS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

BACKBONES: Mapping[Backbone, BackboneSpec] = {
    "resnet50": BackboneSpec(
        _resnet50_stages,
        {
            # Of the published code of arXiv 2411.00254.
            "default": LayerSet(("relu", "layer1", "layer2", "layer3"), "layer3"),
            "shallow": LayerSet(("relu", "layer1", "layer2"), "layer2"),
            "deep": LayerSet(("relu", "layer1", "layer2", "layer3", "layer4"), "layer3"),
        },
    ),
    "vgg19": BackboneSpec(
        _vgg19_stages,
        {
            # Gatys et al. 2016; Li et al. 2017.
            "default": LayerSet(_RELUS, "relu4_2"),
            "shallow": LayerSet(_RELUS[:3], "relu3_1"),
        },
    ),
}
