"""Relevance rules on small layers: hand-made truths and dense matrices, float64."""

import pytest
import torch
from tolerances import TOLERANCES

from busaug.reference import lrp

TWIN = TOLERANCES["relevance twin, float64 of max|R|"]


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


def test_a_bias_absorbs_its_share_by_its_sign() -> None:
    """Contributions 3 and -2: a bias of 1 joins z+, one of -2 joins z-."""
    layer = lrp.Linear(torch.tensor([[3.0, -2.0]], dtype=torch.float64))
    a, r = torch.ones(1, 2, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for bias, expected in ((1.0, [1.5, -1.0]), (-2.0, [2.0, -0.5])):
        absorbing = torch.tensor([bias], dtype=torch.float64)
        got = lrp.alpha_beta(layer, a, r, 2.0, 1.0, absorbing=absorbing)
        torch.testing.assert_close(got, torch.tensor([expected], dtype=torch.float64))


@pytest.mark.parametrize("alpha", [2.0, 1.0])
@pytest.mark.parametrize("factor_kind", [0, 1, 2])
def test_quotients_are_the_rule_without_its_products(alpha: float, factor_kind: int) -> None:
    """The steps, put together by hand with dense products, against the rule whole."""
    w, a = torch.randn(4, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    bias, factor = torch.randn(4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    split, parts = lrp.split(a), torch.cat([w, -w], dim=1)
    positive, linear = split @ parts.clamp_min(0).mT, a @ w.mT
    torch.testing.assert_close(split @ parts.mT, linear)
    output = linear + bias
    relevance = (
        factor
        * (torch.ones_like(output), output, lrp.rectified_sum(linear, None, bias))[factor_kind]
    )
    s = lrp.quotients(
        positive,
        linear,
        bias,
        factor,
        alpha=alpha,
        beta=alpha - 1,
        rounding=1e-14,
        zero_part=True,
        absorb_bias=False,
        factor_kind=factor_kind,
    )
    back = s @ torch.cat([parts.clamp_min(0), parts.clamp_max(0)])
    expected = lrp.alpha_beta(lrp.Linear(w), a, relevance, alpha, alpha - 1)
    _close(a * lrp.merge(a, back), expected)


def test_rectified_sum_by_hand() -> None:
    left, right = torch.tensor([[1.0, -3.0]]), torch.tensor([[-2.0, 5.0]])
    bias = torch.tensor([0.5, 1.0])
    assert lrp.rectified_sum(left, None, bias).tolist() == [[1.5, 0.0]]
    assert lrp.rectified_sum(left, right, bias).tolist() == [[0.0, 3.0]]


def test_epsilon_by_hand() -> None:
    """z = 3 - 1 = 2 against R = 4 and a stabiliser of 2: shares 3/4 and -1/4, half is absorbed."""
    layer = lrp.Linear(torch.tensor([[3.0, -1.0]], dtype=torch.float64))
    a, r = torch.ones(1, 2, dtype=torch.float64), torch.full((1, 1), 4.0, dtype=torch.float64)
    got = lrp.epsilon(layer, a, r, 2.0)
    torch.testing.assert_close(got, torch.tensor([[3.0, -1.0]], dtype=torch.float64))


def test_z_box_by_hand() -> None:
    """x = 1 in [0, 3], w = (1, -1): contributions 1 - 0 and -1 + 3, of 3 in all."""
    layer = lrp.Linear(torch.tensor([1.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1))
    x = torch.ones(1, 2, 1, 1, dtype=torch.float64)
    got = lrp.z_box(layer, x, 0 * x, 3 * x, torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64))
    torch.testing.assert_close(got.flatten(), torch.tensor([1.0, 2.0], dtype=torch.float64))


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
