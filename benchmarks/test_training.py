"""One update of the classifier, 32 images of 112 x 112, against a plain loop of PyTorch.

The plain loop is a tutorial's: the same network in float32, images as they come (contiguous), SGD.
Ours has its inputs channels last and, in mixed precision, products of bfloat16.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from busaug.classify.inputs import ImageSet
from busaug.classify.replica import Replica
from busaug.classify.train import start_model
from busaug.config import load_config
from busaug.data.phantom import LABELS, phantom
from busaug.distributed.communicator import Single
from busaug.models.classifier import ClassifierInfo
from busaug.models.preprocess import imagenet_normalise
from busaug.models.weights import random_weights

RATE = 1e-3
# Of the loss before the update; rounding alone, of eight bits a product in mixed precision.
LOSS_TOLERANCE = {"single": 1e-4, "mixed": 2e-2}


def drawn(count: int, side: int) -> ImageSet:
    """Simulated images, the classes in turn."""
    labels = [LABELS[i % len(LABELS)] for i in range(count)]
    pictures = [phantom(label, ("training", i), side)[0] for i, label in enumerate(labels)]
    return ImageSet(
        tuple(str(i) for i in range(count)),
        torch.stack([torch.from_numpy(picture)[None] for picture in pictures]),
        torch.tensor([LABELS.index(label) for label in labels]),
        (),
    )


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("precision", ["single", "mixed"])
def test_update(benchmark, race, precision):
    count, side = (32, 112) if benchmark.enabled else (8, 64)
    images, rows = drawn(count, side), torch.arange(count)
    # no dropout: ours is keyed by image, torch's by its generator
    info = ClassifierInfo(tuple(LABELS), side, srad_scale=0, dropout=0.0)
    config = load_config(
        overrides=[f"train.precision={precision}", f"train.batch={count}", f"train.size={side}"]
    )
    model = start_model(info, random_weights("resnet50"), seed=0)
    plain = copy.deepcopy(model).train()
    replica = Replica(model, config, Single())
    optimiser = torch.optim.SGD(plain.parameters(), lr=RATE, momentum=config.train.momentum)

    def ours() -> float:
        return replica.update(images, rows, epoch=1, rate=RATE)

    def theirs() -> float:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(plain(imagenet_normalise(images.images)), images.targets)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    assert ours() == pytest.approx(theirs(), rel=LOSS_TOLERANCE[precision])
    benchmark(ours)
    race(ours, theirs)
