"""Architectures told from state dicts: torchvision's names, counts and shapes, written out here."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from busaug.errors import InputError
from busaug.models.architecture import load_architecture
from busaug.models.resnet import resnet50
from busaug.models.weights import Weights, random_weights, resolve_weights

Shapes = dict[str, tuple[int, ...]]

# Configurations A, B, D and E of Simonyan & Zisserman 2015, table 1; "M" is max pooling.
VGGS = {
    "vgg11": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
# He et al. 2016, table 1: blocks a stage, convolutions a block.
RESNETS = {
    "resnet18": ((2, 2, 2, 2), 2),
    "resnet34": ((3, 4, 6, 3), 2),
    "resnet50": ((3, 4, 6, 3), 3),
    "resnet101": ((3, 4, 23, 3), 3),
}
# Parameters of torchvision's networks with a thousand classes, as its model pages list them.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}


def norm(prefix: str, width: int) -> Shapes:
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{prefix}.{name}": (width,) for name in names} | {f"{prefix}.num_batches_tracked": ()}


def resnet_shapes(depths: tuple[int, ...], convolutions: int, classes: int) -> Shapes:
    """What ``torchvision.models.resnetNN().state_dict()`` holds, in its words."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7)} | norm("bn1", 64)
    before = 64
    for stage, depth in enumerate(depths, start=1):
        width = 32 * 2**stage
        after = width if convolutions == 2 else 4 * width
        for block in range(depth):
            at = f"layer{stage}.{block}"
            entry = after if block else before
            if convolutions == 2:
                chain = [(entry, width, 3), (width, width, 3)]
            else:
                chain = [(entry, width, 1), (width, width, 3), (width, after, 1)]
            for index, (given, out, side) in enumerate(chain, start=1):
                shapes[f"{at}.conv{index}.weight"] = (out, given, side, side)
                shapes |= norm(f"{at}.bn{index}", out)
            if not block and (stage > 1 or convolutions == 3):
                shapes[f"{at}.downsample.0.weight"] = (after, before, 1, 1)
                shapes |= norm(f"{at}.downsample.1", after)
        before = after
    return shapes | {"fc.weight": (classes, before), "fc.bias": (classes,)}


def vgg_shapes(configuration: str, batchnorm: bool, classes: int) -> Shapes:
    shapes: Shapes = {}
    index, before = 0, 3
    for part in configuration.split():
        if part == "M":
            index += 1
            continue
        width = int(part)
        shapes[f"features.{index}.weight"] = (width, before, 3, 3)
        shapes[f"features.{index}.bias"] = (width,)
        if batchnorm:
            shapes |= norm(f"features.{index + 1}", width)
        index, before = index + (3 if batchnorm else 2), width
    for index, (out, given) in {0: (4096, 25088), 3: (4096, 4096), 6: (classes, 4096)}.items():
        shapes |= {f"classifier.{index}.weight": (out, given), f"classifier.{index}.bias": (out,)}
    return shapes


def shapes_of(name: str, classes: int = 1000) -> Shapes:
    if name in RESNETS:
        return resnet_shapes(*RESNETS[name], classes)
    return vgg_shapes(VGGS[name.removesuffix("_bn")], name.endswith("_bn"), classes)


def state_of(shapes: Shapes) -> dict[str, Tensor]:
    """Zeros that take no memory."""
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


def weights_of(state: dict[str, Tensor]) -> Weights:
    return Weights(state, "net.pth", "", pretrained=True)


@pytest.fixture
def unallocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks stay on the meta device: half a gigabyte of VGG is neither made nor filled."""
    monkeypatch.setattr(nn.Module, "to_empty", lambda self, **_: self)
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)


@pytest.mark.usefixtures("unallocated")
@pytest.mark.parametrize("name", PARAMETERS)
def test_every_architecture_is_told_by_torchvisions_keys(name: str) -> None:
    shapes = shapes_of(name)
    # load_state asks every key whether it is finite; a view of one zero answers at no cost.
    model, found = load_architecture(weights_of(state_of(shapes)))
    assert found == name
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert ours == shapes
    assert list(ours) == list(shapes)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.usefixtures("unallocated")
@pytest.mark.parametrize(("name", "pools"), [("vgg13_bn", [6, 13, 20, 27, 34]), ("vgg11", [2])])
def test_pooling_lies_where_torchvision_has_it(name: str, pools: list[int]) -> None:
    model, _ = load_architecture(weights_of(state_of(shapes_of(name))))
    features = model.get_submodule("features")
    found = [int(n) for n, m in features.named_children() if isinstance(m, nn.MaxPool2d)]
    assert found[: len(pools)] == pools
    assert len(found) == 5


def test_a_small_file_without_counters_loads_its_values() -> None:
    """Files from before 2018 lack num_batches_tracked; three classes; values kept."""
    generator = torch.Generator().manual_seed(4)
    state = {
        key: torch.rand(shape, generator=generator) * 0.1
        for key, shape in shapes_of("resnet18", classes=3).items()
        if not key.endswith("num_batches_tracked")
    }
    model, name = load_architecture(weights_of(state))
    assert name == "resnet18"
    assert not model.training
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    with torch.no_grad():
        assert model(torch.zeros(2, 3, 40, 33)).shape == (2, 3)


def test_resnet50_computes_as_the_one_built_directly() -> None:
    weights = random_weights("resnet50", 5)
    model, _ = load_architecture(weights)
    direct = resnet50().eval()
    direct.load_state_dict(dict(weights.state))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x), direct(x))


@pytest.mark.parametrize(
    ("name", "edit", "says"),
    [
        ("resnet18", {"fc.weight": None}, "no last layer fc.weight"),
        ("resnet18", {"fc.weight": (5, 77)}, r"no last layer fc.weight \(classes, 512\)"),
        ("resnet18", {"layer3.1.bn2.bias": None}, "has no key layer3.1.bn2.bias"),
        ("resnet18", {"layer2.0.conv1.weight": (128, 64, 5, 5)}, "layer2.0.conv1.weight of shape"),
        ("resnet18", {"layer1.0.conv1.weight": None}, "has no key layer1.0.conv1.weight"),
        ("vgg11", {"classifier.6.weight": None}, "no last layer classifier.6.weight"),
        ("vgg11", {"features.0.weight": (64, 3, 11, 11)}, "features.0.weight of shape"),
    ],
)
@pytest.mark.usefixtures("unallocated")
def test_what_does_not_fit_is_named(
    name: str, edit: dict[str, tuple[int, ...] | None], says: str
) -> None:
    shapes: dict[str, tuple[int, ...] | None] = {**shapes_of(name), **edit}
    state = state_of({key: shape for key, shape in shapes.items() if shape is not None})
    with pytest.raises(InputError, match=f"net.pth.*{says}"):
        load_architecture(weights_of(state))


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"features.0.weight": (3,)},
        {"module.conv1.weight": (64, 3, 7, 7)},
        {"layer1.0.conv1.weight": (64, 64, 3, 3)},
    ],
)
def test_other_networks_are_named_by_a_key(shapes: Shapes) -> None:
    says = re.escape(repr(next(iter(shapes)))) if shapes else "no keys"
    with pytest.raises(InputError, match=f"no ResNet or VGG.*{says}.*busaug.relevance"):
        load_architecture(weights_of(state_of(shapes)))


@pytest.mark.real
def test_features_alone_hold_no_decision(vgg19_weights: Path) -> None:
    with pytest.raises(InputError, match="no decision to explain"):
        load_architecture(resolve_weights(str(vgg19_weights)))
