"""The identities behind the style loss (docs/method.md), in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import TOLERANCES

from busaug.reference import mmd

IDENTITY = TOLERANCES["mmd identities, float64"]
sizes = st.integers(1, 12)


def _columns(n: int, m: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, m, generator=generator, dtype=torch.float64)


@given(n=sizes, m=sizes, k=sizes, seed=st.integers(0, 1000))
def test_polynomial_mmd_is_the_distance_of_gram_matrices(n: int, m: int, k: int, seed: int) -> None:
    f, s = _columns(n, m, seed), _columns(n, k, seed + 1)
    by_kernel = mmd.style_loss_kernel(f, s)
    by_gram = mmd.style_loss_gram(f, mmd.gram(s))
    scale = float(mmd.gram(f).square().sum() + mmd.gram(s).square().sum()) / (4 * n**2)
    assert abs(float(by_kernel - by_gram)) <= IDENTITY * max(scale, 1.0)


def test_equal_sizes_give_the_gram_loss_of_gatys() -> None:
    f, s = _columns(6, 9, 0), _columns(6, 9, 1)
    n, m = f.shape
    gatys = ((f @ f.T - s @ s.T) ** 2).sum() / (4 * n**2 * m**2)
    assert float(mmd.style_loss_kernel(f, s)) == pytest.approx(float(gatys), rel=IDENTITY)


@given(offset=st.floats(0.0, 5.0), m=sizes, k=sizes)
def test_an_offset_adds_the_distance_of_means(offset: float, m: int, k: int) -> None:
    f, s = _columns(5, m, m), _columns(5, k, 100 + k)
    plain = mmd.mmd2_polynomial(f, s)
    means = 2 * offset * (f.mean(1) - s.mean(1)).square().sum()
    shifted = mmd.mmd2_polynomial(f, s, offset)
    scale = float(shifted.abs() + plain.abs() + means) + (offset + 10) ** 2
    assert abs(float(shifted - plain - means)) <= IDENTITY * scale


def test_the_union_of_references_has_the_mean_gram_matrix() -> None:
    f = _columns(5, 7, 0)
    references = [_columns(5, 8, seed) for seed in (1, 2, 3)]
    pooled = mmd.style_loss_kernel(f, torch.cat(references, dim=1))
    mean = torch.stack([mmd.gram(r) for r in references]).mean(0)
    assert float(pooled) == pytest.approx(float(mmd.style_loss_gram(f, mean)), rel=IDENTITY)


@pytest.mark.gradcheck
def test_gradients() -> None:
    f = _columns(4, 5, 0).requires_grad_(True)
    target = mmd.gram(_columns(4, 6, 1))
    assert torch.autograd.gradcheck(mmd.style_loss_gram, (f, target))
    s = _columns(4, 6, 1)
    assert torch.autograd.gradcheck(lambda x: mmd.style_loss_kernel(x, s, 0.7), (f,))
    (by_autograd,) = torch.autograd.grad(mmd.style_loss_gram(f, target), f)
    closed = mmd.style_loss_gram_gradient(f.detach(), target)
    torch.testing.assert_close(by_autograd, closed, rtol=IDENTITY, atol=IDENTITY)


def test_official_gradient_is_a_tenth_of_m_times_this_one() -> None:
    """The public DNST code applies 0.1/(N^2 M) (G_F - G_S) F with unscaled Grams."""
    f, s = _columns(4, 6, 0), _columns(4, 6, 1)
    n, m = f.shape
    official = 0.1 / (n**2 * m) * (f @ f.T - s @ s.T) @ f
    ours = mmd.style_loss_gram_gradient(f, mmd.gram(s))
    torch.testing.assert_close(official, 0.1 * m * ours, rtol=IDENTITY, atol=IDENTITY)


def test_gaussian_mmd_by_hand() -> None:
    x, y = torch.tensor([[0.0, 2.0]]).double(), torch.tensor([[1.0, 1.0]]).double()
    variance = (4 + 0 + 2 * 1) / 4  # mean squares within x, within y, and twice across
    expected = math.exp(-4 / (2 * variance)) + 1 - 2 * math.exp(-1 / (2 * variance))
    assert float(mmd.mmd2_gaussian(x, y)) == pytest.approx(expected, rel=IDENTITY)


def test_histogram_specification_by_hand() -> None:
    values = torch.tensor([[3.0, 0.0, 0.0, 5.0]])
    quantiles = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    expected = torch.tensor([[4.0, 1.5, 1.5, 8.0]])
    assert torch.equal(mmd.histogram_specification(values, quantiles), expected)
