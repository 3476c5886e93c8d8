"""Relevance on the ResNets and VGGs beside ResNet-50: a second derivation, conservation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from explain.walk import Walk, walk_vgg, warm
from tolerances import TOLERANCES
from torch import Tensor, nn

from busaug.explain.relevance import RelevanceModel, relevance
from busaug.explain.structure import conserving_layers
from busaug.models.preprocess import imagenet_normalise
from busaug.models.resnet import BasicBlock, ResNet, resnet50
from busaug.models.vgg import VGG, vgg19_features

NETWORKS: dict[str, Callable[[], ResNet | VGG]] = {
    "basic blocks": lambda: ResNet(5, block=BasicBlock, depths=(2, 1, 1, 2)),
    "vgg": lambda: VGG([[8], [12, 16]], 5),
    "vgg_bn": lambda: VGG([[8, 12], [16]], 5, batchnorm=True),
}


@pytest.fixture(params=NETWORKS, scope="module")
def net(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(7)
    model = NETWORKS[request.param]().double()
    for module in model.modules():
        if isinstance(module, nn.Linear):  # outputs far from zero, where epsilon tells
            nn.init.uniform_(module.weight, -8 / module.in_features, 16 / module.in_features)
    return warm(model)


@pytest.fixture
def images() -> Tensor:
    """41 pixels divide by nothing: pools leave out borders, cells of the average overlap."""
    return imagenet_normalise(torch.rand(2, 1, 41, 37, dtype=torch.float64))


@pytest.mark.parametrize(("composite", "alpha"), [("alpha2beta1", 2.0), ("alpha1beta0", 1.0)])
def test_equals_the_layer_by_layer_walk(
    net: nn.Module, images: Tensor, composite: str, alpha: float
) -> None:
    targets = torch.tensor([3, 0])
    got, record = relevance(net, images, targets, composite=composite)  # type: ignore[arg-type]
    if isinstance(net, VGG):
        expected, logits = walk_vgg(net, alpha, images, targets)
    else:
        expected, logits = Walk(net, alpha)(images, targets)
    torch.testing.assert_close(record.logits, logits)
    error = float((got - expected).abs().max() / expected.abs().max())
    assert error <= TOLERANCES["relevance twin, float64 of max|R|"]


def test_every_conserving_layer_sums_to_the_logit(net: nn.Module, images: Tensor) -> None:
    layers = conserving_layers(net)
    assert len(layers) >= 6
    record = RelevanceModel(net, layers=layers)(images).record
    assert list(record.sums) == [*reversed(layers), "input"]
    for name, sums in record.sums.items():
        relative = ((sums - record.logits) / record.logits).abs().max()
        assert float(relative) <= TOLERANCES["conservation, float64"], name


def test_conserving_layers_of_resnet50_are_the_stem_the_blocks_and_the_pools() -> None:
    blocks = [f"layer{s}.{b}.relu3" for s, d in enumerate((3, 4, 6, 3), 1) for b in range(d)]
    assert conserving_layers(resnet50()) == ("relu", "maxpool", *blocks, "avgpool")


def test_a_called_twice_layer_or_an_untraceable_model_has_no_line() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU()
            self.pool = nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.relu(self.conv(x)))
            return self.pool(x).flatten(1)

    class DependsOnData(Twice):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if float(x.sum()) < 1e30 else -x)

    assert conserving_layers(Twice()) == ("pool",)
    assert conserving_layers(DependsOnData()) == ()


@pytest.mark.real
@pytest.mark.parametrize("composite", ["alpha2beta1", "alpha1beta0"])
def test_vgg19_features_on_ultrasound(vgg19_weights: Path, busi_256: Path, composite: str) -> None:
    """Trained convolutions with biases, under a linear decision: conserved in every layer."""
    from safetensors.torch import load_file

    from busaug.data.images import read_gray, resize, to_float

    torch.manual_seed(8)
    features = vgg19_features()
    state = {k.removeprefix("features."): v for k, v in load_file(vgg19_weights).items()}
    features.load_state_dict(state, strict=False)
    model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 4)).eval()
    gray = torch.from_numpy(to_float(read_gray(busi_256 / "benign/benign (50).png")))
    images = imagenet_normalise(resize(gray[None, None], 112))
    layers = conserving_layers(model)
    assert len(layers) == 16 + 5 + 1
    record = RelevanceModel(model, composite=composite, layers=layers)(images).record  # type: ignore[arg-type]
    for name, sums in record.sums.items():
        relative = ((sums - record.logits) / record.logits).abs().max()
        assert float(relative) <= TOLERANCES["conservation, float32"], name
