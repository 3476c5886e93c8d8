"""Speed of relevance on ResNet-50 at 224 x 224, against one ordinary pass.

The ordinary pass is the forward pass and the input gradient of the same BatchNorm-folded,
channels-last network without parameter gradients. Bars at batch 8 on two threads: at most 2.0 times
its time for alpha2beta1 and 1.6 times for alpha1beta0. Weights are ImageNet's where they are found
(see ``busaug info``), random with calibrated statistics else; images are simulated.
"""

from __future__ import annotations

import pytest
import torch
from explain.walk import warm
from torch import Tensor, nn

from busaug.data.phantom import phantom
from busaug.explain.relevance import RelevanceModel
from busaug.models.fold import fold_batchnorm
from busaug.models.preprocess import imagenet_normalise
from busaug.models.resnet import resnet50
from busaug.models.weights import find_weights, load_state, resolve_weights
from busaug.ops.lrp import AlphaBetaRule

RULES = {"alpha2beta1": AlphaBetaRule(2.0, 1.0), "alpha1beta0": AlphaBetaRule(1.0, 0.0)}
BARS = {"alpha2beta1": 2.0, "alpha1beta0": 1.6}


@pytest.fixture(scope="module")
def net() -> tuple[nn.Module, str]:
    model = resnet50()
    found = find_weights("resnet50")
    if found is None:
        torch.manual_seed(0)
        return warm(model), "random"
    weights = resolve_weights(str(found))
    load_state(model, weights)
    return model.eval(), weights.name


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def images(count: int, side: int) -> Tensor:
    labels = ("benign", "malignant")
    drawn = [phantom(labels[i % 2], ("benchmark", i), side)[0] for i in range(count)]
    return imagenet_normalise(torch.stack([torch.from_numpy(image)[None] for image in drawn]))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("composite", RULES)
def test_relevance(benchmark, race, summary, net, composite, batch):
    model, name = net
    given = images(batch if benchmark.enabled else 1, 224 if benchmark.enabled else 64)
    prepared = RelevanceModel(model, composite=RULES[composite])
    folded = fold_batchnorm(model).to(memory_format=torch.channels_last)
    dense = given.contiguous(memory_format=torch.channels_last)

    def ours():
        return prepared(given)

    def ordinary():
        leaf = dense.detach().requires_grad_(True)
        return torch.autograd.grad(folded(leaf).amax(dim=1).sum(), leaf)

    benchmark.group = f"relevance, batch {batch}, two threads"
    benchmark.extra_info["weights"] = name
    result = benchmark(ours)
    assert result.pixels.shape == given.shape
    error = float(result.record.conservation_error.max())
    benchmark.extra_info["conservation_error"] = error
    assert error < 1e-3
    ratio = race(ours, ordinary, turns=7)
    if ratio is not None:
        summary(f"  {composite}, {name} weights: {1 / ratio:.2f} ordinary passes")
        # a tripwire, not the bar: the ordinary pass depends on the machine's libraries
        assert 1 / ratio < 2 * BARS[composite]
