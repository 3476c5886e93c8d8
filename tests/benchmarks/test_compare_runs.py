"""The gate between two builds: its rule, on made-up times."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "compare_runs.py"


@pytest.fixture(scope="module")
def gate():
    spec = importlib.util.spec_from_file_location("compare_runs", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare_runs"] = module
    spec.loader.exec_module(module)
    return module


def test_noise_is_forgiven(gate):
    """Head's fastest 1.1 lies below base's slowest 1.3: whatever the medians say, no verdict."""
    (verdict,) = gate.judge([{"a": 1.0}, {"a": 1.3}], [{"a": 1.7}, {"a": 1.1}])
    assert not verdict.slowed(0.25)
    assert verdict.ratio == pytest.approx(1.1)


@pytest.mark.parametrize(("head", "slowed"), [(1.24, False), (1.26, True)])
def test_margin_is_over_the_slowest_base_run(gate, head, slowed):
    (verdict,) = gate.judge([{"a": 0.8}, {"a": 1.0}], [{"a": head}, {"a": 9.0}])
    assert verdict.slowed(0.25) is slowed


def test_benchmarks_of_one_build_only_are_left_out(gate):
    verdicts = gate.judge([{"a": 1.0, "gone": 1.0}], [{"new": 1.0, "a": 2.0}])
    assert [verdict.name for verdict in verdicts] == ["a"]
    assert "1 of 1 slowed" in gate.report(verdicts, 0.25)


def test_turns_alternate_who_is_first(gate):
    assert gate.turns(3) == ["base", "head", "head", "base", "base", "head"]
