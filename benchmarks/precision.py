"""Mixed against single precision on real pairs: how much sooner, and how near the same loss?

    python benchmarks/precision.py CATALOG --weights FILE [--pairs 32] [--out docs/precision]

Both precisions take turns, batch by batch, on the same pairs with the same relevance and balance.
Every result is judged by the losses in single precision. Writes OUT.json after every batch, and
OUT.md from it, from any OUT-*.json beside it, of other processors, and from the results of
``loss_curves.py`` in docs; --render does the latter alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import real_pairs
import torch
from bars import DOCS, markdown
from loss_curves import CURVE_FILES
from real_pairs import Results, configured, loss_left, objective, results_of, weights_row

from busaug import console, environment
from busaug.augment.calibration import calibrate
from busaug.augment.engine import Engine
from busaug.augment.gate import ssim_map
from busaug.augment.job import Job
from busaug.augment.plan import Unit
from busaug.data.catalog import Catalog
from busaug.distributed.communicator import Single
from busaug.files import write_text
from busaug.models.weights import resolve_weights
from busaug.ops.convolution import has_convolutions
from busaug.style.optimise import minimise

PRECISIONS = ("single", "mixed")
AFTER = (60, 100, 150, 200, 250)
"""Evaluations in mixed precision whose loss is looked for in single."""


def main() -> None:
    parser = real_pairs.parser(__doc__, "docs/precision", pairs=32, size=96, threads=1)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[60, 150])
    arguments = parser.parse_args()
    out = arguments.out
    found = [results_of(arguments, measure)]
    for file in sorted(out.parent.glob(f"{out.name}-*.json")):
        found.append(json.loads(file.read_text(encoding="utf-8")))
    curves = {
        name: json.loads((DOCS / file).read_text(encoding="utf-8"))
        for name, file in CURVE_FILES.items()
    }
    write_text(out.with_suffix(".md"), render(found, curves))


def measure(arguments: argparse.Namespace) -> Iterator[Results]:
    """The results so far, after every batch."""
    weights = resolve_weights(arguments.weights)
    catalog = Catalog.load(arguments.catalog)
    jobs = {
        name: Job(
            catalog,
            configured(arguments, f"style.precision={name}", "style.plateau=0"),
            weights,
            None,
        )
        for name in PRECISIONS
    }
    single = jobs["single"]
    balance = calibrate(single.sources, single.config, single.extractor(), Single())
    results: Results = {
        "processor": processor(),
        "size": arguments.size,
        "pairs": arguments.pairs,
        "threads": arguments.threads,
        "convolutions": "the package's" if has_convolutions() else "torch's",
        "weights": weights_row(weights),
        "arms": [
            {"precision": name, "evaluations": count, "seconds": 0.0, "loss": [], "ssim": []}
            for count in arguments.evaluations
            for name in PRECISIONS
        ],
    }
    plan = single.plan()
    with tempfile.TemporaryDirectory() as scratch, console.progress("pairs", len(plan)) as advance:
        engines = {
            name: job.engine(job.extractor(), balance, Path(scratch), keep_targets=False)
            for name, job in jobs.items()
        }
        for content in plan.contents_of(range(plan.units)):
            engines["single"].explain(content)
        for unit in plan:
            for arm in results["arms"]:
                run(engines, unit, arm)
            yield results
            for _ in unit.pairs:
                advance()


def run(engines: dict[str, Engine], unit: Unit, arm: Results) -> None:
    """Add what an arm makes of a unit."""
    engine = engines[arm["precision"]]
    evaluate, contents = objective(engine, unit)
    style = engine.config.style.model_copy(update={"iterations": arm["evaluations"]})
    begin = time.perf_counter()
    minimum = minimise(evaluate, contents.pixels, style, contents.overlays)
    arm["seconds"] += time.perf_counter() - begin
    judge, _ = objective(engines["single"], unit)
    arm["loss"] += [round(share, 5) for share in loss_left(judge, minimum.images, contents)]
    arm["ssim"] += [
        round(float(ssim_map(image[0].numpy(), content[0].numpy()).mean()), 4)
        for image, content in zip(minimum.images, contents.pixels, strict=True)
    ]


def processor() -> str:
    """Its name, and which instructions it has for bfloat16."""
    has = torch.cpu.get_capabilities()
    kinds = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16"}
    quickest = next((name for key, name in kinds.items() if has.get(key)), "no bfloat16")
    return f"{environment.cpu_name()} ({quickest})"


def render(processors: Sequence[Results], curves: Mapping[str, Results]) -> str:
    sections = [
        line for results in processors for line in (_SECTION.format(**results), *_table(results))
    ]
    return "\n".join([_HEAD, *_as_far(curves), _TURNS, *sections, ""])


def _as_far(curves: Mapping[str, Results]) -> list[str]:
    """After how many evaluations single precision has the median losses of mixed."""
    mixed, single = (curves[name]["arms"]["default"] for name in ("mixed", "single"))
    losses = np.interp(AFTER, mixed["at"], mixed["quartiles"][1])
    # Both fall, and np.interp wants what rises.
    same = np.interp(-losses, -np.array(single["quartiles"][1]), single["at"])
    rows = [
        (f"{count}", f"{loss:.4f}", f"{there:.0f}", f"{there / count:.2f}")
        for count, loss, there in zip(AFTER, losses, same, strict=True)
    ]
    titles = ("evaluations, mixed", "loss final/initial", "as low in single after", "that is")
    return markdown(titles, rows)


def _table(results: Results) -> Iterator[str]:
    yield "| evaluations | precision | loss final/initial | SSIM | s an evaluation and image |"
    yield "| --- | --- | --- | --- | --- |"
    for arm in results["arms"]:
        cost = arm["seconds"] / (len(arm["loss"]) * arm["evaluations"])
        yield (
            f"| {arm['evaluations']} | {arm['precision']}"
            f" | {median(arm['loss']):.4f} ({max(arm['loss']):.3f})"
            f" | {median(arm['ssim']):.3f} | {cost:.4f} |"
        )
    yield ""
    for single, mixed in zip(results["arms"][::2], results["arms"][1::2], strict=True):
        shares = [m / s for m, s in zip(mixed["loss"], single["loss"], strict=True)]
        yield (
            f"After {single['evaluations']} evaluations the loss in mixed precision is"
            f" {median(shares):.3f} of that in single (median; {min(shares):.3f} to"
            f" {max(shares):.3f}), in {mixed['seconds'] / single['seconds']:.2f} of the time."
        )


_HEAD = """# Mixed precision

Rendered by `benchmarks/precision.py` from `precision.json`, `precision-*.json` and the results of
`benchmarks/loss_curves.py`.

With `style.precision=mixed` the network computes in bfloat16 from its second stage on, weights,
activations and gradients; sums are float32. The first stage takes the image in float32, whose
gray levels bfloat16 would merge, and losses, targets and optimiser are float32 as well. `auto`,
the default, is `mixed` on CUDA devices whose tensor cores take bfloat16 (capability 8.0 on) and
`single` elsewhere; which it was is part of a run's identity.

On processors with instructions for bfloat16 (AMX or AVX-512 BF16) an evaluation takes less time,
but the same loss takes more of them, the more the lower it is: the rounding of activations slows
the optimiser down, that of weights and gradients does not ([rounding.md](rounding.md)). Medians
over the pairs of [loss-curves.md](loss-curves.md) and [loss-curves-mixed.md](loss-curves-mixed.md):
"""

_TURNS = """
In times of the same bare pass ([engine.md](engine.md#figures), two processors) a step in mixed
precision takes about three quarters of one in single by the package's own convolutions. That is a
gain for short runs; at the default's 150 evaluations there is none, and beyond them single
precision has the same loss sooner. So `auto` is `single` on every processor, with such instructions
or without.

On CUDA devices, where products of bfloat16 cost far less and half the bytes are moved, the times
have not been measured. There `style.precision=single` is the choice where the last percents of the
loss matter.

In the tables below the two precisions take turns. Losses are judged in single precision. Medians
(worst)."""

_SECTION = """
## {processor}

{pairs} real pairs (BUSI, {size}²), batches of eight, {threads} thread(s), weights {weights[name]}.
Convolutions in single precision are {convolutions} ([engine.md](engine.md#convolutions)).
"""


if __name__ == "__main__":
    main()
