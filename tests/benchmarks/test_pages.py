"""Pages that benchmarks write are what they make of the committed results."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Sequence
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


@pytest.mark.parametrize("name", ["loss-curves", "loss-curves-mixed"])
def test_loss_curves(benchmark_module: Benchmark, name: str) -> None:
    render = benchmark_module("loss_curves").render
    assert render(results(f"{name}.json"), DOCS / f"{name}.svg") == page(f"{name}.md")
    assert (DOCS / f"{name}.svg").is_file()


def test_precision(benchmark_module: Benchmark) -> None:
    others = sorted(file.name for file in DOCS.glob("precision-*.json"))
    found = [results(name) for name in ("precision.json", *others)]
    module = benchmark_module("precision")
    curves = {precision: results(file) for precision, file in module.CURVE_FILES.items()}
    assert module.render(found, curves) == page("precision.md")


def test_the_same_loss_is_looked_for_between_the_evaluations_that_are_kept(
    benchmark_module: Benchmark,
) -> None:
    """One falls by a hundredth an evaluation, the other by two."""

    def falling(slope: float) -> dict[str, Any]:
        at = [1, 100, 300]
        return {"arms": {"default": {"at": at, "quartiles": [[], [9 - slope * x for x in at], []]}}}

    curves = {"mixed": falling(0.01), "single": falling(0.02)}
    table = benchmark_module("precision")._as_far(curves)
    assert table[2:4] == ["| 60 | 8.4000 | 30 | 0.50 |", "| 100 | 8.0000 | 50 | 0.50 |"]


def test_rounding(benchmark_module: Benchmark) -> None:
    render = benchmark_module("rounding").render
    assert render(results("rounding.json")) == page("rounding.md")


def test_resolution(benchmark_module: Benchmark) -> None:
    render = benchmark_module("resolution").render
    assert render(results("resolution.json")) == page("resolution.md")


@pytest.mark.parametrize("name", ["engine", "kernel"])
def test_bars(benchmark_module: Benchmark, name: str) -> None:
    text = page({"engine": "engine.md", "kernel": "kernels.md"}[name])
    assert benchmark_module(f"{name}_bars").updated(text, DOCS) == text


def test_overlays(benchmark_module: Benchmark) -> None:
    text = page("overlays.md")
    assert benchmark_module("overlays").updated(text, results("overlays.json")) == text


def test_bars_that_are_missed_are_told(benchmark_module: Benchmark) -> None:
    """Of two pairs one reaches the mark after three evaluations, the other never or after nine."""
    bars = benchmark_module("engine_bars")
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


@pytest.mark.parametrize(
    ("change", "kept"),
    [({}, True), ({"balance": 2.00001}, True), ({"balance": 2.01}, False), ({"pairs": 7}, False)],
)
def test_plain_arms_are_kept_where_the_objectives_are_the_same(
    benchmark_module: Benchmark, tmp_path: Path, change: dict[str, Any], kept: bool
) -> None:
    curves = benchmark_module("loss_curves")
    measured = {"size": 96, "precision": "single", "pairs": 8, "weights": {}, "balance": 2.0}
    arms = {
        "plain Adam 0.005": {"evaluations": 1000},
        "plain Adam 0.01": {"evaluations": 500},
        "default": {"evaluations": 250},
    }
    (tmp_path / "curves.json").write_text(json.dumps({**measured, "arms": arms}))
    arguments = argparse.Namespace(out=tmp_path / "curves", plain=1000)
    found = curves.plain_arms(arguments, {**measured, **change})
    plain = {"plain Adam 0.005": {"evaluations": 1000}}
    assert found == ({"balance": 2.0, "arms": plain} if kept else {})


def run_file(path: Path, ratio: float, names: Sequence[str] = ("test_step[single]",)) -> Path:
    """As pytest-benchmark writes it."""
    path.write_text(
        json.dumps(
            {
                "machine_info": {"cpu": {"brand_raw": "A CPU"}},
                "datetime": "2026-01-02T03:04:05+00:00",
                "benchmarks": [
                    {"name": name, "stats": {}, "extra_info": {"times_faster": ratio}}
                    for name in names
                ],
            }
        ),
        encoding="utf-8",
    )
    return path


def test_figures_are_taken_from_runs_of_the_benchmarks(
    benchmark_module: Benchmark, tmp_path: Path
) -> None:
    files = [run_file(tmp_path / f"{ratio}.json", ratio) for ratio in (0.8, 0.9)]
    assert benchmark_module("bars").kept(files) == {
        "processor": "A CPU",
        "date": "2026-01-02",
        "tests": {"test_step[single]": {"times_faster": [0.8, 0.9]}},
    }


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["avx2", "avx512f", "avx512_bf16", "amx_bf16"], "A CPU (AMX)"),
        (["avx2", "avx512f"], "A CPU (AVX-512)"),
        (["avx", "avx2"], "A CPU (AVX2)"),
        (["sse2"], "A CPU"),
    ],
)
def test_processors_are_told_apart(
    benchmark_module: Benchmark, flags: list[str], named: str
) -> None:
    assert benchmark_module("bars")._processor({"brand_raw": "A CPU", "flags": flags}) == named


def test_another_processor_may_have_single_precision_alone(benchmark_module: Benchmark) -> None:
    """Half as fast as the bare pass with losses and optimiser, twice as fast as the plain loop."""

    def measured(precisions: Sequence[str]) -> dict[str, Any]:
        ratios = {"test_step": [0.5], "test_against_a_plain_loop": [2.0]}
        return {
            "processor": "A CPU",
            "tests": {
                f"{test}[{precision}-{threads}]": {"times_faster_than_reference": ratio}
                for test, ratio in ratios.items()
                for precision in precisions
                for threads in ("one thread", "two threads")
            },
        }

    rows = benchmark_module("engine_bars")._speed_rows
    step, loop = rows(measured(["mixed", "single"]), [measured(["single"])])
    assert step[2] == (
        "single **2.00**, **2.00**; mixed **2.00**, **2.00**; A CPU: single **2.00**, **2.00**"
    )
    assert loop[2] == "single 2.00, 2.00; mixed 2.00, 2.00; A CPU: single 2.00, 2.00"


def test_runs_of_different_tests_are_not_mixed(benchmark_module: Benchmark, tmp_path: Path) -> None:
    files = [run_file(tmp_path / "a.json", 0.8), run_file(tmp_path / "b.json", 0.8, ["test_other"])]
    with pytest.raises(SystemExit, match="different tests"):
        benchmark_module("bars").kept(files)


def test_medians_over_the_runs_are_set_beside_their_bars(benchmark_module: Benchmark) -> None:
    runs = benchmark_module("bars").over_runs
    assert runs([36.0, 34.0, 30.0], lambda x: x >= 35, ".0f") == "**34** (30 to 36)"
    assert runs([36.0, 35.9], lambda x: x >= 35, ".0f") == "36"
    assert runs([1.5], lambda x: x <= 1.6) == "1.50"
