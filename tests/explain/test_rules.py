"""Rules as layers, R = a G: each against the rule applied to relevance itself, float64."""

import pytest
import torch
from tolerances import TOLERANCES
from torch import Tensor, nn

from busaug.errors import InputError
from busaug.explain.rules import AlphaBetaConv, EpsilonLinear, RectifiedSum, ZBoxConv
from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, imagenet_normalise
from busaug.models.resnet import Add
from busaug.ops.lrp_layers import AlphaBetaRule
from busaug.reference import lrp

# kernel, stride, padding
SHAPES = [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (7, 2, 3)]


def close(found: Tensor, expected: Tensor) -> None:
    limit = TOLERANCES["relevance twin, float64 of max|R|"] * float(expected.abs().max())
    assert float((found - expected).abs().max()) <= limit


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def passed_down(layer: nn.Module, a: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance of a layer's outputs drawn at random, and a G of its inputs."""
    a = a.detach().requires_grad_(True)
    out = layer(a)
    gradient = torch.randn_like(out)
    (below,) = torch.autograd.grad(out, a, gradient)
    return (out * gradient).detach(), (a * below).detach()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("alpha", [2.0, 1.0])
@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
def test_alpha_beta(
    kernel: int, stride: int, padding: int, alpha: float, nonnegative: bool, bias: bool
) -> None:
    conv = nn.Conv2d(3, 5, kernel, stride, padding, bias=bias).double().requires_grad_(False)
    a = draw(2, 3, 9, 11)
    a = a.clamp_min(0) if nonnegative else a
    rule = AlphaBetaConv(conv, AlphaBetaRule(alpha, alpha - 1), nonnegative=nonnegative)
    torch.testing.assert_close(rule(a), conv(a))
    relevance, found = passed_down(rule, a)
    layer = lrp.Linear(conv.weight, stride, padding)
    close(found, lrp.alpha_beta(layer, a, relevance, alpha, alpha - 1))


def test_a_rectified_sum_behind_one_convolution() -> None:
    conv = nn.Conv2d(3, 5, 3).double().requires_grad_(False)
    rule = AlphaBetaConv(conv, AlphaBetaRule(), nonnegative=True)
    whole = nn.Sequential(rule, RectifiedSum(rule, masks=False))
    a = draw(2, 3, 9, 11).abs()
    torch.testing.assert_close(whole(a), conv(a).relu())
    relevance, found = passed_down(whole, a)
    close(found, lrp.alpha_beta(lrp.Linear(conv.weight), a, relevance, 2, 1))


def test_a_rectified_sum_of_two_convolutions() -> None:
    """Both branches have the same input: relevance is split over them, then summed in it."""

    class Block(nn.Module):
        def __init__(self, *convs: nn.Module, add: nn.Module) -> None:
            super().__init__()
            self.left, self.right = convs
            self.add = add

        def forward(self, a: Tensor) -> Tensor:
            out: Tensor = self.add(self.left(a), self.right(a))
            return out

    convs = [nn.Conv2d(3, 5, 3).double().requires_grad_(False) for _ in range(2)]
    left, right = (AlphaBetaConv(c, AlphaBetaRule(), nonnegative=True) for c in convs)
    a = draw(2, 3, 9, 11).abs()
    whole = Block(left, right, add=RectifiedSum(left, right, masks=True))
    torch.testing.assert_close(whole(a), (convs[0](a) + convs[1](a)).relu())
    relevance, found = passed_down(whole, a)
    shares = lrp.residual_sum(convs[0](a), convs[1](a), relevance)
    expected = sum(
        lrp.alpha_beta(lrp.Linear(conv.weight), a, share, 2, 1)
        for conv, share in zip(convs, shares, strict=True)
    )
    assert isinstance(expected, Tensor)
    close(found, expected)


@pytest.mark.parametrize("bias", [True, False])
def test_epsilon(bias: bool) -> None:
    linear = nn.Linear(7, 4, bias=bias).double().requires_grad_(False)
    a = draw(3, 7)
    torch.testing.assert_close(EpsilonLinear(linear)(a), linear(a))
    relevance, found = passed_down(EpsilonLinear(linear), a)
    close(found, lrp.epsilon(lrp.Linear(linear.weight), a, relevance))


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
def test_z_box(kernel: int, stride: int, padding: int) -> None:
    conv = nn.Conv2d(3, 5, kernel, stride, padding).double().requires_grad_(False)
    x = imagenet_normalise(torch.rand(2, 1, 9, 11, dtype=torch.float64))
    rule = ZBoxConv(conv)
    output = rule(x)
    assert output is rule.leaf
    torch.testing.assert_close(output, conv(x))
    gradient = torch.randn_like(output)
    found = rule.layer.propagate(x, output.detach(), gradient)
    mean = x.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = x.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    relevance = (output * gradient).detach()
    layer = lrp.Linear(conv.weight, stride, padding)
    close(found, lrp.z_box(layer, x, -mean / std, (1 - mean) / std, relevance))
    assert float(found.sum()) == pytest.approx(float(relevance.sum()), rel=1e-6)


def test_ordinary_backward_passes_that_are_rules() -> None:
    a = draw(2, 3, 6, 6).abs()
    relevance, found = passed_down(nn.MaxPool2d(3, 2, 1), a)
    close(found, lrp.max_pool(a, relevance, 3, 2, 1))
    relevance, found = passed_down(nn.AdaptiveAvgPool2d(1), a)
    close(found, lrp.global_average_pool(a, relevance.flatten(1)))
    relevance, found = passed_down(nn.ReLU(), a - 0.5)
    close(found, relevance)


def test_an_ordinary_residual_sum_splits_in_proportion() -> None:
    left, right = (draw(2, 3, 4, 4).requires_grad_(True) for _ in range(2))
    out = Add()(left, right)
    gradient = torch.randn_like(out)
    below = torch.autograd.grad(out, (left, right), gradient)
    expected = lrp.residual_sum(left, right, out * gradient)
    for branch, found, share in zip((left, right), below, expected, strict=True):
        close((branch * found).detach(), share.detach())


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_a_convolution_without_rule_is_named(conv: nn.Conv2d) -> None:
    with pytest.raises(InputError, match=r"Conv2d\(4, 4.*has no relevance rule"):
        AlphaBetaConv(conv, AlphaBetaRule(), nonnegative=True)


def test_a_first_convolution_for_other_channels_is_named() -> None:
    with pytest.raises(InputError, match="first convolution takes 1 channels"):
        ZBoxConv(nn.Conv2d(1, 4, 3))
