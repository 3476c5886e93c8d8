"""The truncated, folded, gray-stemmed extractor equals the plain network."""

import dataclasses
from pathlib import Path

import pytest
import torch
from style.cases import warm
from tolerances import TOLERANCES

from busaug.errors import InputError
from busaug.models.preprocess import imagenet_normalise
from busaug.models.resnet import ResNet, resnet50
from busaug.models.vgg import vgg19_features, vgg19_layer
from busaug.models.weights import load_state, random_weights, resolve_weights
from busaug.style import features as features_module
from busaug.style.calibrate import balance, gradient_ratio
from busaug.style.features import FeatureExtractor
from busaug.style.objective import Objective, content_loss, style_losses
from busaug.style.targets import style_targets

GRAY = TOLERANCES["gray stem, absolute"]


def _plain(model: ResNet, gray: torch.Tensor) -> dict[str, torch.Tensor]:
    model.eval()
    x = model.relu(model.bn1(model.conv1(imagenet_normalise(gray))))
    out = {"relu": x}
    x = model.maxpool(x)
    for name in ("layer1", "layer2", "layer3"):
        x = out[name] = model.get_submodule(name)(x)
    return out


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (64, 40)])
def test_gray_features_equal_the_network_border_included(shape: tuple[int, int]) -> None:
    weights = warm()
    model = resnet50()
    load_state(model, weights)
    gray = torch.rand(2, 1, *shape)
    with torch.no_grad():
        expected = _plain(model, gray)
        got = FeatureExtractor("resnet50", weights)(gray)
    assert list(got) == list(expected)
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(got[name], value, rtol=0, atol=GRAY * max(scale, 1.0))


@pytest.mark.real
def test_gray_features_equal_the_pretrained_network(resnet50_weights: Path) -> None:
    weights = resolve_weights(str(resnet50_weights))
    model = resnet50()
    load_state(model, weights)
    gray = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected, got = _plain(model, gray), FeatureExtractor("resnet50", weights)(gray)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=GRAY * float(value.abs().max()))


def test_vgg_layers_are_named_as_in_the_papers() -> None:
    weights = random_weights("vgg19")
    extractor = FeatureExtractor("vgg19", weights)
    gray = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        got = extractor(gray)
        x = imagenet_normalise(gray)
        model = vgg19_features(pooling="average")
        load_state(model, weights, prefix="features.")
        expected = model[: vgg19_layer("relu4_2") + 1](x)
    assert set(extractor.style_layers) | {extractor.content_layer} == set(got)
    assert [got[f"relu{i}_1"].shape[1] for i in range(1, 6)] == [64, 128, 256, 512, 512]
    torch.testing.assert_close(got["relu4_2"], expected, rtol=GRAY, atol=GRAY)


def test_vgg_weights_may_end_at_the_deepest_layer() -> None:
    whole = random_weights("vgg19")
    cut = {k: v for k, v in whole.state.items() if int(k.split(".")[1]) <= vgg19_layer("conv5_1")}
    assert len(cut) < len(whole.state)
    gray = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        expected = FeatureExtractor("vgg19", whole)(gray)
        got = FeatureExtractor("vgg19", dataclasses.replace(whole, state=cut))(gray)
    assert all(torch.equal(got[name], value) for name, value in expected.items())


def test_balance_makes_the_gradient_norms_equal() -> None:
    """Calibrated on one pair, the ratio there is one at gamma = 1, layer weights included."""
    extractor = FeatureExtractor("resnet50", warm())
    content, references = torch.rand(1, 1, 32, 32), torch.rand(2, 1, 32, 32)
    noise = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        target = extractor(content)[extractor.content_layer]
        targets = style_targets(extractor(references), extractor.style_layers, "FM")
    weights = torch.tensor([[0.1], [0.5], [1.0], [2.4]])
    weight = balance(gradient_ratio(Objective(extractor, target, targets, weights), noise))

    leaf = noise.requires_grad_(True)
    features = extractor(leaf)
    style = weights * style_losses(features, targets)
    (on_style,) = torch.autograd.grad((weight * style).sum(), leaf, retain_graph=True)
    (on_content,) = torch.autograd.grad(content_loss(features["layer3"], target).sum(), leaf)
    ratio = float(on_style.norm() / on_content.norm())
    assert ratio == pytest.approx(1.0, abs=TOLERANCES["balance fixed point"])


@pytest.mark.parametrize("name", ["shallow", "deep"])
def test_layer_sets_differ_only_in_what_is_kept(name: str) -> None:
    """A truncated chain gives what the whole one gives, and runs no stage below its deepest."""
    weights = warm()
    gray = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        deep = FeatureExtractor("resnet50", weights, "deep")(gray)
        extractor = FeatureExtractor("resnet50", weights, name)
        got = extractor(gray)
    assert list(got) == list(extractor.stages)
    assert list(got)[-1] == ("layer4" if name == "deep" else "layer2")
    for layer, value in got.items():
        assert torch.equal(value, deep[layer])


def test_unknown_layer_set_is_named() -> None:
    with pytest.raises(InputError, match=r"style\.layers='deepest'.*"):
        FeatureExtractor("resnet50", warm(), "deepest")


def test_softmax_features_are_positive_with_mean_one_and_keep_the_order() -> None:
    weights, gray = warm(), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        plain = FeatureExtractor("resnet50", weights, "shallow")(gray)
        smooth = FeatureExtractor("resnet50", weights, "shallow", softmax=True)(gray)
    for layer, value in smooth.items():
        exact = torch.exp(plain[layer].double())
        exact = exact / exact.mean(dim=(1, 2, 3), keepdim=True)
        torch.testing.assert_close(value.double(), exact, rtol=GRAY, atol=GRAY)


@pytest.mark.parametrize("softmax", [False, True])
def test_features_streamed_in_parts_are_those_of_the_whole(
    softmax: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = FeatureExtractor("resnet50", warm(), softmax=softmax)
    images = torch.rand(3, 1, 40, 56)
    with torch.no_grad():
        expected = extractor(images)
    assert all(torch.equal(x, expected[name]) for name, x in extractor.stream(images))
    monkeypatch.setattr(features_module, "_PIXELS_AT_ONCE", 2 * 40 * 56)
    found = dict(extractor.stream(images))
    assert list(found) == list(expected)
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=0, atol=GRAY * max(scale, 1.0))
        assert found[name].stride() == value.stride()


def test_mixed_precision_is_within_bfloat16s_rounding_and_leaves_the_first_layer() -> None:
    weights, gray = warm(), torch.rand(2, 1, 48, 48, requires_grad=True)
    exact = FeatureExtractor("resnet50", weights)(gray)
    mixed = FeatureExtractor("resnet50", weights, precision="mixed")
    found = mixed(gray)
    assert list(found) == list(exact)
    assert torch.equal(found["relu"], exact["relu"])
    for name, value in exact.items():
        assert found[name].dtype == torch.float32
        assert found[name].stride() == value.stride()
        away = (found[name] - value).norm() / value.norm()
        assert away < TOLERANCES["bfloat16 features, L2"]
    assert found["layer3"].detach().to(torch.bfloat16).float().equal(found["layer3"])
    assert all(torch.equal(x, found[name]) for name, x in mixed.stream(gray))
    (wanted,) = torch.autograd.grad(exact["layer3"].square().sum(), gray)
    (got,) = torch.autograd.grad(found["layer3"].square().sum(), gray)
    assert (got - wanted).norm() / wanted.norm() < TOLERANCES["bfloat16 gradient, L2"]
