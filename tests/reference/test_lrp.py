"""Relevance rules on small layers: hand-made truths and dense matrices, float64."""

import pytest
import torch
from tolerances import TOLERANCES

from busaug.ops.lrp import ConvShape, alpha_beta_conv, epsilon_linear, z_box_conv
from busaug.reference import lrp

TWIN = TOLERANCES["relevance twin, float64 of max|R|"]
SHAPES = [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (7, 2, 3)]


def _close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert float((actual - expected).abs().max()) <= TWIN * float(expected.abs().max())


def test_alpha_beta_by_hand() -> None:
    """a = (1, 2), w = (3, -1): z+ = 3, z- = -2, R = 1 gives (alpha, -beta)."""
    layer = lrp.Linear(torch.tensor([[3.0, -1.0]], dtype=torch.float64))
    a, r = torch.tensor([[1.0, 2.0]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    got = lrp.alpha_beta(layer, a, r, 2.0, 1.0)
    torch.testing.assert_close(got, torch.tensor([[2.0, -1.0]], dtype=torch.float64))


def test_a_unit_without_negative_part_passes_everything() -> None:
    layer = lrp.Linear(torch.tensor([[3.0, 1.0]], dtype=torch.float64))
    a, r = torch.tensor([[1.0, 1.0]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    assert float(lrp.alpha_beta(layer, a, r, 2.0, 1.0).sum()) == pytest.approx(1.0)
    leaking = lrp.alpha_beta(layer, a, r, 2.0, 1.0, zero_part=False)
    assert float(leaking.sum()) == pytest.approx(2.0)


@pytest.mark.parametrize("alpha", [2.0, 1.0])
def test_alpha_beta_equals_the_dense_double_loop(alpha: float) -> None:
    """Every contribution z_ij formed on its own, no convolution, no sign split of weights."""
    w = torch.randn(4, 6, dtype=torch.float64)
    a, r = torch.randn(1, 6, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
    expected = torch.zeros(6, dtype=torch.float64)
    for j in range(4):
        z = [float(a[0, i] * w[j, i]) for i in range(6)]
        plus, minus = sum(v for v in z if v > 0), sum(v for v in z if v < 0)
        for i, v in enumerate(z):
            share = alpha * v / plus if v > 0 else -(alpha - 1) * v / minus
            expected[i] += share * float(r[0, j])
    _close(lrp.alpha_beta(lrp.Linear(w), a, r, alpha, alpha - 1)[0], expected)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("alpha", [2.0, 1.0])
@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
def test_gradient_form_equals_the_rule(
    kernel: int, stride: int, padding: int, alpha: float, signed: bool
) -> None:
    """R = a G with G from the modified backward pass, against the rule applied to R."""
    a = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    a = (a if signed else a.clamp_min(0)).requires_grad_(True)
    w = torch.randn(5, 3, kernel, kernel, dtype=torch.float64)
    bias = torch.randn(5, dtype=torch.float64)
    shape = ConvShape((stride, stride), (padding, padding))
    out = alpha_beta_conv(a, w, bias, shape, alpha)
    seed = torch.randn_like(out)
    (grad_a,) = torch.autograd.grad(out, a, seed)
    relevance = (out * seed).detach()
    expected = lrp.alpha_beta(
        lrp.Linear(w, stride, padding), a.detach(), relevance, alpha, alpha - 1
    )
    _close((a * grad_a).detach(), expected)


def test_epsilon_form_equals_the_rule() -> None:
    a = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    w, bias = torch.randn(4, 7, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    out = epsilon_linear(a, w, bias)
    seed = torch.randn_like(out)
    (grad_a,) = torch.autograd.grad(out, a, seed)
    expected = lrp.epsilon(lrp.Linear(w), a.detach(), (out * seed).detach())
    _close((a * grad_a).detach(), expected)


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
def test_z_box_equals_the_rule_and_conserves(kernel: int, stride: int, padding: int) -> None:
    low = torch.tensor([-2.0, -1.0, -1.5], dtype=torch.float64).view(1, 3, 1, 1)
    high = torch.tensor([1.0, 2.0, 1.5], dtype=torch.float64).view(1, 3, 1, 1)
    x = low + (high - low) * torch.rand(2, 3, 9, 11, dtype=torch.float64)
    w = torch.randn(5, 3, kernel, kernel, dtype=torch.float64)
    layer = lrp.Linear(w, stride, padding)
    relevance = torch.randn_like(layer.apply(x))
    got = z_box_conv(x, w, low, high, relevance, ConvShape((stride,) * 2, (padding,) * 2))
    _close(got, lrp.z_box(layer, x, low, high, relevance))
    assert float(got.sum()) == pytest.approx(float(relevance.sum()), rel=TWIN)


def test_sum_and_pools_conserve() -> None:
    x, y = torch.rand(2, 2, 3, 6, 6, dtype=torch.float64) + 0.1
    r = torch.randn_like(x)
    left, right = lrp.residual_sum(x, y, r)
    torch.testing.assert_close(left + right, r)
    pooled = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    spread = lrp.max_pool(x, pooled, 3, 2, 1)
    torch.testing.assert_close(spread.sum((2, 3)), pooled.sum((2, 3)))
    whole = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(lrp.global_average_pool(x, whole).sum((2, 3)), whole)
