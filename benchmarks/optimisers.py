"""Which optimiser, step, smoothing and gamma? Equal evaluations on real pairs.

    python benchmarks/optimisers.py CATALOG --weights FILE [--pairs 16] [--out docs/optimiser]
    torchrun --nproc-per-node 2 benchmarks/optimisers.py CATALOG --threads 1 ...

Every arm optimises the same pairs with the same targets and calibrated balance, so the arms differ
in one setting. Writes OUT.json (every pair of every arm) and OUT.md (the table); with --render it
only renders the table from OUT.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import real_pairs
from real_pairs import Results, configured, shared_results_of, weights_row

from busaug import console
from busaug.augment.calibration import calibrate
from busaug.augment.engine import Outcome
from busaug.augment.job import Job
from busaug.data.catalog import Catalog
from busaug.distributed.communicator import Communicator
from busaug.files import write_text
from busaug.models.weights import resolve_weights

ARMS: list[dict[str, Any]] = [
    {},
    {"smoothing": 0.0},
    {"smoothing": 1.0, "smoothing_left": 1.0},
    {"smoothing": 2.0, "smoothing_left": 1.0},
    {"optimiser": "adam", "step": 0.02},
    {"optimiser": "adam", "step": 0.005},
    {"optimiser": "adam", "step": 0.02, "smoothing": 0.0},
    {"gamma": 30.0},
    {"gamma": 300.0},
    {"gamma": 10.0},
    {"gamma": 1000.0},
    {"optimiser": "adam", "step": 0.01},
]
"""Changes to the ``style`` section; the first arm is the default."""


SETTINGS = ("optimiser", "step", "gamma", "smoothing", "smoothing_left")


def main() -> None:
    parser = real_pairs.parser(__doc__, "docs/optimiser", pairs=16, size=112)
    parser.add_argument("--evaluations", type=int, default=150)
    arguments = parser.parse_args()
    results = shared_results_of(arguments, measure)
    if results is not None:
        write_text(arguments.out.with_suffix(".md"), render(results))


def measure(arguments: argparse.Namespace, comm: Communicator) -> Iterator[Results]:
    """The results so far, after every arm; every process takes its share of the batches."""
    config = configured(arguments, f"style.iterations={arguments.evaluations}")
    weights = resolve_weights(arguments.weights)
    job = Job(Catalog.load(arguments.catalog), config, weights, None)
    extractor = job.extractor()
    balance = calibrate(job.sources, config, extractor, comm)
    plan = job.plan()
    results: Results = {
        "size": arguments.size,
        "precision": config.style.precision,
        "evaluations": arguments.evaluations,
        "pairs": len(plan),
        "balance": balance,
        "weights": weights_row(weights),
        "arms": [],
    }
    with tempfile.TemporaryDirectory() as maps, console.progress("arms", len(ARMS)) as advance:
        engine = job.engine(extractor, balance, Path(maps), keep_targets=False)
        units = list(plan)[comm.share(plan.units)]
        for change in ARMS:
            style = config.style.model_copy(update=change)
            engine.config = config.model_copy(update={"style": style})
            share = [_row(outcome) for unit in units for outcome in engine.run(unit)]
            rows = [row for rows in comm.gather(share) for row in rows]
            settings = {k: getattr(style, k) for k in SETTINGS}
            results["arms"].append({**settings, "rows": rows})
            yield results
            advance(note=str(change))


def _row(outcome: Outcome) -> dict[str, Any]:
    figures, image = outcome.figures, outcome.image
    assert figures is not None
    assert image is not None
    return {
        "pair": outcome.pair.id,
        "loss_initial": figures.loss_initial,
        "loss_final": figures.loss_final,
        "style_left": figures.style_left,
        "ssim": figures.ssim,
        "saturated": figures.saturated,
        "checkerboard": round(checkerboard(image), 3),
        "curve": figures.curve,
    }


def checkerboard(image: npt.NDArray[np.float32], side: int = 32) -> float:
    """Amplitude of a pattern of period 2 along both axes, in gray levels of 255.

    The largest over blocks of ``side`` pixels. Below half a level it is lost in the rounding of a
    PNG; from one on it can be seen in dark parts.
    """
    rows, columns = (size // side * side for size in image.shape)
    signs = np.indices((rows, columns)).sum(axis=0) % 2 * 2.0 - 1.0
    blocks = (image[:rows, :columns] * signs).reshape(rows // side, side, columns // side, side)
    return float(255 * np.abs(blocks.mean(axis=(1, 3))).max())


def render(results: Results) -> str:
    """The table as Markdown."""
    lines = [
        "# The choice of optimiser, step, smoothing and gamma",
        "",
        f"{results['pairs']} real training pairs (BUSI, {results['size']}², k = 4, FM, LA), "
        f"{results['evaluations']} evaluations from a content start, {results['precision']} "
        "precision, balance "
        f"{results['balance']:.3g}, weights {results['weights']['name']} "
        f"(sha256 {results['weights']['sha256'][:12]}). Every row is over the same pairs.",
        "Rendered by `benchmarks/optimisers.py` from `optimiser.json`.",
        "",
        "| optimiser | step | smoothing | gamma | below initial | loss final/initial "
        "| ... after 60 | style left, median (worst) | SSIM, median (min - max) "
        "| checkerboard, gray levels, median (worst) | newly saturated, worst |",
        "| " + " | ".join(["---"] * 11) + " |",
    ]

    def order(arm: dict[str, Any]) -> tuple[Any, ...]:
        return arm["gamma"], arm["optimiser"] != "lbfgs", _passes(arm), arm["step"]

    for arm in sorted(results["arms"], key=order):
        rows = arm["rows"]
        ratios = [row["loss_final"] / row["loss_initial"] for row in rows]
        early = [_at(row["curve"], 60) / row["loss_initial"] for row in rows]
        left = [row["style_left"] for row in rows]
        similar = [row["ssim"] for row in rows]
        boards = [row["checkerboard"] for row in rows]
        below = sum(ratio < 1 for ratio in ratios)
        step = "line search" if arm["optimiser"] == "lbfgs" else f"{arm['step']:g}"
        lines.append(
            f"| {arm['optimiser']} | {step} | {_passes(arm)} | {arm['gamma']:g} | "
            f"{below}/{len(rows)} | {median(ratios):.3f} | {median(early):.3f} | "
            f"{median(left):.3f} ({max(left):.3f}) | "
            f"{median(similar):.3f} ({min(similar):.3f} - {max(similar):.3f}) | "
            f"{median(boards):.2f} ({max(boards):.2f}) | "
            f"{max(row['saturated'] for row in rows):.2%} |"
        )
    return "\n".join(lines) + "\n"


def _passes(arm: dict[str, Any]) -> str:
    """Of the filter, at the first and at the last step."""
    first = arm["smoothing"]
    last = first * arm["smoothing_left"]
    return f"{first:g}" if first == last else f"{first:g} to {last:g}"


def _at(curve: list[list[float]], evaluation: int) -> float:
    """The best loss known by then, from the thinned curve."""
    return min(value for step, value in curve if step <= evaluation)


if __name__ == "__main__":
    main()
