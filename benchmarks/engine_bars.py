"""The engine's bars and what was measured of each: the table of docs/engine.md.

    pytest benchmarks/test_{engine,convolution}.py --benchmark-enable --benchmark-json FILE
    python benchmarks/engine_bars.py [--speed FILE... [--beside PROCESSOR]]

With --speed the ratios of these files, one for each run, are kept in docs/engine.json first, with
--beside in docs/engine-PROCESSOR.json, whose figures stand in the table beside the others. All
other figures are from the results of ``loss_curves.py``, ``resolution.py`` and ``busaug experiment
quality`` in docs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

import bars
from bars import Results, Row, bold, over_runs
from loss_curves import CURVE_FILES, mark

# The accepted share, what may be left of the style distance, and the SSIM that is wanted.
_ACCEPTED, _LEFT, _SSIM = 0.95, 0.30, (0.5, 0.95)
_STEP, _LOOP, _EVALUATIONS, _SOONER, _MEMORY_GIB = 1.25, 1.8, 250, 6.0, 16.0

_THREADS = ("one thread", "two threads")


def updated(document: str, docs: Path) -> str:
    """The document with the table made anew from the results in ``docs``."""

    def read(name: str) -> Results:
        return dict(json.loads((docs / name).read_text(encoding="utf-8")))

    others = sorted(file.name for file in docs.glob("engine-*.json"))
    measured = read("engine.json")
    rows = [
        *_speed_rows(measured, [read(name) for name in others]),
        *_curve_rows({p: read(f) for p, f in CURVE_FILES.items()}),
        *_run_rows(read("results/augmented.json")["transfer"][0]),
        _memory_row(read("resolution.json")["large"]),
        ("image-evaluations a second on a device", "25 % of its floor", "not tried"),
    ]
    document = bars.updated(document, bars.table(rows))
    document = bars.updated(document, _sitting(read("sitting.json")), "sitting")
    return bars.updated(document, _convolutions(measured["tests"]), "convolutions")


def _sitting(sitting: Results) -> list[str]:
    """What ``engine_sitting.py`` did, in its order."""
    rows = [(step["what"], f"{step['minutes']:g}") for step in sitting["steps"]]
    between = f"from {sitting['begin']} to {sitting['end']}"
    return bars.markdown((between, "minutes"), rows)


def _convolutions(tests: Results) -> list[str]:
    """How the package's own compare with torch's."""
    rows = []
    for kind in ("3x3", "1x1"):
        found = [
            tests[f"test_convolution_and_gradient[{each}-{kind}]"]["times_faster_than_reference"]
            for each in _THREADS
        ]
        rows.append((f"{kind}, times as fast", ", ".join(map(bars.over_runs, found))))
    errors = tests["test_features_are_as_near_to_those_in_float64_as_torchs"]
    ours, theirs = (median(errors[name]) for name in ("error", "error_of_torch"))
    rows.append(("layer3's features from those in float64", f"{ours:.1e}, torch's {theirs:.1e}"))
    return bars.markdown(("", "one thread, two threads"), rows)


def _speed_rows(measured: Results, others: Sequence[Results]) -> list[Row]:
    return [
        (
            "a step (evaluation and optimiser) in times of the bare forward pass and input "
            "gradient of the same network in float32 by torch; 160², batch 8; one thread, two "
            "threads",
            f"≤ {_STEP}",
            "; ".join([_steps(measured), *(f"{x['processor']}: {_steps(x)}" for x in others)]),
        ),
        (
            "image-evaluations a second, in times of a plain loop over images on the same network "
            "and losses in float32; the same",
            f"≥ {_LOOP}",
            "; ".join([_loops(measured), *(f"{x['processor']}: {_loops(x)}" for x in others)]),
        ),
    ]


def _steps(measured: Results) -> str:
    found = _faster(measured, "test_step")
    return _by_precision(
        {p: [[1 / x for x in runs] for runs in each] for p, each in found.items()},
        lambda x: x <= _STEP,
    )


def _loops(measured: Results) -> str:
    found = _faster(measured, "test_against_a_plain_loop")
    return _by_precision(found, lambda x: x >= _LOOP)


def _faster(measured: Results, test: str) -> dict[str, list[list[float]]]:
    """Times as fast as the reference, by precision, of one thread and of two, a value a run."""
    tests = measured["tests"]
    names = {p: [f"{test}[{p}-{each}]" for each in _THREADS] for p in CURVE_FILES}
    return {
        p: [tests[name]["times_faster_than_reference"] for name in each]
        for p, each in names.items()
        if each[0] in tests
    }


def _by_precision(values: Mapping[str, list[list[float]]], met: Callable[[float], bool]) -> str:
    shown = {p: ", ".join(over_runs(x, met) for x in each) for p, each in values.items()}
    return "; ".join(f"{p} {text}" for p, text in shown.items())


def _curve_rows(curves: Mapping[str, Results]) -> list[Row]:
    some = next(iter(curves.values()))
    return [
        (
            "evaluations to the loss that plain Adam has after 1000, its best step; median of "
            f"{some['pairs']} pairs at {some['size']}²",
            f"≤ {_EVALUATIONS}",
            ". ".join(f"{p.capitalize()}: {_soon(found)}" for p, found in curves.items()),
        ),
        (
            "... in wall time",
            f"{_SOONER:g} times sooner",
            "; ".join(f"{p} {_sooner(found)}" for p, found in curves.items()),
        ),
    ]


def _run_rows(whole: Results) -> list[Row]:
    share = whole["accepted"] / whole["planned"]
    left, ssim = whole["style_left"]["median"], whole["ssim"]["median"]
    low, high = _SSIM
    return [
        (
            f"accepted, default configuration, {whole['planned']} contents",
            f"≥ {_ACCEPTED:.0%}",
            bold(f"{share:.1%}", share >= _ACCEPTED),
        ),
        (
            "style distance left, SSIM, medians of these",
            f"≤ {_LEFT}, {low} to {high}",
            f"{bold(f'{left:.3f}', left <= _LEFT)}, {bold(f'{ssim:.3f}', low <= ssim <= high)}",
        ),
    ]


def _memory_row(large: Results) -> Row:
    return (
        f"peak memory, one image of {large['size']}²",
        f"≤ {_MEMORY_GIB:g} GiB",
        bold(f"{large['peak_gib']:.1f} GiB", large["peak_gib"] <= _MEMORY_GIB),
    )


_LONGER = "default, 300 evaluations"


def _soon(results: Results) -> str:
    """After how many evaluations the mark is reached, and how far off the default ends."""
    _, goals = mark(dict(results))
    arm = results["arms"]["default"]
    left = [end / goal for end, goal in zip(arm["ends"], goals, strict=True)]
    low, _, high = quantiles(left, n=4, method="inclusive")
    by = sum(count is not None for count in arm["reached"])
    reached = _reached(results)
    when = "not reached" if reached is None else f"{reached:.0f}"
    return (
        f"{bold(when, reached is not None and reached <= _EVALUATIONS)}; after "
        f"{arm['evaluations']} at {median(left):.3f} of it (quartiles {low:.3f}, {high:.3f}), "
        f"{by} of {len(left)} pairs there"
    )


def _sooner(results: Results) -> str:
    reached = _reached(results)
    if reached is None:
        return bold("not reached", False)
    cost = results["seconds"]
    plain = results["arms"][mark(dict(results))[0]]["evaluations"]
    times = plain * cost["plain loop"] / (reached * cost["engine"])
    return bold(f"{times:.1f}", times >= _SOONER)


def _reached(results: Results) -> float | None:
    """The median over pairs, of the longer run where the default's evaluations do not do."""
    for name in ("default", _LONGER):
        counts = [float("inf") if c is None else c for c in results["arms"][name]["reached"]]
        if (middle := median(counts)) < float("inf"):
            return middle
    return None


if __name__ == "__main__":
    bars.command(__doc__, "engine", updated, others=True)
