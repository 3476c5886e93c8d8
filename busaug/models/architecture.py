"""Which ResNet or VGG a state dict belongs to, told from its keys and shapes alone.

ResNet: blocks a stage are counted, a third convolution makes them bottlenecks. VGG: in ``features``
a convolution and its ReLU take two indices, BatchNorm a third, max pooling one more, so that the
gaps between the convolutions' indices tell both.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from busaug.errors import InputError
from busaug.models.resnet import STAGES, BasicBlock, Bottleneck, ResNet
from busaug.models.vgg import HIDDEN, VGG
from busaug.models.weights import Weights, load_state

State = Mapping[str, Tensor]


def load_architecture(weights: Weights) -> tuple[nn.Module, str]:
    """The classifier that ``weights`` belong to, in eval mode, and its name, as ``vgg16_bn``.

    Any ResNet of basic or bottleneck blocks (18, 34, 50, 101, 152) and any VGG (11, 13, 16, 19,
    with BatchNorm or without) under torchvision's key names, of any number of classes. Raises
    InputError for other keys or shapes, and for a network without its last layer.
    """
    with torch.device("meta"):  # nothing is drawn: every value comes from the file
        if any(key.startswith("layer1.0.") for key in weights.state):
            model, name = _resnet(weights)
        elif "features.0.weight" in weights.state:
            model, name = _vgg(weights)
        else:
            raise _unknown(weights)
    _allocate(model)
    load_state(model, weights, head="num_batches_tracked")
    return model.eval(), name


def _allocate(model: nn.Module) -> None:
    """Zeros in place of what is on the meta device.

    ``Module.to_empty`` does the like, but imports sympy on the way: .6 s of every start.
    """
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.zeros(parameter.shape, device="cpu")))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.zeros(buffer.shape, dtype=buffer.dtype, device="cpu"))


def _resnet(weights: Weights) -> tuple[nn.Module, str]:
    keys = weights.state.keys()
    blocks = {match[0] for match in (re.match(r"layer\d+\.\d+\.", key) for key in keys) if match}
    depths = []
    for stage in range(1, len(STAGES) + 1):
        present = (f"layer{stage}.{position}." in blocks for position in itertools.count())
        depths.append(sum(1 for _ in itertools.takewhile(bool, present)))
    if 0 in depths:
        raise _unknown(weights)
    bottleneck = "layer1.0.conv3.weight" in keys
    block = Bottleneck if bottleneck else BasicBlock
    width = STAGES[-1][0] * block.EXPANSION
    model = ResNet(_classes(weights, "fc.weight", width), block=block, depths=depths)
    return model, f"resnet{sum(depths) * (3 if bottleneck else 2) + 2}"


def _vgg(weights: Weights) -> tuple[nn.Module, str]:
    state = weights.state
    matches = (re.fullmatch(r"features\.(\d+)\.weight", key) for key in state)
    indices = sorted(int(match[1]) for match in matches if match)
    convolutions = [index for index in indices if state[f"features.{index}.weight"].ndim == 4]
    if not convolutions:
        raise _unknown(weights)
    batchnorm = "features.1.running_mean" in state
    alone = 3 if batchnorm else 2
    blocks: list[list[int]] = [[]]
    for index, following in itertools.zip_longest(convolutions, convolutions[1:]):
        blocks[-1].append(len(state[f"features.{index}.weight"]))
        if following is not None and following - index > alone:
            blocks.append([])
    classes = _classes(weights, "classifier.6.weight", HIDDEN)
    model = VGG(blocks, classes, batchnorm=batchnorm)
    return model, f"vgg{len(convolutions) + 3}{'_bn' if batchnorm else ''}"


def _classes(weights: Weights, key: str, width: int) -> int:
    """The number of logits, from the weight (classes, width) of the last layer."""
    last = weights.state.get(key)
    if last is None or last.ndim != 2 or last.shape[1] != width or not len(last):
        raise InputError(
            f"weights {weights.name} have no last layer {key} (classes, {width}), "
            "so no decision to explain",
            remedy="Give a whole classifier's state dict, with torchvision's key names",
        )
    return len(last)


def _unknown(weights: Weights) -> InputError:
    first = next(iter(weights.state), None)
    seen = "no keys" if first is None else f"keys as {first!r}"
    return InputError(
        f"weights {weights.name} are of no ResNet or VGG: {seen}",
        remedy="Give torchvision's key names (no 'module.' before them); any other network is "
        "explained in Python, by busaug.relevance(model, images)",
    )
