"""What follows what: read from the graph, and harmless where it cannot be read."""

import copy
from typing import Any

import pytest
import torch
from explain.walk import warm
from tolerances import TOLERANCES
from torch import Tensor, nn

from busaug.explain.relevance import RelevanceModel
from busaug.explain.structure import Structure, structure_of
from busaug.models.fold import fold_batchnorm
from busaug.models.preprocess import imagenet_normalise
from busaug.models.resnet import Add, resnet50


def test_resnet50_is_read_whole() -> None:
    structure = structure_of(fold_batchnorm(resnet50()))
    convolutions = {name for name, m in resnet50().named_modules() if isinstance(m, nn.Conv2d)}
    assert convolutions - structure.nonnegative == {"conv1"}
    assert structure.rectified["conv1"] == "relu"
    assert structure.rectified["layer3.2.conv2"] == "layer3.2.relu2"
    assert structure.rectified["layer3.2.add"] == "layer3.2.relu3"
    assert len(structure.rectified) == 1 + 16 * 3
    assert structure.summed["layer1.0.add"] == ("layer1.0.conv3", "layer1.0.downsample.0")
    assert structure.summed["layer1.1.add"] == ("layer1.1.conv3",)


class Small(nn.Module):
    """A residual block between a stem and a linear layer; what follows what is as told."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.relu0 = nn.ReLU()
        self.first = nn.Conv2d(6, 6, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.second = nn.Conv2d(6, 6, 1)
        self.add = Add()
        self.relu2 = nn.ReLU()
        self.third = nn.Conv2d(6, 6, 3, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu0(self.stem(x))
        x = self.relu2(self.add(self.second(self.relu1(self.first(x))), x))
        out: Tensor = self.fc(self.pool(self.third(x)).flatten(1))
        return out


class SharedReLU(Small):
    """As torchvision has it: one ReLU for all, in place, and a + for the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.second(self.relu(self.first(x)))
        y += x
        out: Tensor = self.fc(self.pool(self.third(self.relu(y))).flatten(1))
        return out


class DependsOnData(Small):
    def forward(self, x: Tensor) -> Tensor:
        if float(x.sum()) > 1e30:
            raise RuntimeError
        return super().forward(x)


class LooksTwice(Small):
    """The first convolution's output goes past its ReLU as well, at no weight."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu0(self.stem(x))
        y = self.first(x)
        z = self.second(self.relu1(y))
        x = self.relu2(self.add(z, x)) + 0 * y
        out: Tensor = self.fc(self.pool(self.third(x)).flatten(1))
        return out


def same_weights(kind: type[Small], model: Small) -> Small:
    other = kind().double()
    other.load_state_dict(model.state_dict())
    return other


@pytest.fixture
def images() -> Tensor:
    return imagenet_normalise(torch.rand(2, 1, 12, 10, dtype=torch.float64))


@pytest.mark.parametrize("kind", [SharedReLU, DependsOnData, LooksTwice])
def test_less_structure_gives_the_same_relevance(kind: type[Small], images: Tensor) -> None:
    model = Small().double()
    complete = structure_of(model)
    assert complete.rectified == {"stem": "relu0", "first": "relu1", "add": "relu2"}
    assert complete.nonnegative >= {"first", "second", "third"}
    other = same_weights(kind, model)
    assert "first" not in structure_of(other).rectified
    expected = RelevanceModel(model)(images).pixels
    found = RelevanceModel(other)(images).pixels
    limit = TOLERANCES["lrp op, float64 of max|R|"] * float(expected.abs().max())
    assert float((found - expected).abs().max()) <= limit


def test_a_model_that_cannot_be_traced_has_no_structure() -> None:
    assert structure_of(DependsOnData()) == Structure()


def test_inputs_of_any_sign_are_not_taken_for_nonnegative() -> None:
    """Two convolutions in a row: between them nothing rectifies."""

    class Straight(Small):
        def forward(self, x: Tensor) -> Tensor:
            y = self.second(self.first(self.relu0(self.stem(x))))
            out: Tensor = self.fc(self.pool(self.relu2(self.third(y))).flatten(1))
            return out

    structure = structure_of(Straight())
    assert "first" in structure.nonnegative
    assert not {"second", "third"} & structure.nonnegative


def test_layers_asked_for_keep_their_output(images: Tensor) -> None:
    """Their relevance is then their own, bias included, and the input's stays the same."""
    model = Small().double()
    expected = RelevanceModel(model)(images)
    names = ["first", "relu1", "second", "add", "relu2", "third"]
    found = RelevanceModel(model, layers=names)(images)
    torch.testing.assert_close(found.pixels, expected.pixels)
    sums = found.record.sums
    for name in ("add", "relu2", "third"):
        torch.testing.assert_close(sums[name], found.record.logits, rtol=1e-4, atol=0)
    for name in ("first", "relu1"):
        torch.testing.assert_close(sums[name], sums["second"], rtol=1e-4, atol=1e-7)


def test_preparing_changes_nothing_in_the_model(images: Tensor) -> None:
    model: Any = warm(resnet50(num_classes=3))
    before = copy.deepcopy(model.state_dict())
    RelevanceModel(model)
    assert [type(m) for m in model.modules()] == [type(m) for m in resnet50().modules()]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
