"""The kernels' own exponential and logarithm against extended precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from simd import supported_simd
from tolerances import TOLERANCES

from busaug.ops import _launch

LIMITS = {"float32": (-87.336, 88.72), "float64": (-708.396, 709.78)}
SMALLEST = {"float32": 38, "float64": 308}


def evaluate(function, values, simd="auto"):
    values = torch.from_numpy(values)
    output = torch.full_like(values, torch.nan)
    _launch.elementary_cpu(function, values, output, simd=simd)
    return output.numpy()


def arguments(function, dtype):
    """Over the whole range, where the kernels use it, and where the result nears 0 or 1."""
    rng = np.random.default_rng(0)
    tiny = 10.0 ** rng.uniform(-16, 0, 20_000)
    if function == "exp":
        low, high = LIMITS[dtype]
        parts = [rng.uniform(low, high, 100_000), rng.uniform(-2, 2, 50_000), tiny, -tiny]
    else:
        top = SMALLEST[dtype] - 1
        parts = [10.0 ** rng.uniform(-top, top, 100_000), rng.uniform(1, np.e, 50_000)]
        parts += [1 + tiny, 1 - tiny[tiny < 0.5]]
    return np.concatenate(parts).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", ["exp", "log"])
def test_error_in_units_of_the_last_place(function, dtype):
    values = arguments(function, dtype)
    exact = getattr(np, function)(values.astype(np.longdouble))
    last_place = np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    error = np.abs(evaluate(function, values).astype(np.longdouble) - exact) / last_place
    assert error.max() < TOLERANCES["elementary functions, last places"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", ["exp", "log"])
def test_instruction_sets_give_the_same_bits(function, dtype):
    values = arguments(function, dtype)[:-3]  # an odd rest behind the last whole vector
    expected = evaluate(function, values, "baseline")
    for simd in supported_simd():
        np.testing.assert_array_equal(evaluate(function, values, simd), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_values(dtype):
    low, _ = LIMITS[dtype]
    below = np.array([2 * low, -1e30, -np.inf], dtype)
    np.testing.assert_array_equal(evaluate("exp", below), 0)
    assert (evaluate("exp", np.array([low], dtype)) >= np.finfo(dtype).tiny).all()
    assert evaluate("exp", np.array([0, -0.0], dtype)).tolist() == [1, 1]
    assert evaluate("log", np.array([1], dtype)).tolist() == [0]
