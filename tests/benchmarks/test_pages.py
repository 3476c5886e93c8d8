"""Pages that benchmarks write are what they make of the committed results."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

Benchmark = Callable[[str], ModuleType]


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


def results(name: str) -> dict[str, Any]:
    return dict(json.loads((DOCS / name).read_text(encoding="utf-8")))


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_choice_of_optimiser(benchmark_module: Benchmark) -> None:
    render = benchmark_module("optimisers").render
    assert render(results("optimiser.json")) == page("optimiser.md")


@pytest.mark.parametrize("name", ["loss-curves", "loss-curves-single"])
def test_loss_curves(benchmark_module: Benchmark, name: str) -> None:
    render = benchmark_module("loss_curves").render
    assert render(results(f"{name}.json"), DOCS / f"{name}.svg") == page(f"{name}.md")
    assert (DOCS / f"{name}.svg").is_file()


def test_precision(benchmark_module: Benchmark) -> None:
    others = sorted(file.name for file in DOCS.glob("precision-*.json"))
    found = [results(name) for name in ("precision.json", *others)]
    assert benchmark_module("precision").render(found) == page("precision.md")


def test_resolution(benchmark_module: Benchmark) -> None:
    render = benchmark_module("resolution").render
    assert render(results("resolution.json")) == page("resolution.md")


def test_the_bars_of_the_engine(benchmark_module: Benchmark) -> None:
    text = page("engine.md")
    assert benchmark_module("bars").updated(text, DOCS) == text


def test_bars_that_are_missed_are_told(benchmark_module: Benchmark) -> None:
    """Of two pairs one reaches the mark after three evaluations, the other never or after nine."""
    bars = benchmark_module("bars")
    arms = {
        "plain Adam 0.005": {"evaluations": 1000, "ends": [0.25, 0.5]},
        "default": {"evaluations": 4, "ends": [0.2, 0.6], "reached": [3, None]},
        "default, 300 evaluations": {"evaluations": 300, "ends": [0.2, 0.5], "reached": [3, 697]},
    }
    found = {"arms": arms, "seconds": {"engine": 0.5, "plain loop": 1.0}}
    assert bars._soon(found) == (
        "**350**; after 4 at 1.000 of it (quartiles 0.900, 1.100), 1 of 2 pairs there"
    )
    assert bars._sooner(found) == "**5.7**"
    arms["default"]["reached"] = [3, 4]
    assert bars._soon(found).startswith("4; after 4")
    arms["default"]["reached"] = arms["default, 300 evaluations"]["reached"] = [3, None]
    assert bars._soon(found).startswith("**not reached**; ")
    assert bars._sooner(found) == "**not reached**"


def test_ratios_are_taken_from_a_file_of_the_benchmarks(benchmark_module: Benchmark) -> None:
    name = "test_step[single-one thread]"
    row = {"name": name, "extra_info": {"times_faster_than_reference": 0.8}}
    found = benchmark_module("bars").speed(
        {
            "machine_info": {"cpu": {"brand_raw": "A CPU"}},
            "datetime": "2026-01-02T03:04:05+00:00",
            "benchmarks": [row],
        }
    )
    assert found == {"processor": "A CPU", "date": "2026-01-02", "times_faster": {name: 0.8}}
