"""Layers of training against torch's own, alone; over ranks see tests/distributed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tolerances import TOLERANCES
from torch import nn

from busaug.classify.layers import GlobalBatchNorm, KeyedDropout, adapt
from busaug.distributed.communicator import Single

TOLERANCE = TOLERANCES["global batchnorm, float64"]


def close(a: torch.Tensor | None, b: torch.Tensor | None) -> None:
    torch.testing.assert_close(a, b, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("momentum", [0.1, 0.5, None])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm1d(3), (5, 3)),
        (nn.BatchNorm2d(3), (2, 3, 4, 5)),
        (nn.BatchNorm2d(1), (2, 1, 1, 1)),
    ],
)
def test_alone_it_is_torchs_batchnorm(
    layer: nn.BatchNorm1d | nn.BatchNorm2d, shape: tuple[int, ...], momentum: float | None
) -> None:
    """Outputs, gradients and running statistics of two steps, far from mean zero."""
    theirs = copy.deepcopy(layer).double()
    theirs.momentum = momentum
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    ours = GlobalBatchNorm(copy.deepcopy(theirs), Single())
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for _ in range(2):
        x = torch.randn(shape, dtype=torch.float64) * 3 + 100
        grad_y = torch.randn(shape, dtype=torch.float64)
        results = []
        for module in (theirs, ours):
            given = x.clone().requires_grad_()
            y = module(given)
            y.backward(grad_y)
            results.append((y, given.grad))
        for left, right in zip(*results, strict=True):
            close(left, right)
        close(ours.weight.grad, theirs.weight.grad)
        close(ours.bias.grad, theirs.bias.grad)
    for name, tensor in theirs.state_dict().items():
        close(ours.state_dict()[name], tensor)
    close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.gradcheck
def test_batchnorm_gradient_is_that_of_finite_differences() -> None:
    layer = GlobalBatchNorm(nn.BatchNorm2d(2).double(), Single())
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


def test_low_precision_inputs_are_normalised_in_float32() -> None:
    layer = GlobalBatchNorm(nn.BatchNorm1d(2), Single())
    x = torch.randn(64, 2) + 50
    y = layer(x.bfloat16())
    assert y.dtype == torch.bfloat16
    expected = nn.BatchNorm1d(2)(x.bfloat16().float())
    torch.testing.assert_close(y, expected.bfloat16())


def test_one_value_a_channel_has_no_variance() -> None:
    with pytest.raises(ValueError, match="one value a channel"):
        GlobalBatchNorm(nn.BatchNorm1d(2), Single())(torch.ones(1, 2))


def dropped(name: str, keys: list[tuple[int, int, str]], p: float = 0.5) -> torch.Tensor:
    layer = KeyedDropout(p, name)
    layer.keys = keys
    return layer(torch.ones(len(keys), 4000))


def test_a_mask_belongs_to_image_epoch_and_layer() -> None:
    a, b = (0, 1, "a"), (0, 1, "b")
    both = dropped("fc.1", [a, b])
    assert torch.equal(dropped("fc.1", [b])[0], both[1])
    assert not torch.equal(both[0], both[1])
    for other in (
        dropped("fc.2", [a]),
        dropped("fc.1", [(0, 2, "a")]),
        dropped("fc.1", [(1, 1, "a")]),
    ):
        assert not torch.equal(other[0], both[0])


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_dropout_keeps_the_mean(p: float) -> None:
    """A share p is zero, the rest is raised by 1/(1 - p)."""
    y = dropped("fc.1", [(0, 0, str(i)) for i in range(50)], p)
    assert np.unique(y).tolist() == pytest.approx([0.0, 1 / (1 - p)])
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=0.005)  # 200,000 draws: 4 sigma
    layer = KeyedDropout(p, "fc.1").eval()
    assert torch.equal(layer(y), y)


def test_adapting_keeps_names_and_values() -> None:
    def model() -> nn.Module:
        head = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.3), nn.Linear(3, 2))
        return nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), head)

    alone = model()
    (dropout,) = adapt(alone, Single())
    assert dropout.p == 0.3
    assert type(alone[1]) is nn.BatchNorm2d  # one rank: torch's own is faster

    class OfTwo(Single):
        size = 2  # type: ignore[assignment]

    shared = model()
    parameters, state = list(shared.parameters()), shared.state_dict()
    adapt(shared, OfTwo())
    assert [type(layer) for layer in (shared[1], shared[3][0])] == [GlobalBatchNorm] * 2
    assert all(a is b for a, b in zip(shared.parameters(), parameters, strict=True))
    assert list(shared.state_dict()) == list(state)
    assert adapt(shared, OfTwo()) == [shared[3][1]]  # once more changes nothing
