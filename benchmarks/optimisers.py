"""Which optimiser, step and gamma? Loss, style distance and SSIM on real pairs, equal evaluations.

    python benchmarks/optimisers.py CATALOG --weights FILE [--contents 16] [--out docs/optimiser]

Every arm optimises the same pairs with the same targets and calibrated balance, so the arms differ
in one setting. Writes OUT.json (every pair of every arm) and OUT.md (the table); with --render it
only renders the table from OUT.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from busaug import console
from busaug.augment.calibration import calibrate
from busaug.augment.job import Job
from busaug.cli.shared import resolve_compute
from busaug.config import Config, load_config
from busaug.data.catalog import Catalog
from busaug.files import write_json, write_text
from busaug.models.weights import resolve_weights

# (optimiser, Adam's step or None, gamma)
ARMS: list[tuple[str, float | None, float]] = [
    ("lbfgs", None, 100.0),
    ("adam", 0.005, 100.0),
    ("adam", 0.02, 100.0),
    ("adam", 0.002, 100.0),
    ("adam", 0.01, 100.0),
    ("lbfgs", None, 30.0),
    ("lbfgs", None, 300.0),
    ("lbfgs", None, 10.0),
    ("lbfgs", None, 1000.0),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--contents", type=int, default=16)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/optimiser"))
    parser.add_argument("--render", action="store_true")
    arguments = parser.parse_args()
    results = arguments.out.with_suffix(".json")
    if not arguments.render:
        write_json(results, measure(arguments))
    write_text(arguments.out.with_suffix(".md"), render(json.loads(results.read_text())))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    config = resolve_compute(
        load_config(
            overrides=[
                f"plan.contents={arguments.contents}",
                f"style.size={arguments.size}",
                f"style.iterations={arguments.iterations}",
                f"compute.threads={arguments.threads}",
            ]
        )
    )
    weights = resolve_weights(arguments.weights)
    job = Job(Catalog.load(arguments.catalog), config, weights, None)
    extractor = job.extractor()
    balance = calibrate(job.training, config, extractor)
    plan = job.plan()
    arms = []
    with tempfile.TemporaryDirectory() as maps, console.progress("arms", len(ARMS)) as advance:
        engine = job.engine(extractor, balance, Path(maps))
        for optimiser, step, gamma in ARMS:
            engine.config = _arm(config, optimiser, step, gamma)
            rows = []
            for unit in plan:
                for outcome in engine.run(unit):
                    assert outcome.figures is not None
                    figures = outcome.figures
                    rows.append(
                        {
                            "pair": outcome.pair.id,
                            "loss_initial": figures.loss_initial,
                            "loss_final": figures.loss_final,
                            "style_left": figures.style_left,
                            "ssim": figures.ssim,
                            "saturated": figures.saturated,
                            "curve": figures.curve,
                        }
                    )
            arms.append({"optimiser": optimiser, "step": step, "gamma": gamma, "rows": rows})
            advance(note=f"{optimiser} {step or ''} gamma {gamma:g}")
    return {
        "size": arguments.size,
        "evaluations": arguments.iterations,
        "pairs": len(plan),
        "balance": balance,
        "weights": {"name": weights.name, "sha256": weights.sha256},
        "arms": arms,
    }


def _arm(config: Config, optimiser: str, step: float | None, gamma: float) -> Config:
    values = config.model_dump()
    values["style"] |= {"optimiser": optimiser, "gamma": gamma}
    if step is not None:
        values["style"]["step"] = step
    return Config.model_validate(values)


def render(results: dict[str, Any]) -> str:
    """The table as Markdown."""
    lines = [
        "# The choice of optimiser, step and gamma",
        "",
        f"{results['pairs']} real training pairs (BUSI, {results['size']}², k = 4, FM, LA), "
        f"{results['evaluations']} evaluations from a content start, balance "
        f"{results['balance']:.3g}, weights {results['weights']['name']} "
        f"(sha256 {results['weights']['sha256'][:12]}). Every cell is over the same pairs.",
        "Rendered by `benchmarks/optimisers.py` from `optimiser.json`.",
        "",
        "| optimiser | step | gamma | below initial | loss final/initial | ... after 60 | "
        "style left, median (worst) | SSIM, median (min - max) | newly saturated, worst |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm in sorted(results["arms"], key=lambda a: (a["gamma"], a["optimiser"], a["step"] or 0)):
        rows = arm["rows"]
        ratios = [row["loss_final"] / row["loss_initial"] for row in rows]
        early = [_at(row["curve"], 60) / row["loss_initial"] for row in rows]
        left = [row["style_left"] for row in rows]
        similar = [row["ssim"] for row in rows]
        below = sum(ratio < 1 for ratio in ratios)
        lines.append(
            f"| {arm['optimiser']} | {arm['step'] or 'line search'} | {arm['gamma']:g} | "
            f"{below}/{len(rows)} | {median(ratios):.3f} | {median(early):.3f} | "
            f"{median(left):.3f} ({max(left):.3f}) | "
            f"{median(similar):.3f} ({min(similar):.3f} - {max(similar):.3f}) | "
            f"{max(row['saturated'] for row in rows):.3%} |"
        )
    return "\n".join(lines) + "\n"


def _at(curve: list[list[float]], evaluation: int) -> float:
    """The best loss known by then, from the thinned curve."""
    return min(value for step, value in curve if step <= evaluation)


if __name__ == "__main__":
    main()
