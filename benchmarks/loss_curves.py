"""Loss against evaluations on real pairs: how soon does each optimiser reach the plain Adam loop?

    python benchmarks/loss_curves.py CATALOG --weights FILE [--pairs 32] [--precision mixed]
    torchrun --nproc-per-node 2 benchmarks/loss_curves.py CATALOG --threads 1 ...

The mark to reach is the loss of plain Adam (no band limit, constant step) after --plain
evaluations, with the best of its steps over all pairs: steps are doubled and halved until the best
has a worse one on either side. Plain Adam is run in batches, which gives the losses of a loop over
images (``test_engine.py`` shows it). All arms are of one precision.

Writes OUT.json after every arm, then OUT.md and OUT.svg from it; with --render these alone. OUT is
docs/loss-curves, in mixed precision docs/loss-curves-mixed, where --out names no other. Plain
arms that OUT.json has already, of the same pairs, are kept: they do not depend on the optimiser,
and on how convolutions are computed by a rounding only.
"""

from __future__ import annotations

import argparse
import json
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
from real_pairs import Results, configured, objective, shared_results_of, weights_row

from busaug import console
from busaug.augment.calibration import calibrate
from busaug.augment.gate import ssim_map
from busaug.augment.inputs import Images
from busaug.augment.job import Job
from busaug.config import StyleConfig
from busaug.data.catalog import Catalog
from busaug.distributed.communicator import Communicator
from busaug.files import write_text
from busaug.models.resnet import resnet50
from busaug.models.weights import Weights, load_state, resolve_weights
from busaug.ops.mmd import gram
from busaug.ops.style_target import GramTarget
from busaug.style.objective import Objective
from busaug.style.optimise import minimise

CURVE_FILES = {"single": "loss-curves.json", "mixed": "loss-curves-mixed.json"}
"""Of the committed results, in docs, by precision."""
FIRST_STEPS = (0.005, 0.01)
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "default, 300 evaluations": {"iterations": 300},
    "L-BFGS, 20 pairs": {"history": 20},
    "L-BFGS, no smoothing": {"smoothing": 0.0},
    "Adam 0.02": {"optimiser": "adam", "step": 0.02},
}
"""Changes to the ``style`` section."""


def main() -> None:
    parser = real_pairs.parser(__doc__, "docs/loss-curves", pairs=32, size=96)
    parser.add_argument("--evaluations", type=int, default=250)
    parser.add_argument("--plain", type=int, default=1000)
    parser.add_argument(
        "--precision", choices=tuple(CURVE_FILES), default="single", help="of all arms"
    )
    parser.set_defaults(out=None)
    arguments = parser.parse_args()
    if arguments.out is None:
        arguments.out = (Path("docs") / CURVE_FILES[arguments.precision]).with_suffix("")
    results = shared_results_of(arguments, measure)
    if results is None:
        return
    picture = arguments.out.with_suffix(".svg")
    draw(results, picture)
    write_text(arguments.out.with_suffix(".md"), render(results, picture))


def measure(arguments: argparse.Namespace, comm: Communicator) -> Iterator[Results]:
    """The results so far, after every arm; every process takes its share of the batches."""
    config = configured(arguments, "style.plateau=0", f"style.precision={arguments.precision}")
    weights = resolve_weights(arguments.weights)
    job = Job(Catalog.load(arguments.catalog), config, weights, None)
    extractor = job.extractor()
    balance = calibrate(job.sources, config, extractor, comm)
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
    before = comm.broadcast_object(plain_arms(arguments, results))
    known = before.get("arms", {})
    if known:  # of the very same objectives
        balance = results["balance"] = before["balance"]
    shown = console.progress("arms", len(FIRST_STEPS) + 1 + len(ARMS))  # or more
    with tempfile.TemporaryDirectory() as maps, shown as advance:
        engine = job.engine(extractor, balance, Path(maps), keep_targets=False)
        work = [objective(engine, unit) for unit in list(plan)[comm.share(plan.units)]]
        results["seconds"] = seconds(work[0], config.style, weights)
        for step in searched_steps(results):
            name, settings = plain_arm(step), plain_adam(step, arguments.plain)
            if name not in known:
                known[name] = summarised(
                    curves(work, config.style.model_copy(update=settings), comm)
                )
            results["arms"][name] = known[name]
            yield results
            advance(note=name)
        for name, change in ARMS.items():
            changes = {"iterations": arguments.evaluations, **change}
            found = curves(work, config.style.model_copy(update=changes), comm)
            results["arms"][name] = summarised(found, mark(results)[1])
            yield results
            advance(note=name)


def plain_arms(arguments: argparse.Namespace, results: Results) -> Results:
    """Those in OUT.json and their balance, if they are of the same pairs and objective.

    Another machine or way to convolve changes the balance by a rounding.
    """
    file = arguments.out.with_suffix(".json")
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    same = ("size", "precision", "pairs", "weights")
    if any(before.get(name) != results[name] for name in same) or not math.isclose(
        before["balance"], results["balance"], rel_tol=1e-4
    ):
        return {}
    arms = {
        name: arm
        for name, arm in before["arms"].items()
        if is_plain(name) and arm["evaluations"] == arguments.plain
    }
    return {"balance": before["balance"], "arms": arms}


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


def curves(
    work: list[tuple[Objective, Images]], settings: StyleConfig, comm: Communicator
) -> Results:
    """Losses over the initial one, a list a pair of all ranks, and the results' similarity."""
    found, similar = [], []
    for evaluate, contents in work:
        minimum = minimise(evaluate, contents.pixels, settings, contents.overlays)
        relative = torch.stack(minimum.curve) / minimum.initial.total
        found += [[round(float(x), 5) for x in curve] for curve in relative.T]
        pictures = zip(minimum.images, contents.pixels, strict=True)
        similar += [
            round(float(ssim_map(a[0].numpy(), b[0].numpy()).mean()), 4) for a, b in pictures
        ]
    shares = comm.gather((found, similar))
    return {
        "curves": [curve for share, _ in shares for curve in share],
        "ssim": [value for _, share in shares for value in share],
    }


def seconds(
    work: tuple[Objective, Images], style: StyleConfig, weights: Weights, turns: int = 5
) -> dict[str, float]:
    """Seconds an image and evaluation of the engine and of the plain loop, least of the turns."""
    evaluate, contents = work[0], work[1].pixels
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


def summarised(found: Results, goals: list[float] | None = None) -> Results:
    """What is kept of an arm: quartiles over the pairs, and each pair's end.

    With ``goals``, a loss a pair, also after how many evaluations it is reached (None: never).
    """
    every = found["curves"]
    values = torch.tensor(every, dtype=torch.float64)
    count = values.shape[1]
    # as the eye sees them on a logarithmic axis
    at = sorted({round(x) for x in torch.logspace(0, math.log10(count), 120).tolist()})
    shares = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    quartiles = torch.quantile(values[:, [x - 1 for x in at]], shares, dim=0)
    kept = {
        "evaluations": count,
        "at": at,
        "quartiles": [[round(x, 5) for x in row] for row in quartiles.tolist()],
        "ends": [curve[-1] for curve in every],
        "ssim": found["ssim"],
    }
    if goals is not None:
        kept["reached"] = [reached(c, goal) for c, goal in zip(every, goals, strict=True)]
    return kept


def reached(curve: list[float], goal: float) -> int | None:
    """Evaluations until the loss is at most ``goal``."""
    return next((i for i, loss in enumerate(curve, 1) if loss <= goal), None)


def mark(results: Results) -> tuple[str, list[float]]:
    """The plain arm with the lowest median loss at its end, and that loss of each pair."""
    ends = {name: found["ends"] for name, found in results["arms"].items() if is_plain(name)}
    best = min(ends, key=lambda name: median(ends[name]))
    return best, ends[best]


def is_plain(arm: str) -> bool:
    return arm.startswith("plain")


def render(results: Results, picture: Path) -> str:
    name, goals = mark(results)
    plain = results["arms"][name]["evaluations"]
    cost = results["seconds"]
    head = _HEAD.format(
        **results,
        picture=picture.name,
        source=picture.with_suffix(".json").name,
        name=name,
        plain=plain,
        goal=median(goals),
        engine=cost["engine"],
        loop=cost["plain loop"],
    )
    rows = []
    for arm, found in results["arms"].items():
        counts = [math.inf if count is None else count for count in found.get("reached", ())]
        when = sooner = by = ""
        if counts:
            middle = median(counts)
            by = str(sum(map(math.isfinite, counts)))
            when, sooner = "never", ""
            if math.isfinite(middle):
                when = f"{middle:.0f}"
                sooner = f"{plain * cost['plain loop'] / (middle * cost['engine']):.1f}"
        rows.append(
            f"| {arm} | {found['evaluations']} | {median(found['ends']):.3f}"
            f" | {median(found['ssim']):.3f} | {by} | {when} | {sooner} |"
        )
    return "\n".join([head, *rows, ""])


_HEAD = """# Loss against evaluations

Rendered by `benchmarks/loss_curves.py` from `{source}`.

{pairs} real pairs (BUSI, {size}², k = 4, FM, LA), {precision} precision, batches of eight,
{threads} thread(s) a process, weights {weights[name]}. The mark to reach is what plain Adam
(no filter, constant step, the loop of PyTorch's tutorial) has after {plain} evaluations of each
pair, with the best of its steps: {name}, {goal:.3f} of the loss at the start in the median. An
evaluation costs the engine {engine:.4f} s an image, the loop over images in float32 {loop:.4f} s,
in turns.

![Loss over that at the start against evaluations, medians and quartiles]({picture})

| arm | evaluations | loss final/initial | SSIM | reached by | after, median | times sooner |
| --- | --- | --- | --- | --- | --- | --- |"""


def draw(results: Results, file: Path) -> None:
    """Median curves with their quartiles, and the mark."""
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axes = figure.add_subplot()
    name, goals = mark(results)
    for arm, found in results["arms"].items():
        low, middle, high = found["quartiles"]
        style = "--" if is_plain(arm) else "-"
        (line,) = axes.plot(found["at"], middle, label=arm, linestyle=style)
        axes.fill_between(found["at"], low, high, color=line.get_color(), alpha=0.08, linewidth=0)
    axes.axhline(median(goals), color="black", linewidth=0.8, label=f"{name} at its end")
    axes.set(xscale="log", yscale="log", xlabel="evaluations", ylabel="loss over the first")
    axes.set_title(f"{results['pairs']} real pairs at {results['size']}², median and quartiles")
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter("{x:.2g}")
    axes.legend(fontsize=8)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
