"""Feature maps, and what the style loss makes of them by its definition."""

from __future__ import annotations

import torch
from tolerances import TOLERANCES

import busaug
from busaug.ops.mmd import (
    BLOCK,
    TILE,
    gram,
    gram_energy,
    style_loss_gram_op,
    style_loss_kernel_op,
)
from busaug.ops.style_target import FeatureTarget, GramTarget
from busaug.reference import mmd as reference

IDENTITY = TOLERANCES["mmd identities, float64"]
DTYPES = [torch.float32, torch.float64]
FORMS = ["gram", "kernel of matrix", "kernel of features", "chosen", "chosen for matrix"]
LAYOUTS = ["positions", "channels"]  # whichever lies innermost
SHAPES = [  # batch, channels, positions, target positions
    (1, 1, 1, 1),
    (3, 7, 5, 11),
    (2, 17, 1, 3),
    (2, 1, 31, 2),
    (2, 63, 40, 20),
    (1, 64, 64, 64),
    (2, 65, 13, 13),
    (1, BLOCK - 1, 9, 9),
    (2, BLOCK, 9, 4),
    (1, BLOCK + 1, 9, 9),
    (1, 2 * BLOCK + 64, 7, 7),
    (1, 2 * BLOCK + 65, 3, 3),
    (2, 3, TILE - 1, 5),
    (1, 3, TILE, 5),
    (1, 5, TILE + 1, TILE + 3),
    (1, 2, 2 * TILE + 1, 2),
    (0, 4, 6, 8),
]


def maps(*shape, dtype=torch.float64, seed=0):
    """Feature maps as after a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64) + 0.3
    return values.clamp_min(0).to(dtype)


def laid_out(values, layout):
    return values.mT.contiguous().mT if layout == "channels" else values.contiguous()


def loss_by(form, features, target):
    """The loss against target features, by a form of the ops or as the public function chooses."""
    matrix = gram(target)
    if form == "gram":
        return style_loss_gram_op(features, matrix)[0]
    if form == "kernel of matrix":
        energy = matrix.double().square().sum((1, 2))
        return style_loss_kernel_op(features, matrix, None, energy, True)[0]
    if form == "kernel of features":
        return style_loss_kernel_op(features, None, target, gram_energy(target), True)[0]
    if form == "chosen":
        return busaug.style_loss(features, FeatureTarget(target))
    return busaug.style_loss(features, GramTarget(matrix))


def exact(features, target, weights, offset=0.0):
    """Loss (B,), gradient of its weighted sum, and the loss's scale, from the double sums."""
    f = features.detach().double().requires_grad_()
    s = target.double()
    losses = [reference.style_loss_kernel(a, b, offset) for a, b in zip(f, s, strict=True)]
    value = torch.stack(losses) if losses else f.sum((1, 2))
    (gradient,) = torch.autograd.grad((weights.double() * value).sum(), f)
    scale = reference.gram(f).square().sum((1, 2)) + reference.gram(s).square().sum((1, 2))
    return value.detach(), gradient, scale.detach() / (4 * features.shape[1] ** 2)


def assert_exact(value, gradient, expected):
    loss, grad, scale = expected
    tolerance = TOLERANCES[f"style loss, {str(value.dtype)[6:]}"]
    assert ((value.double() - loss).abs() <= tolerance * scale).all()
    assert (gradient.double() - grad).norm() <= tolerance * grad.norm()
