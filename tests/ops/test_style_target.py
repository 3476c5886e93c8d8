"""Which form the style loss takes, what that costs, and the targets made ready for it."""

from __future__ import annotations

import pytest
import torch
from ops.style_cases import assert_exact, exact, maps
from torch.utils._python_dispatch import TorchDispatchMode

import busaug
from busaug.errors import InputError
from busaug.ops import mmd
from busaug.ops.mmd import BLOCK, TILE, gram, gram_energy
from busaug.ops.style_target import (
    FeatureTarget,
    GramTarget,
    concatenate_targets,
    gram_operations,
    kernel_operations,
    lighter_target,
)


class Products(TorchDispatchMode):
    """Counts multiply-adds of batched products and the largest tensor made; names ops of ours."""

    def __init__(self):
        super().__init__()
        self.operations, self.largest, self.ops = 0, 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.name().split(".")[0]
        if name in ("aten::bmm", "aten::baddbmm_"):
            a = args[0] if name == "aten::bmm" else args[1]
            self.operations += a.numel() * result.shape[2]
        if name.startswith("busaug::"):
            self.ops.append(name.removeprefix("busaug::"))
        if name in ("aten::empty", "aten::new_empty", "aten::zeros_like", "aten::empty_like"):
            self.largest = max(self.largest, result.numel())
        return result


@pytest.mark.parametrize("channels", [16, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_operation_counts_are_those_of_the_products_made(channels):
    features, target = maps(1, channels, 20), maps(1, channels, 30, seed=1)
    matrix = gram(target)
    with Products() as made:
        _, difference = mmd._gram_forward(features, matrix)
        mmd._gram_backward(torch.ones(1, dtype=torch.float64), features, difference)
    assert made.operations == gram_operations(channels, 20)
    energy = torch.zeros(1, dtype=torch.float64)
    for against, count in (((matrix, None), None), ((None, target), 30)):
        with Products() as made:
            mmd._kernel_forward(features, *against, energy, True)
        assert made.operations == kernel_operations(channels, 20, count)


def test_symmetry_halves_the_gram_product():
    assert gram_operations(64, 100) == 2 * 64**2 * 100  # one block: nothing to save
    many = gram_operations(1024, 100) - 1024**2 * 100
    assert many == 1024**2 * 100 * (1 + BLOCK / 1024) / 2


@pytest.mark.parametrize(
    ("positions", "count", "form"),
    [
        (60, 60, "gram"),
        (6, 6, "kernel"),
        (6, 30, "kernel"),
        (6, 90, "gram"),
        (60, None, "gram"),
        (6, None, "kernel"),
    ],
)
def test_the_cheaper_form_is_taken(positions, count, form):
    target = GramTarget(gram(maps(1, 40, 9))) if count is None else maps(1, 40, count)
    with Products() as made:
        busaug.style_loss(maps(1, 40, positions), target)
    assert made.ops == [f"style_loss_{form}"]


def test_the_deepest_layer_of_a_resnet_takes_the_kernel_form():
    """Layers relu, layer1, layer2, layer3 of ResNet-50 at 224 x 224."""
    layers = [(64, 12544), (256, 3136), (512, 784), (1024, 196)]
    by_kernel = [kernel_operations(n, m, m) < gram_operations(n, m) for n, m in layers]
    assert by_kernel == [False, False, False, True]


@pytest.mark.parametrize("differentiate", [True, False])
def test_kernel_form_stores_no_matrix_of_positions_or_channels(differentiate):
    wide, deep = maps(1, 4, 8 * TILE), maps(1, 600, 20)
    energy = torch.zeros(1, dtype=torch.float64)
    for features in (wide, deep):
        _, channels, positions = features.shape
        with Products() as made:
            mmd._kernel_forward(features, None, features, energy, differentiate)
        bound = max(TILE * positions, channels * positions)
        assert made.largest <= bound < max(channels, positions) ** 2


@pytest.mark.parametrize(
    ("channels", "positions", "count"), [(40, 4, 12), (6, 20, 20), (40, 6, 90)]
)
def test_the_lighter_target_is_the_same_target(channels, positions, count):
    f = maps(2, channels, positions).requires_grad_()
    s = maps(2, channels, count, seed=1)
    light = lighter_target(s, positions)
    assert isinstance(light, FeatureTarget if count == 12 else GramTarget)
    for offset in (0.0, 0.5):
        expected = exact(f, s, torch.ones(2), offset)
        value = busaug.style_loss(f, light, offset=offset)
        (gradient,) = torch.autograd.grad(value.sum(), f)
        assert_exact(value, gradient, expected)


def test_targets_joined_along_the_batch():
    f, s = maps(3, 8, 5), maps(3, 8, 4, seed=1)
    expected = busaug.style_loss(f, s, offset=1.0)
    for make in (
        FeatureTarget,
        lambda x: FeatureTarget(x, gram_energy(x)),
        lambda x: GramTarget(gram(x), x.mean(2)),
    ):
        joined = concatenate_targets([make(s[:1]), make(s[1:])])
        torch.testing.assert_close(busaug.style_loss(f, joined, offset=1.0), expected)
    with pytest.raises(ValueError, match="one batch"):
        concatenate_targets([FeatureTarget(s), GramTarget(gram(s))])


S = maps(2, 6, 5)
T = gram(S)


@pytest.mark.parametrize(
    ("matrix", "mean", "says"),
    [
        (T[0], None, r"matrix has the shape \(6, 6\)"),
        (S, None, r"matrix has the shape \(2, 6, 5\)"),
        (T.numpy(), None, "matrix is of the type ndarray"),
        (T.half(), None, "matrix has the dtype float16"),
        (T[:, :0, :0], None, r"matrix has the shape \(2, 0, 0\)"),
        (maps(2, 6, 6), None, "not symmetric"),
        (torch.full((1, 3, 3), torch.nan), None, "not finite"),
        (torch.full((1, 3, 3), torch.inf), None, "not finite"),
        (T, S.mean(2)[0], r"mean has the shape \(6,\)"),
    ],
)
def test_a_matrix_that_is_no_target_is_refused(matrix, mean, says):
    with pytest.raises(InputError, match=says):
        GramTarget(matrix, mean)
