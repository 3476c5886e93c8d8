"""Relevance on ResNet-50: conservation, a second derivation, the sum rule."""

import copy
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
from busaug.ops.lrp_layers import AlphaBetaRule


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
def test_pretrained_network_on_ultrasound(
    resnet50_weights: Path, busi_256: Path, composite: str
) -> None:
    """Relevance is conserved, and float32 is near float64, the winners of max pooling apart."""
    from busaug.data.images import read_gray, resize, to_float

    model = resnet50()
    load_state(model, resolve_weights(str(resnet50_weights)))
    model.eval()
    files = [busi_256 / "benign/benign (50).png", busi_256 / "malignant/malignant (30).png"]
    gray = torch.stack([torch.from_numpy(to_float(read_gray(f)))[None] for f in files])
    images = imagenet_normalise(resize(gray, 112))
    single = RelevanceModel(model, composite=composite)(images)  # type: ignore[arg-type]
    record = single.record
    assert float(record.conservation_error.max()) <= TOLERANCES["conservation, float32"]
    exact = RelevanceModel(model.double(), composite=composite)(images.double(), record.targets)  # type: ignore[arg-type]
    pairs = [(single.pixels, exact.pixels)]
    pairs += [(each, exact.layers[name]) for name, each in single.layers.items()]
    for found, expected in pairs:
        difference = float((found - expected).norm() / expected.norm())
        assert difference <= TOLERANCES["relevance, float32 against float64"]


def test_layouts_of_model_and_images_make_no_difference(net: nn.Module, images: Tensor) -> None:
    plain = RelevanceModel(net)
    channels_last = RelevanceModel(
        copy.deepcopy(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    )
    expected = plain(images).pixels
    last = images.contiguous(memory_format=torch.channels_last)
    wide = torch.empty(1, 3, 96, 96, dtype=images.dtype)[..., ::2, ::2].copy_(images)
    for model, x in ((plain, last), (plain, wide), (channels_last, images)):
        assert torch.equal(model(x).pixels, expected)


def test_repeats_are_equal_and_sizes_may_change(net: nn.Module, images: Tensor) -> None:
    model = RelevanceModel(net.float())
    net.double()
    first = model(images.float())
    assert model(images[..., 8:, :].float()).pixels.shape == (1, 3, 40, 48)
    again = model(images.float())
    assert torch.equal(again.pixels, first.pixels)
    for name, sums in first.record.sums.items():
        assert torch.equal(again.record.sums[name], sums)


def test_gradients_may_be_off_and_images_may_want_some(net: nn.Module, images: Tensor) -> None:
    model = RelevanceModel(net)
    expected = model(images).pixels
    with torch.no_grad():
        assert torch.equal(model(images).pixels, expected)
    assert not model(images.clone().requires_grad_(True)).pixels.requires_grad


def test_a_rule_of_ones_own(net: nn.Module, images: Tensor) -> None:
    """Between the two composites, and with a bias that absorbs most of fifty layers' relevance."""
    _, record = relevance(net, images, composite=AlphaBetaRule(1.5, 0.5))
    assert float(record.conservation_error.max()) <= TOLERANCES["conservation, float64"]
    _, record = relevance(net, images, composite=AlphaBetaRule(1, 0, bias="absorb"))
    assert float(record.conservation_error.max()) > 0.1


def test_the_model_given_is_left_alone(net: nn.Module, images: Tensor) -> None:
    before = {key: value.clone() for key, value in net.state_dict().items()}
    RelevanceModel(net)(images)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())


def test_a_layer_without_rule_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid())
    with pytest.raises(InputError, match=r"layer 1 of type Sigmoid"):
        RelevanceModel(model)


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(InputError, match="no layer 'layer9'"):
        RelevanceModel(resnet50(), layers=["layer9"])


@pytest.fixture(scope="module")
def prepared() -> RelevanceModel:
    return RelevanceModel(resnet50(num_classes=10))


@pytest.mark.parametrize(
    ("images", "targets", "says"),
    [
        (torch.zeros(3, 32, 32), None, r"images have the shape \(3, 32, 32\)"),
        (torch.zeros(2, 1, 32, 32), None, r"shape \(2, 1, 32, 32\).*Give \(B, 3, H, W\)"),
        (torch.zeros(0, 3, 32, 32), None, "at least one image"),
        (torch.zeros(1, 3, 0, 32), None, "at least one image"),
        (torch.zeros(1, 3, 32, 32).double(), None, "torch.float64 on cpu, the model is"),
        (torch.zeros(1, 3, 32, 32).to("meta"), None, "on meta"),
        (torch.full((1, 3, 32, 32), torch.nan), None, "NaN"),
        (torch.zeros(2, 3, 32, 32), torch.tensor([1]), r"shape \(1,\).*Give 2 integers"),
        (torch.zeros(1, 3, 32, 32), torch.tensor([1.0]), "targets are torch.float32"),
        (torch.zeros(2, 3, 32, 32), torch.tensor([3, 10]), "from 3 to 10.*classes 0 to 9"),
        (torch.zeros(1, 3, 32, 32), torch.tensor([-1]), "from -1 to -1"),
    ],
)
def test_bad_input_is_named(
    prepared: RelevanceModel, images: Tensor, targets: Tensor | None, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        prepared(images, targets)


def test_an_unknown_composite_is_named() -> None:
    with pytest.raises(InputError, match="gamma"):
        RelevanceModel(resnet50(), composite="gamma")  # type: ignore[arg-type]
