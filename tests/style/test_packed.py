"""What the extractor puts in the place of a network's convolutions computes the same."""

from __future__ import annotations

import copy

import pytest
import torch
from style.cases import warm
from tolerances import TOLERANCES
from torch import nn

from busaug.models.fold import fold_batchnorm
from busaug.models.resnet import BasicBlock, Bottleneck, ResNet
from busaug.models.weights import random_weights
from busaug.ops.convolution import has_convolutions
from busaug.style import packed
from busaug.style.features import FeatureExtractor
from busaug.style.packed import (
    PackedBottleneck,
    PackedConvolution,
    pack_convolutions,
    serves,
)

needs_kernels = pytest.mark.skipif(not has_convolutions(), reason="needs AVX2 with FMA, or AVX-512")


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
    ours = FeatureExtractor(backbone, weights)
    assert any(isinstance(module, PackedConvolution) for module in ours.modules())
    plain = FeatureExtractor(backbone, weights, packed=False).double()
    assert not any(isinstance(module, PackedConvolution) for module in plain.modules())
    expected, wanted = features_and_gradient(plain, images.double())
    found, got = features_and_gradient(ours, images)
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
    monkeypatch.setattr(packed, "has_convolutions", lambda: False)
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


def bottleneck(channels_in, width, stride=1):
    """With BatchNorm folded, random, packed; and as it was."""
    torch.manual_seed(channels_in)
    block = Bottleneck(channels_in, width, stride)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.bias)
    folded = fold_batchnorm(block)
    return PackedBottleneck(folded), copy.deepcopy(folded)


@needs_kernels
@pytest.mark.parametrize(("channels_in", "stride"), [(64, 1), (32, 1), (64, 2)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_block_as_a_whole_has_the_blocks_value_and_gradient(channels_in, stride, memory_format):
    """Identity and projected shortcuts, of the sizes that kernels take and a strided one."""
    packed_block, plain = bottleneck(channels_in, 16, stride)
    x = torch.randn(3, channels_in, 11, 14).contiguous(memory_format=memory_format)
    x.requires_grad_()
    wide = x.detach().double().requires_grad_()
    found, expected = packed_block(x), plain.double()(wide)
    above = torch.randn_like(found).contiguous(memory_format=memory_format)
    # ReLUs switch where a rounding decides: nothing comes down there on either side.
    above = above * (expected.abs() > 1e-4)
    (got,) = torch.autograd.grad(found, x, above)
    (wanted,) = torch.autograd.grad(expected, wide, above.double())
    assert (found - expected).norm() < TOLERANCES["packed features, L2"] * expected.norm()
    assert (got - wanted).norm() < TOLERANCES["packed gradient, L2"] * wanted.norm()


@needs_kernels
@pytest.mark.parametrize("channels_in", [64, 32])
def test_a_block_as_a_whole_has_the_bits_of_its_steps(channels_in):
    block, _ = bottleneck(channels_in, 16)
    x = torch.randn(3, channels_in, 11, 14).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    beside = x if block.shortcut is None else block.shortcut(x)
    steps = block.conv3(block.conv2(block.conv1(x)), beside)
    whole = block(x)
    above = torch.randn_like(whole)
    assert torch.equal(whole, steps)
    gradients = [torch.autograd.grad(value, x, above)[0] for value in (whole, steps)]
    assert torch.equal(*gradients)


@needs_kernels
def test_a_blocks_gradient_is_differentiable_no_further():
    block, _ = bottleneck(64, 16)
    x = torch.randn(1, 64, 5, 5, requires_grad=True)
    (grad,) = torch.autograd.grad(block(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@needs_kernels
def test_a_block_with_batchnorm_is_refused():
    with pytest.raises(ValueError, match="fold BatchNorm"):
        pack_convolutions(ResNet().eval().requires_grad_(False))
