"""Relevance on ResNet-50: conservation, a second derivation, the sum rule."""

from pathlib import Path

import pytest
import torch
from explain.walk import Walk, warm
from tolerances import TOLERANCES
from torch import Tensor, nn

from busaug.errors import InputError
from busaug.explain.relevance import RelevanceModel, relevance
from busaug.models.classifier import ClassifierInfo, build_classifier
from busaug.models.preprocess import imagenet_normalise
from busaug.models.resnet import resnet50
from busaug.models.weights import load_state, resolve_weights


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(1)
    return warm(resnet50(num_classes=10).double())


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return imagenet_normalise(torch.rand(1, 1, 48, 48, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize(("composite", "alpha"), [("alpha2beta1", 2.0), ("alpha1beta0", 1.0)])
def test_gradient_form_equals_the_layer_by_layer_walk(
    net: nn.Module, images: Tensor, composite: str, alpha: float
) -> None:
    targets = torch.tensor([3])
    got, record = relevance(net, images, targets, composite=composite)  # type: ignore[arg-type]
    expected, logits = Walk(net, alpha)(images, targets)
    error = float((got - expected).abs().max() / expected.abs().max())
    assert error <= TOLERANCES["relevance twin, float64 of max|R|"]
    torch.testing.assert_close(record.logits, logits)
    assert float(record.conservation_error.max()) <= TOLERANCES["conservation, float64"]


def test_without_the_sum_rule_relevance_grows_to_two_to_the_sixteen(
    net: nn.Module, images: Tensor
) -> None:
    targets = torch.tensor([3])
    r, logits = Walk(net, 1.0, sum_rule=False)(images, targets)
    factors = r.flatten(1).sum(1) / logits
    tolerance = TOLERANCES["inflation without sum rule, absolute"]
    assert factors.tolist() == pytest.approx([65536.0], abs=tolerance)


def test_every_layer_conserves_in_float32(net: nn.Module, images: Tensor) -> None:
    model = RelevanceModel(net.float())
    record = model(images.float()).record
    net.double()
    for name, sums in record.sums.items():
        relative = ((sums - record.logits) / record.logits).abs().max()
        assert float(relative) <= TOLERANCES["conservation, float32"], name
    assert record.targets.tolist() == record.outputs.argmax(1).tolist()


def test_classifier_with_batchnorm_head_conserves() -> None:
    info = ClassifierInfo(("benign", "malignant"), 64, 0)
    model = build_classifier(info)
    head = model.fc
    assert isinstance(head, nn.Sequential)
    assert isinstance(head[0], nn.BatchNorm1d)
    warm(model)
    nn.init.uniform_(head[0].running_var, 0.5, 2.0)  # type: ignore[arg-type]
    x = imagenet_normalise(torch.rand(2, 1, 64, 64))
    result = RelevanceModel(model)(x, torch.tensor([0, 1]))
    with torch.no_grad():
        torch.testing.assert_close(result.record.outputs.float(), model(x), rtol=1e-3, atol=1e-4)
    assert float(result.record.conservation_error.max()) <= TOLERANCES["conservation, float32"]


@pytest.mark.real
@pytest.mark.parametrize("composite", ["alpha2beta1", "alpha1beta0"])
def test_pretrained_network_conserves_on_ultrasound(
    resnet50_weights: Path, busi_256: Path, composite: str
) -> None:
    from busaug.data.images import read_gray, resize, to_float

    model = resnet50()
    load_state(model, resolve_weights(str(resnet50_weights)))
    model.eval()
    files = [busi_256 / "benign/benign (50).png", busi_256 / "malignant/malignant (30).png"]
    gray = torch.stack([torch.from_numpy(to_float(read_gray(f)))[None] for f in files])
    _, record = relevance(model, imagenet_normalise(resize(gray, 112)), composite=composite)  # type: ignore[arg-type]
    assert float(record.conservation_error.max()) <= TOLERANCES["conservation, float32"]


def test_the_model_given_is_left_alone(net: nn.Module, images: Tensor) -> None:
    before = {key: value.clone() for key, value in net.state_dict().items()}
    RelevanceModel(net)(images)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())


def test_a_layer_without_rule_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid())
    with pytest.raises(InputError, match=r"layer 1 of type Sigmoid"):
        RelevanceModel(model, layers=())


def test_an_unknown_composite_is_named() -> None:
    with pytest.raises(InputError, match="gamma"):
        RelevanceModel(resnet50(), composite="gamma")  # type: ignore[arg-type]
