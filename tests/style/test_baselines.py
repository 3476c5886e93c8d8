"""What the baselines need beside the proposed method."""

import math

import pytest
import torch
from tolerances import TOLERANCES
from torch import nn
from torch.nn import functional

from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from busaug.style.baselines import elements_balance, layer_weights, luma, mixed
from busaug.style.stem import GrayStem


def test_layer_weights_have_mean_one_and_the_ratios_of_the_positions() -> None:
    features = {"a": torch.zeros(2, 3, 8, 8), "b": torch.zeros(2, 5, 4, 2), "c": torch.zeros(1)}
    assert layer_weights(features, ("a", "b"), "equal").tolist() == [[1.0], [1.0]]
    weights = layer_weights(features, ("a", "b"), "positions")
    assert weights.mean() == pytest.approx(1.0)
    assert weights[0] / weights[1] == pytest.approx(64 / 8)


def test_elements_balance_turns_half_a_sum_into_a_mean() -> None:
    f, c = torch.rand(2, 1, 4, 3, 5).double()
    half = 0.5 * (f - c).square().sum()
    assert float(half / elements_balance(f)) == pytest.approx(float(functional.mse_loss(f, c)))


def test_a_mixture_is_a_convolution_of_its_own_for_each_image() -> None:
    x = torch.rand(2, 64, 3, 2)

    def draw(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    both = mixed(x, [draw(1), draw(2)])
    assert torch.equal(both[1:], mixed(x[1:], [draw(2)]))
    assert not torch.equal(mixed(x[:1], [draw(2)]), both[:1])
    kernel = mixed(torch.eye(64).view(1, 64, 8, 8), [draw(1)]).view(64, 64)
    torch.testing.assert_close(
        both[:1], functional.conv2d(x[:1], kernel[:, :, None, None]), rtol=1e-4, atol=1e-5
    )
    limit = math.sqrt(6 / 128)
    assert 0.99 * limit < float(kernel.abs().max()) <= limit
    # A uniform variable's variance is limit^2 / 3; 4096 draws know it to some per cent.
    assert float(kernel.var()) == pytest.approx(limit**2 / 3, rel=0.1)


def test_colour_enters_the_network_normalised_and_gray_as_three_equal_channels() -> None:
    conv = nn.Conv2d(3, 8, 7, stride=2, padding=3).requires_grad_(False)
    stem = GrayStem(conv)
    colour = torch.rand(2, 3, 33, 40)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    close = {"rtol": 0.0, "atol": TOLERANCES["gray stem, absolute"]}
    torch.testing.assert_close(stem(colour), conv((colour - mean) / std), **close)
    gray = colour[:, :1]
    torch.testing.assert_close(stem(gray.expand(-1, 3, -1, -1)), stem(gray), **close)


def test_luma_keeps_gray_and_weighs_colour() -> None:
    gray = torch.rand(2, 1, 4, 4)
    assert torch.equal(luma(gray), gray)
    torch.testing.assert_close(luma(gray.expand(-1, 3, -1, -1)), gray)
    primaries = torch.eye(3).view(3, 3, 1, 1)
    assert luma(primaries).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])
