"""Rules that users register: each against a network of known relevance, and bad ones named."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tolerances import TOLERANCES
from torch import Tensor, nn
from torch.nn import functional

import busaug
from busaug.errors import InputError
from busaug.explain.registry import rule_of
from busaug.explain.relevance import RelevanceModel, relevance
from busaug.models.preprocess import imagenet_normalise


def network(*middle: nn.Module) -> nn.Sequential:
    """A classifier of 4 classes; ``middle`` gets 6 x 10 x 8, nothing below zero."""
    torch.manual_seed(6)
    stem, second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
    last = nn.Linear(6, 4)
    nn.init.uniform_(last.weight, 10, 20)  # no logit near zero, where the epsilon rule absorbs
    head = (second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    return nn.Sequential(stem, nn.ReLU(), *middle, *head).double()


@pytest.fixture
def images() -> Tensor:
    return imagenet_normalise(torch.rand(2, 1, 10, 8, dtype=torch.float64))


def close(found: Tensor, expected: Tensor) -> bool:
    limit = TOLERANCES["lrp op, float64 of max|R|"] * float(expected.abs().max())
    return float((found - expected).abs().max()) <= limit


class Swish(nn.SiLU):
    """Some class of a user's."""


class InPlaceSwish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x, inplace=True)


@pytest.mark.parametrize("activation", [Swish, InPlaceSwish])
def test_pass_hands_relevance_on(activation: type[nn.Module], images: Tensor) -> None:
    """Elementwise with f(0) = 0: every layer still sums to the logit, at both its ends."""
    model = network(nn.Conv2d(6, 6, 3), activation())
    busaug.register_rule(activation, "pass")
    found = RelevanceModel(model, layers=["2", "3"])(images)
    torch.testing.assert_close(found.layers["2"], found.layers["3"])
    assert found.layers["3"].abs().max() > 0
    assert float(found.record.conservation_error.max()) <= TOLERANCES["conservation, float64"]


class Doubled(nn.Module):
    """Halves and adds itself twice: the identity by a detour, with children of no known rule."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x + 0.5 * x


def test_gradient_takes_a_block_whole(images: Tensor) -> None:
    expected, _ = relevance(network(), images)
    with pytest.raises(InputError, match=r"layer 2\.inner of type Sigmoid"):
        relevance(network(Doubled()), images)
    busaug.register_rule(Doubled, "gradient")
    found, _ = relevance(network(Doubled()), images)
    assert close(found, expected)


class Mirror(nn.Module):
    """Flips columns, as a user's layer might."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flip(-1)


def test_a_function_says_how_relevance_goes(images: Tensor) -> None:
    """For a linear layer its rule is known: two ways of registering it must agree."""
    model = network(Mirror(), nn.Conv2d(6, 6, 3), nn.ReLU())
    busaug.register_rule(Mirror, "gradient")
    expected, _ = relevance(model, images)
    seen = []

    def flip_back(layer: nn.Module, inputs: Tensor, outputs: Tensor, relevance: Tensor) -> Tensor:
        assert isinstance(layer, Mirror)
        assert torch.equal(outputs, inputs.flip(-1))
        seen.append(relevance.sum((1, 2, 3)))
        return relevance.flip(-1)

    busaug.register_rule(Mirror, flip_back)
    found, record = relevance(model, images)
    assert close(found, expected)
    torch.testing.assert_close(seen[0], record.logits, rtol=1e-6, atol=0)
    with torch.no_grad():  # the model given has its own layer still
        torch.testing.assert_close(model(images), record.outputs)


class Leaking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * x


def test_a_rule_that_loses_relevance_shows(images: Tensor) -> None:
    """Half of what arrives goes on: the sums say so from that layer on, and the error is a half."""
    busaug.register_rule(Leaking, lambda _layer, _inputs, _outputs, relevance: relevance / 2)
    record = RelevanceModel(network(Leaking()), layers=["1", "2"])(images).record
    torch.testing.assert_close(record.sums["2"], record.logits, rtol=1e-6, atol=0)
    torch.testing.assert_close(record.sums["1"], record.logits / 2, rtol=1e-6, atol=0)
    torch.testing.assert_close(record.conservation_error, torch.full((2,), 0.5).double())


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Shouting(Plain):
    pass


class OwnConv(nn.Conv2d):
    pass


def test_the_nearest_registered_class_counts() -> None:
    busaug.register_rule(Plain, "gradient")
    assert rule_of(Shouting()) == "gradient"
    busaug.register_rule(Shouting, "pass")
    assert (rule_of(Shouting()), rule_of(Plain())) == ("pass", "gradient")
    assert rule_of(OwnConv(1, 1, 1)) is None  # a convolution as any other
    busaug.register_rule(OwnConv, "gradient")
    assert rule_of(OwnConv(1, 1, 1)) == "gradient"
    assert rule_of(nn.Conv2d(1, 1, 1)) is None


def test_one_activation_under_two_names_is_ruled_at_both(images: Tensor) -> None:
    busaug.register_rule(Swish, "pass")
    convolutions = [nn.Conv2d(6, 6, 3, padding=1) for _ in range(2)]
    shared = Swish()
    one = network(convolutions[0], shared, convolutions[1], shared)
    two = network(convolutions[0], Swish(), convolutions[1], Swish())
    assert close(relevance(one, images)[0], relevance(two, images)[0])


def test_one_convolution_under_two_names_is_refused(images: Tensor) -> None:
    shared = nn.Conv2d(6, 6, 1)
    with pytest.raises(InputError, match="layer 4 of type Conv2d goes by another name"):
        relevance(network(shared, nn.ReLU(), shared, nn.ReLU()), images)


def test_an_unknown_layer_tells_how_to_register_it(images: Tensor) -> None:
    with pytest.raises(InputError, match=r"layer 2 of type GELU.*busaug\.register_rule\(GELU, "):
        relevance(network(nn.GELU()), images)


def test_a_batchnorm_that_cannot_be_folded_is_an_unknown_layer(images: Tensor) -> None:
    with pytest.raises(InputError, match="layer 2 of type BatchNorm2d has no relevance rule"):
        relevance(network(nn.BatchNorm2d(6)), images)


@pytest.mark.parametrize(
    ("layer_type", "rule", "says"),
    [
        (nn.Conv2d, "pass", "Conv2d cannot have a rule of its own"),
        (nn.Linear, "gradient", "Linear cannot"),
        (nn.Module, "gradient", "Module cannot"),
        (nn.GELU(), "pass", r"GELU\(.* is no layer type"),
        (dict, "pass", "<class 'dict'> is no layer type"),
        (nn.GELU, "gamma", "unknown rule 'gamma'.*'gradient', 'pass' or a function"),
    ],
)
def test_bad_registrations_are_named(layer_type: object, rule: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        busaug.register_rule(layer_type, rule)  # type: ignore[arg-type]


class Shrinking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., ::2]


def test_a_rule_of_the_wrong_shape_is_named(images: Tensor) -> None:
    busaug.register_rule(Shrinking, lambda _layer, _inputs, _outputs, relevance: relevance)
    with pytest.raises(InputError, match=r"rule of Shrinking returned.*\(2, 6, 10, 4\).*10, 8\)"):
        relevance(network(Shrinking()), images)


def test_the_example_of_the_documentation_conserves() -> None:
    page = (Path(__file__).parents[2] / "docs/explain.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"__name__": "example"}
    exec(example, names)
    record = names["record"]
    assert float(record.conservation_error) <= TOLERANCES["conservation, float32"]
