"""Directions against the recursion of L-BFGS as textbooks write it, in float64."""

from __future__ import annotations

import pytest
import torch
from tolerances import TOLERANCES
from torch import Tensor

from busaug.config import StyleConfig
from busaug.style.curvature import Curvature, dot
from busaug.style.metric import Metric

SHAPE = (3, 1, 7, 5)
SLOTS = 4


def recursion(
    grad: Tensor, pairs: list[tuple[Tensor, Tensor]], scale: Tensor, metric: Metric, image: int
) -> Tensor:
    """Nocedal & Wright 2006, algorithm 7.4, of one image; pairs from the oldest on.

    ``scale`` times the metric is what it begins with.
    """
    q, weights = grad.clone(), []
    for step, change in reversed(pairs):
        weight = dot(step, q) / dot(step, change)
        weights.append(weight)
        q = q - weight * change
    r = metric(q) * scale
    for (step, change), weight in zip(pairs, reversed(weights), strict=True):
        r = r + step * (weight - dot(change, r) / dot(step, change))
    return -r[image]


def scale_of(pairs: list[tuple[Tensor, Tensor]], metric: Metric) -> Tensor:
    """1.5 times the weighted geometric mean over all pairs, three tenths of it the newest's."""
    logs = [(dot(step, change) / dot(change, metric(change))).log() for step, change in pairs]
    mean = logs[0]
    for newer in logs[1:]:
        mean = 0.7 * mean + 0.3 * newer
    return 1.5 * mean.exp()


@pytest.mark.parametrize("pushes", [1, 3, 4, 11])
def test_directions_are_those_of_the_recursion(pushes: int) -> None:
    """Each image has its own pairs: the second refuses every third step, the last has forgotten."""
    draw = torch.Generator().manual_seed(pushes)

    def noise() -> Tensor:
        return torch.randn(SHAPE, generator=draw, dtype=torch.float64)

    movable = torch.ones(SHAPE, dtype=torch.float64)
    metric = Metric(noise(), movable, StyleConfig())
    curvature = Curvature(SLOTS, movable)
    kept: list[list[tuple[Tensor, Tensor] | None]] = [[], []]
    for turn in range(pushes):
        step, keep = noise(), torch.ones(3, 1, 1, 1, dtype=torch.bool)
        change = step * torch.linspace(0.5, 3, 35).view(7, 5) + 0.1 * noise()
        assert (dot(step, change) > 0).all()
        keep[1] = turn % 3 != 1
        curvature.push(step, change, keep, metric)
        kept[0].append((step, change))
        kept[1].append((step, change) if keep[1] else None)
    curvature.forget(torch.tensor([False, False, True]).view(3, 1, 1, 1))
    grad = noise()
    found = curvature.direction(grad, metric)
    tolerance = TOLERANCES["L-BFGS directions, float64, relative"]
    for image, pairs in enumerate(kept):
        known = [pair for pair in pairs[-SLOTS:] if pair is not None]
        scale = scale_of([pair for pair in pairs if pair is not None], metric)
        expected = recursion(grad, known, scale, metric, image)
        torch.testing.assert_close(found[image], expected, rtol=tolerance, atol=tolerance)
    short = -metric(grad)[2]
    torch.testing.assert_close(found[2] / found[2].norm(), short / short.norm())
    assert float(found[2].square().mean().sqrt()) == pytest.approx(0.005)


def test_a_pair_without_positive_curvature_is_left_out() -> None:
    step = torch.randn(SHAPE, dtype=torch.float64)
    movable = torch.ones_like(step)
    metric, keep = Metric(step, movable, StyleConfig()), movable[:, :1, :1, :1] > 0
    one, other = Curvature(SLOTS, movable), Curvature(SLOTS, movable)
    for curvature in (one, other):
        curvature.push(step, 2 * step, keep, metric)
    other.push(step, -step, keep, metric)
    grad = torch.randn_like(step)
    torch.testing.assert_close(one.direction(grad, metric), other.direction(grad, metric))
