"""What the extractor puts in the place of a network's convolutions computes the same."""

from __future__ import annotations

import pytest
import torch
from style.cases import warm
from tolerances import TOLERANCES
from torch import nn

from busaug.models.fold import fold_batchnorm
from busaug.models.preprocess import imagenet_normalise
from busaug.models.resnet import BasicBlock, ResNet
from busaug.models.weights import random_weights
from busaug.ops.convolution import has_convolutions
from busaug.style import convolutions
from busaug.style.convolutions import (
    GrayStem,
    PackedBottleneck,
    PackedConvolution,
    pack_convolutions,
    serves,
)
from busaug.style.features import FeatureExtractor

needs_kernels = pytest.mark.skipif(not has_convolutions(), reason="needs AVX2 with FMA, or AVX-512")


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(7, 2, 3), (3, 1, 1)])
@pytest.mark.parametrize("shape", [(32, 32), (33, 40)])
def test_the_gray_stems_gradient_is_that_of_three_equal_channels(
    kernel: int, stride: int, padding: int, shape: tuple[int, int]
) -> None:
    conv = nn.Conv2d(3, 5, kernel, stride, padding).double().requires_grad_(False)
    gray = torch.rand(2, 1, *shape, dtype=torch.float64, requires_grad=True)
    for rectify in (False, True):
        stem = GrayStem(conv, rectify=rectify)
        for memory_format in (torch.contiguous_format, torch.channels_last):
            out = stem(gray)
            above = torch.randn_like(out).contiguous(memory_format=memory_format)
            (got,) = torch.autograd.grad(out, gray, above)
            plain = conv(imagenet_normalise(gray))
            plain = plain.relu() if rectify else plain
            torch.testing.assert_close(out, plain)
            (expected,) = torch.autograd.grad(plain, gray, above)
            torch.testing.assert_close(got, expected)
    assert torch.autograd.gradcheck(GrayStem(conv), gray)


def test_stem_maps_of_many_sizes_do_not_pile_up() -> None:
    stem = GrayStem(torch.nn.Conv2d(3, 4, 3, padding=1, bias=False))
    first = stem(torch.ones(1, 1, 8, 8))
    for side in range(9, 40):
        stem(torch.ones(1, 1, side, 8))
    assert len(stem._maps) <= 8
    assert torch.equal(stem(torch.ones(1, 1, 8, 8)), first)


def weights_of(backbone):
    return warm() if backbone == "resnet50" else random_weights(backbone)


def features_and_gradient(extractor, images):
    leaf = images.clone().requires_grad_()
    features = extractor(leaf)
    total = sum(value.square().mean() for value in features.values())
    (gradient,) = torch.autograd.grad(total, leaf)
    return {name: value.detach().double() for name, value in features.items()}, gradient.double()


@needs_kernels
@pytest.mark.parametrize("backbone", ["resnet50", "vgg19"])
@pytest.mark.parametrize("shape", [(2, 1, 48, 48), (1, 1, 50, 77), (2, 3, 33, 40)])
def test_packed_features_and_gradients_are_the_networks(backbone, shape):
    """Against the network's own convolutions in float64."""
    weights, images = weights_of(backbone), torch.rand(*shape)
    packed = FeatureExtractor(backbone, weights)
    assert any(isinstance(module, PackedConvolution) for module in packed.modules())
    plain = FeatureExtractor(backbone, weights, packed=False).double()
    assert not any(isinstance(module, PackedConvolution) for module in plain.modules())
    expected, wanted = features_and_gradient(plain, images.double())
    found, got = features_and_gradient(packed, images)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert (found[name] - value).norm() < TOLERANCES["packed features, L2"] * value.norm()
    assert (got - wanted).norm() < TOLERANCES["packed gradient, L2"] * wanted.norm()


@needs_kernels
def test_an_image_has_the_same_features_alone_and_in_a_batch():
    """Of the stages behind the stem, whose convolution is torch's."""
    extractor = FeatureExtractor("resnet50", warm())
    stage = extractor.stages["layer1"]
    x = torch.rand(3, 64, 24, 20).contiguous(memory_format=torch.channels_last)
    whole = stage(x)
    assert torch.equal(torch.cat([stage(x[i : i + 1]) for i in range(3)]), whole)


@needs_kernels
@pytest.mark.parametrize("backbone", ["resnet50", "vgg19"])
def test_what_the_kernels_do_not_take_goes_through_torch(backbone):
    weights, images = weights_of(backbone), torch.rand(2, 1, 32, 40, dtype=torch.float64)
    with torch.no_grad():
        found = FeatureExtractor(backbone, weights).double()(images)
        expected = FeatureExtractor(backbone, weights, packed=False).double()(images)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_without_the_instructions_everything_goes_through_torch(monkeypatch):
    monkeypatch.setattr(convolutions, "has_convolutions", lambda: False)
    images = torch.rand(2, 1, 32, 40)
    with torch.no_grad():
        found = FeatureExtractor("resnet50", warm())(images)
        expected = FeatureExtractor("resnet50", warm(), packed=False)(images)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


@needs_kernels
@pytest.mark.parametrize(
    ("options", "served"),
    [
        ({}, True),
        ({"bias": False}, True),
        ({"kernel_size": 1, "padding": 0}, True),
        ({"kernel_size": 1, "padding": 1}, False),
        ({"padding": 0}, False),
        ({"stride": 2}, False),
        ({"dilation": 2, "padding": 2}, False),
        ({"groups": 2}, False),
        ({"padding_mode": "reflect"}, False),
        ({"in_channels": 24}, False),
        ({"out_channels": 8}, False),
        ({"kernel_size": 5, "padding": 2}, False),
        ({"padding": "same"}, False),
    ],
)
def test_only_convolutions_that_the_kernels_compute_are_served(options, served):
    given = {"in_channels": 32, "out_channels": 16, "kernel_size": 3, "padding": 1, **options}
    conv = nn.Conv2d(**given)
    assert not serves(conv)  # its weight may still change
    assert serves(conv.requires_grad_(False)) == served


@needs_kernels
def test_other_blocks_keep_their_sums():
    """Of a ResNet-18, whose convolutions are packed one by one."""
    network = ResNet(block=BasicBlock, depths=(2, 1, 1, 1))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean)
            nn.init.normal_(module.bias)
    folded, images = fold_batchnorm(network), torch.rand(2, 3, 40, 48)
    with torch.no_grad():
        expected = folded.double()(images.double())
        folded.float()
        pack_convolutions(folded)
        found = folded(images)
    assert not any(isinstance(module, PackedBottleneck) for module in folded.modules())
    count = sum(isinstance(module, PackedConvolution) for module in folded.modules())
    assert count == 7  # of the ten behind the stem, three have a stride; and projections
    assert (found - expected).norm() < TOLERANCES["packed features, L2"] * expected.norm()


@needs_kernels
def test_a_block_with_batchnorm_is_refused():
    with pytest.raises(ValueError, match="fold BatchNorm"):
        pack_convolutions(ResNet().eval().requires_grad_(False))
