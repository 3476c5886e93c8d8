"""Layers, maps and rules that the tests of relevance propagation share."""

from __future__ import annotations

import torch
from tolerances import TOLERANCES

from busaug.ops.lrp_layers import AlphaBetaRule
from busaug.ops.lrp_steps import FACTORS

DTYPES = [torch.float32, torch.float64]
FORMATS = [torch.contiguous_format, torch.channels_last]
# (B, N, h, w): one element, odd, prime, a vector less one, one, and one more, several rows.
MAPS = [(1, 1, 1, 1), (2, 3, 5, 7), (1, 15, 1, 3), (3, 16, 2, 2), (1, 17, 4, 4), (2, 64, 9, 11)]
# kernel, stride, padding, dilation
CONVOLUTIONS = [
    (3, 1, 1, 1),
    (3, 2, 1, 1),
    (1, 1, 0, 1),
    (1, 2, 0, 1),
    (1, 1, 1, 1),
    (7, 2, 3, 1),
    (3, 1, 2, 2),
    (3, 3, 0, 2),
    (2, 1, 1, 1),
    (3, 1, 3, 1),
]
A2B1, A1B0 = AlphaBetaRule(2, 1), AlphaBetaRule(1, 0)


def close(found, expected, name):
    assert found.shape == expected.shape
    error = float((found.double() - expected.double()).abs().max())
    assert error <= TOLERANCES[name] * float(expected.abs().max())


def within(found, expected):
    close(found, expected, f"lrp op, {str(found.dtype)[6:]} of max|R|")


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def unit_maps(shape, dtype, memory_format=torch.contiguous_format):
    """z+, linear part and factor of units of every kind: both parts, one, none, within rounding."""
    positive = draw(*shape, dtype=dtype, seed=1).clamp_min(0)
    linear = positive - draw(*shape, dtype=dtype, seed=2).clamp_min(0)
    linear = torch.where(draw(*shape, seed=3) > 1, positive * (1 - 5e-4), linear)
    maps = (positive, linear, draw(*shape, dtype=dtype, seed=4))
    return [each.contiguous(memory_format=memory_format) for each in maps]


def options(kind="relevance", **changes):
    values = {
        "alpha": 2.0,
        "beta": 1.0,
        "rounding": 1e-3,
        "zero_part": True,
        "absorb_bias": False,
        "factor_kind": FACTORS.index(kind),
        "parts": 2,
    }
    return {**values, **changes}
