"""Loss against evaluations on real pairs: how soon does each optimiser reach the plain Adam loop?

    python benchmarks/loss_curves.py CATALOG --weights FILE [--pairs 32] [--out docs/loss-curves]

The mark to reach is the loss of plain Adam (no band limit, constant step) after --plain
evaluations, with the best of its steps over all pairs: steps are doubled and halved until the best
has a worse one on either side. Plain Adam is run in batches, which gives the losses of a loop over
images (``test_engine.py`` shows it). All arms are of one precision (``style.precision``).

Writes OUT.json after every arm and OUT.png; with --render it only draws OUT.png from OUT.json.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import real_pairs
import torch
from matplotlib.figure import Figure
from plain_nst import PlainTransfer
from real_pairs import Results, configured, results_of, weights_row
from torch import Tensor

from busaug import console
from busaug.augment.calibration import calibrate
from busaug.augment.engine import Engine
from busaug.augment.gate import ssim_map
from busaug.augment.job import Job
from busaug.augment.plan import Unit
from busaug.config import StyleConfig
from busaug.data.catalog import Catalog
from busaug.distributed.communicator import Single
from busaug.models.resnet import resnet50
from busaug.models.weights import Weights, load_state, resolve_weights
from busaug.ops.mmd import gram
from busaug.ops.style_target import GramTarget
from busaug.style.objective import Objective
from busaug.style.optimise import minimise

FIRST_STEPS = (0.005, 0.01)
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "L-BFGS, smoothing 1 throughout": {"optimiser": "lbfgs", "smoothing_left": 1.0},
    "L-BFGS, smoothing 1 to 0": {"optimiser": "lbfgs", "smoothing_left": 0.0},
    "L-BFGS, smoothing 2 throughout": {"smoothing": 2.0, "smoothing_left": 1.0},
    "Adam 0.02": {"optimiser": "adam", "step": 0.02},
    "Adam 0.02, smoothing 2 throughout": {
        "optimiser": "adam",
        "step": 0.02,
        "smoothing": 2.0,
        "smoothing_left": 1.0,
    },
}
"""Changes to the ``style`` section."""


def main() -> None:
    parser = real_pairs.parser(__doc__, "docs/loss-curves", pairs=32, size=96)
    parser.add_argument("--evaluations", type=int, default=250)
    parser.add_argument("--plain", type=int, default=1000)
    arguments = parser.parse_args()
    results = results_of(arguments, measure)
    draw(results, arguments.out.with_suffix(".png"))
    for line in report(results):
        console.say(line)


def measure(arguments: argparse.Namespace) -> Iterator[Results]:
    """The results so far, after every arm."""
    config = configured(arguments, "style.plateau=0")
    weights = resolve_weights(arguments.weights)
    job = Job(Catalog.load(arguments.catalog), config, weights, None)
    extractor = job.extractor()
    balance = calibrate(job.sources, config, extractor, Single())
    plan = job.plan()
    results: Results = {
        "size": arguments.size,
        "precision": config.style.precision,
        "pairs": len(plan),
        "threads": config.compute.threads,
        "balance": balance,
        "weights": weights_row(weights),
        "arms": {},
    }
    shown = console.progress("arms", len(FIRST_STEPS) + 1 + len(ARMS))  # or more
    with tempfile.TemporaryDirectory() as maps, shown as advance:
        engine = job.engine(extractor, balance, Path(maps), keep_targets=False)
        work = [objective(engine, unit) for unit in plan]
        results["seconds"] = seconds(work[0], config.style, weights)
        for step in searched_steps(results):
            results["arms"][plain_arm(step)] = curves(
                work, config.style.model_copy(update=plain_adam(step, arguments.plain))
            )
            yield results
            advance(note=plain_arm(step))
        for name, change in ARMS.items():
            settings = {**change, "iterations": arguments.evaluations}
            results["arms"][name] = curves(work, config.style.model_copy(update=settings))
            yield results
            advance(note=name)


def plain_arm(step: float) -> str:
    return f"plain Adam {step:g}"


def plain_adam(step: float, evaluations: int) -> dict[str, Any]:
    """Changes to the ``style`` section that make it the plain loop's."""
    changes = {"optimiser": "adam", "step": step, "decay": 1.0, "smoothing": 0}
    return {**changes, "iterations": evaluations}


def searched_steps(results: Results) -> Iterator[float]:
    """Steps to measure, until the best of those in the results is none of the outermost."""
    yield from FIRST_STEPS
    low, high = FIRST_STEPS
    while (best := mark(results)[0]) in (plain_arm(low), plain_arm(high)):
        if best == plain_arm(low):
            low /= 2
            yield low
        else:
            high *= 2
            yield high


def objective(engine: Engine, unit: Unit) -> tuple[Objective, Tensor]:
    """What a unit is optimised for, and its contents."""
    loaded = [engine.loader.pair(pair) for pair in unit.pairs]
    contents = engine.loader.batch([inputs.content for inputs in loaded])
    return engine.objective(loaded, contents), contents.pixels


def curves(work: list[tuple[Objective, Tensor]], settings: StyleConfig) -> Results:
    """Losses over the initial one, a list a pair, and the similarity of the results."""
    found, similar = [], []
    for evaluate, contents in work:
        minimum = minimise(evaluate, contents, settings)
        relative = torch.stack(minimum.curve) / minimum.initial.total
        found += [[round(float(x), 5) for x in curve] for curve in relative.T]
        pictures = zip(minimum.images, contents, strict=True)
        similar += [
            round(float(ssim_map(a[0].numpy(), b[0].numpy()).mean()), 4) for a, b in pictures
        ]
    return {"curves": found, "ssim": similar}


def seconds(
    work: tuple[Objective, Tensor], style: StyleConfig, weights: Weights, turns: int = 5
) -> dict[str, float]:
    """Seconds an image and evaluation of the engine and of the plain loop, least of the turns."""
    evaluate, contents = work
    network = resnet50().requires_grad_(False)
    load_state(network, weights)
    targets = evaluate.targets.values()
    grams = [t.matrix if isinstance(t, GramTarget) else gram(t.features) for t in targets]
    assert evaluate.relevance is not None
    plain = PlainTransfer(
        network.eval(),
        contents[:1],
        [matrix[0] for matrix in grams],
        evaluate.relevance[:1],
        float(evaluate.style_weights[0]),
    )
    few = style.model_copy(update={"iterations": 4})
    best = {"engine": math.inf, "plain loop": math.inf}
    for _ in range(turns):
        begin = time.perf_counter()
        minimise(evaluate, contents, few)
        middle = time.perf_counter()
        plain.run(contents[:1], few.iterations, 0.005)
        end = time.perf_counter()
        engine_s = (middle - begin) / few.iterations / len(contents)
        best["engine"] = min(best["engine"], engine_s)
        best["plain loop"] = min(best["plain loop"], (end - middle) / few.iterations)
    return best


def mark(results: Results) -> tuple[str, list[float]]:
    """The plain arm with the lowest median loss at its end, and that loss of each pair."""
    ends = {
        name: [curve[-1] for curve in found["curves"]]
        for name, found in results["arms"].items()
        if is_plain(name)
    }
    best = min(ends, key=lambda name: median(ends[name]))
    return best, ends[best]


def is_plain(arm: str) -> bool:
    return arm.startswith("plain")


def reached(curve: list[float], value: float) -> float:
    """Evaluations until the loss is at most ``value``; infinite where it never is."""
    return next((float(i + 1) for i, loss in enumerate(curve) if loss <= value), math.inf)


def report(results: Results) -> list[str]:
    """A line an arm."""
    name, goals = mark(results)
    plain = len(results["arms"][name]["curves"][0])
    cost = results["seconds"]
    lines = [
        f"{results['pairs']} pairs at {results['size']}^2, {results['precision']} precision,"
        f" {results['threads']} thread(s)",
        f"the mark: {name} after {plain} evaluations, median loss {median(goals):.3f} of the first",
        f"seconds an image-evaluation: engine {cost['engine']:.4f}, loop {cost['plain loop']:.4f}",
    ]
    for arm, found in results["arms"].items():
        counts = [reached(c, goal) for c, goal in zip(found["curves"], goals, strict=True)]
        middle = median(counts)
        sooner = plain * cost["plain loop"] / (middle * cost["engine"])
        when = f"after {middle:.0f} evaluations ({sooner:.1f} times sooner)"
        ends = [curve[-1] for curve in found["curves"]]
        lines.append(
            f"{arm}: reached by {sum(map(math.isfinite, counts))} pairs, in the median"
            f" {when if math.isfinite(middle) else 'never'};"
            f" after {len(found['curves'][0])} the loss is"
            f" {median(ends):.3f}, SSIM {median(found['ssim']):.3f}"
        )
    return lines


def draw(results: Results, file: Path) -> None:
    """Median curves with their quartiles, and the mark."""
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axes = figure.add_subplot()
    name, goals = mark(results)
    for arm, found in results["arms"].items():
        values = torch.tensor(found["curves"])
        low, middle, high = torch.quantile(values, torch.tensor([0.25, 0.5, 0.75]), dim=0)
        x = torch.arange(1, len(middle) + 1)
        (line,) = axes.plot(x, middle, label=arm, linestyle="--" if is_plain(arm) else "-")
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.08, linewidth=0)
    axes.axhline(median(goals), color="black", linewidth=0.8, label=f"{name} at its end")
    axes.set(xscale="log", yscale="log", xlabel="evaluations", ylabel="loss over the first")
    axes.set_title(f"{results['pairs']} real pairs at {results['size']}², median and quartiles")
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter("{x:.2g}")
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
