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
