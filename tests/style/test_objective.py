"""The style loss op and the total loss against their float64 definitions."""

import pytest
import torch
from tolerances import TOLERANCES

from busaug.ops.style_loss import style_loss
from busaug.reference import mmd
from busaug.style.objective import content_loss


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (3, 8, 4), (1, 17, 31)])
def test_style_loss_and_gradient_match_float64(shape: tuple[int, int, int]) -> None:
    batch, n, m = shape
    f = torch.randn(batch, n, m, requires_grad=True)
    target = mmd.gram(torch.randn(batch, n, m + 2))
    weights = torch.rand(batch)
    value = style_loss(f, target)
    (gradient,) = torch.autograd.grad((weights * value).sum(), f)

    exact = mmd.style_loss_gram(f.detach().double(), target.double())
    scale = (mmd.gram(f.detach()).square() + target.square()).sum((1, 2)) / (4 * n**2)
    assert (
        (value.double() - exact).abs() <= TOLERANCES["style loss, float32 vs float64"] * scale
    ).all()
    closed = mmd.style_loss_gram_gradient(f.detach().double(), target.double())
    expected = weights.view(-1, 1, 1) * closed
    error = (gradient.double() - expected).norm() / expected.norm()
    assert error <= TOLERANCES["gradient direction, float32"]


@pytest.mark.gradcheck
def test_style_loss_passes_gradcheck() -> None:
    f = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    target = mmd.gram(torch.randn(2, 3, 5, dtype=torch.float64))
    assert torch.autograd.gradcheck(style_loss, (f, target))


def test_channels_last_features_give_the_same_loss() -> None:
    f = torch.randn(2, 6, 5, 4)
    target = mmd.gram(torch.randn(2, 6, 9))
    plain = style_loss(f.flatten(2), target)
    other = style_loss(f.to(memory_format=torch.channels_last).flatten(2), target)
    torch.testing.assert_close(plain, other)


def test_content_loss_by_hand() -> None:
    f = torch.zeros(1, 2, 1, 2)
    c = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    assert content_loss(f, c).item() == pytest.approx(0.5 * (1 + 4 + 9 + 16))
    r = torch.tensor([[[[2.0, 0.0]]]])
    assert content_loss(f, c, r).item() == pytest.approx(0.5 * 2 * (1 + 9))
