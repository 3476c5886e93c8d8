"""One level or a pyramid, at equal cost; how the balance grows; and what a large image takes.

    python benchmarks/resolution.py CATALOG --weights FILE [--pairs 8] [--out docs/resolution]

An evaluation at half the side costs a quarter: the arms with two levels have as many more of them
as that saves. The balance is calibrated at several sizes, to see that it follows the positions of
the content layer. One image of --large pixels a side is made by ``busaug augment`` in a process of
its own, whose peak memory the system tells. Writes OUT.json after every part and OUT.md; --render
only writes OUT.md from OUT.json.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import real_pairs
from real_pairs import Results, configured, results_of, weights_row

from busaug import console
from busaug.augment.calibration import balance_share, calibrate
from busaug.augment.job import Job
from busaug.config import StyleConfig
from busaug.data.catalog import Catalog
from busaug.distributed.communicator import Single
from busaug.files import read_jsonl, write_text
from busaug.models.weights import Weights, resolve_weights

COARSE = (0.0, 0.25, 0.5)
"""Share of the evaluations at half the side; 0: one level."""
PAIRS = 8
"""For calibration."""


def main() -> None:
    parser = real_pairs.parser(__doc__, "docs/resolution", pairs=8, size=224)
    parser.add_argument("--cost", type=int, default=100, help="in evaluations at full size")
    parser.add_argument("--large", type=int, default=2048)
    parser.add_argument("--large-evaluations", type=int, default=16)
    arguments = parser.parse_args()
    write_text(arguments.out.with_suffix(".md"), render(results_of(arguments, measure)))


def measure(arguments: argparse.Namespace) -> Iterator[Results]:
    """The results so far, after every part."""
    weights = resolve_weights(arguments.weights)
    catalog = Catalog.load(arguments.catalog)
    results: Results = {
        "size": arguments.size,
        "pairs": arguments.pairs,
        "cost": arguments.cost,
        "weights": weights_row(weights),
        "balances": [],
        "arms": [],
        "large": {},
    }
    for size in (arguments.size // 2, arguments.size):
        results["balances"].append(balance_at(size, arguments, catalog, weights))
        yield results
    for coarse in COARSE:
        results["arms"].append(arm(coarse, results["balances"][-1]["balance"], arguments, catalog))
        yield results
    results["large"] = large(arguments)
    yield results


def balance_at(
    size: int, arguments: argparse.Namespace, catalog: Catalog, weights: Weights
) -> Results:
    config = configured(arguments, f"style.size={size}", f"style.calibration_pairs={PAIRS}")
    job = Job(catalog, config, weights, None)
    extractor = job.extractor()
    value = calibrate(job.sources, config, extractor, Single())
    share = balance_share(extractor, (size, size), arguments.size)
    return {"size": size, "balance": value, "positions": share}


def arm(coarse: float, balance: float, arguments: argparse.Namespace, catalog: Catalog) -> Results:
    """The pairs with this share of coarse evaluations, at the same cost as without."""
    evaluations = round(arguments.cost / (1 - 0.75 * coarse))
    levels = [f"style.coarse={coarse}", "style.levels=2"] if coarse else []
    config = configured(
        arguments,
        *levels,
        f"style.iterations={evaluations}",
        "plan.unit=4",
        "style.plateau=0",
    )
    job = Job(catalog, config, resolve_weights(arguments.weights), None)
    figures, compute_s = [], 0.0
    with tempfile.TemporaryDirectory() as scratch:
        engine = job.engine(job.extractor(), balance, Path(scratch), keep_targets=False)
        for content in job.plan().contents_of(range(job.plan().units)):
            engine.explain(content)
        with console.progress(f"coarse {coarse}", job.plan().units) as advance:
            for unit in job.plan():
                begin = time.perf_counter()
                figures += [outcome.figures for outcome in engine.run(unit)]
                compute_s += time.perf_counter() - begin
                advance()
    found = [each for each in figures if each is not None]
    return {
        "coarse": coarse,
        "evaluations": evaluations,
        "seconds": round(compute_s, 1),
        "loss": [round(each.loss_final / each.loss_initial, 5) for each in found],
        "style_left": [round(each.style_left, 5) for each in found],
        "ssim": [round(each.ssim, 4) for each in found],
    }


def large(arguments: argparse.Namespace) -> Results:
    """Time and peak memory of a run that makes one large image on four levels."""
    settings = [
        f"style.size={arguments.large}",
        "style.levels=4",
        f"style.iterations={arguments.large_evaluations}",
        "style.calibration_pairs=2",
        "plan.contents=1",
        f"compute.threads={arguments.threads}",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        command = [sys.executable, "-m", "busaug", "augment", str(arguments.catalog), str(out)]
        command += [part for setting in settings for part in ("--set", setting)]
        if arguments.weights:
            command += ["--weights", arguments.weights]
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - begin
        (row,) = read_jsonl(out / "manifest.jsonl")
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "size": arguments.large,
        "levels": 4,
        "evaluations": arguments.large_evaluations,
        "seconds": round(seconds, 1),
        "peak_gib": round(peak_kib / 2**20, 2),
        "accepted": row["accepted"],
        "style_left": row.get("style_left"),
        "ssim": row.get("ssim"),
    }


def render(results: Results) -> str:
    """The page, with the parts that were measured."""
    parts = [_HEAD.format(**_balance_words(results))]
    if len(results["arms"]) > 1:
        parts += [_EQUAL_COST.format(**results), *_table(results["arms"])]
    if results["large"]:
        pair = 2 * 4 * results["large"]["size"] ** 2 / 2**20  # a step and a change, float32
        parts.append(_LARGE.format(pair=pair, history=StyleConfig().history, **results["large"]))
    return "\n".join(parts)


def _table(arms: list[Results]) -> Iterator[str]:
    yield "| coarse share | evaluations | loss final/initial | style left | SSIM | lower |"
    yield "| --- | --- | --- | --- | --- | --- |"
    single = arms[0]["loss"]
    for each in arms:
        better = sum(a < b for a, b in zip(each["loss"], single, strict=True))
        yield (
            f"| {each['coarse'] or 'one level'} | {each['evaluations']}"
            f" | {median(each['loss']):.4f} ({max(each['loss']):.3f})"
            f" | {median(each['style_left']):.3f} | {median(each['ssim']):.3f}"
            f" | {f'{better} of {len(single)}' if each['coarse'] else ''} |"
        )


def _balance_words(results: Results) -> dict[str, str]:
    small, full = results["balances"]
    return {
        "sizes": f"{small['size']}² and {full['size']}²",
        "measured": f"{small['balance'] / full['balance']:.3f}",
        "expected": f"{small['positions'] / full['positions']:.3f}",
    }


_HEAD = """# Size, shape and levels

Rendered by `benchmarks/resolution.py` from `resolution.json`.

`style.size` is the longest side. With `style.aspect=square`, the default, images are squashed to
squares; with `native` an output has its content's aspect ratio, the shorter side in steps of 8 px,
and references are scaled to fill that grid and cut at its rim: speckle keeps its shape. Only images
of one extent are a batch, so the plan puts contents of one extent beside each other.

With `style.levels` above 1 an image is made coarse to fine, each level of half the side of the
next, with contents, style targets, masks and loss of its own. What changed at a level is enlarged
and added to the content of the next. `style.coarse` is the share of `style.iterations` spent below
full size, evenly.

The balance is calibrated once, at 448 px at most, and follows the positions of the content layer:
the content loss is a sum over positions, the style loss compares means. Calibrated apart at
{sizes}, the smaller one's is {measured} of the larger one's, and its positions are {expected}.
"""

_EQUAL_COST = """
## One level or two, at equal cost

{pairs} real pairs (BUSI, {size}²), weights {weights[name]}. Each arm may spend {cost} evaluations
at full size or what costs as much: one at half the side counts a quarter. Medians (worst); the last
column counts pairs with a lower loss than on one level.
"""

_LARGE = """
## Large images

One image of {size}x{size} on {levels} levels, {evaluations} evaluations, four references, by
`busaug augment` with a calibration on two pairs: peak memory {peak_gib} GiB, {seconds:.0f} s in
all. Style left {style_left:.2f}, SSIM {ssim:.2f}. Of the {history} curvature pairs that a longer
run keeps, each takes {pair:.0f} MiB; {evaluations} evaluations leave most of them empty.

Large references pass through the network one at a time and layer by layer, channels are sorted some
at a time, and relevance is computed at 448 px at most; what is left is one forward and backward
pass.
"""


if __name__ == "__main__":
    main()
