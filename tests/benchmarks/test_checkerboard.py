"""The measure of checkerboards in ``benchmarks/optimisers.py``."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest


def test_a_checkerboard_is_measured_in_gray_levels_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two levels in one block of a ramp; stripes and the ramp itself count for nothing."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    measure = importlib.import_module("optimisers").checkerboard
    rows, columns = np.indices((70, 64))
    ramp = rows / 100 + 0.1 * (-1.0) ** columns
    assert measure(ramp) == pytest.approx(0, abs=1e-9)
    board = np.where((rows < 32) & (columns >= 32), (-1.0) ** (rows + columns), 0.0)
    assert measure(ramp + board * 2 / 255) == pytest.approx(2)
