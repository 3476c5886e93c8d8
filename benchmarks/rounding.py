"""Which roundings of bfloat16 keep the optimiser from its last percents: emulated, one by one.

    python benchmarks/rounding.py CATALOG --weights FILE [--pairs 32] [--out docs/rounding]
    torchrun --nproc-per-node 2 benchmarks/rounding.py CATALOG --threads 1 ...

In ``style.precision=mixed`` weights, activations (what convolutions and sums give) and the
gradients that come back to these are bfloat16. Here an arm rounds some of them, from a stage of the
network on, and multiplies and adds in float32, as instructions for bfloat16 do. So the loss can be
had on a machine without such instructions, but not the time. One arm rounds to the digits of TF32,
as convolutions in single precision do on CUDA devices. Results are judged in single precision
against the mark that docs/loss-curves.json has of the same pairs. Writes OUT.json after
every arm and OUT.md from it; with --render the latter alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import real_pairs
import torch
from bars import DOCS, markdown
from loss_curves import CURVE_FILES, mark
from real_pairs import (
    Results,
    configured,
    loss_left,
    objective,
    shared_results_of,
    weights_row,
)
from torch import Tensor, nn

from busaug import console
from busaug.augment.job import Job
from busaug.data.catalog import Catalog
from busaug.distributed.communicator import Communicator
from busaug.files import write_text
from busaug.models.resnet import Add
from busaug.models.weights import Weights, resolve_weights
from busaug.style.features import FeatureExtractor
from busaug.style.optimise import minimise
from busaug.style.packed import pack_convolutions


@dataclass(frozen=True)
class Arm:
    """What is rounded, and the first stage in which it is; the image's is the stage 0."""

    first: int = 1
    weights: bool = False
    activations: bool = False
    gradients: bool = False
    bits: int = 7
    """After the leading one: bfloat16 has 7, TF32 10, float32 23."""

    def __call__(self, x: Tensor) -> Tensor:
        """An activation, its gradient to be rounded when it comes."""
        rounded: Tensor = _Rounded.apply(x, self)  # type: ignore[no-untyped-call]
        return rounded


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, arm: Arm) -> Tensor:
        ctx.arm = arm
        return nearest(x, arm.bits) if arm.activations else x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        arm = ctx.arm
        return (nearest(grads[0], arm.bits) if arm.gradients else grads[0]), None


def nearest(x: Tensor, bits: int) -> Tensor:
    """The values that are nearest of those with so many bits, to even at a tie, kept in float32."""
    dropped = 23 - bits
    pattern = x.view(torch.int32)
    even = (pattern >> dropped) & 1
    half = (1 << (dropped - 1)) - 1
    return ((pattern + half + even) >> dropped << dropped).view(torch.float32)


def emulated(weights: Weights, arm: Arm) -> FeatureExtractor:
    """ResNet-50's extractor with the arm's roundings."""
    extractor = FeatureExtractor("resnet50", weights, packed=False)
    for index, stage in enumerate(extractor.stages.values()):
        if index < arm.first:
            pack_convolutions(stage)
            continue
        stage.register_forward_pre_hook(lambda _, given: (arm(given[0]),))
        for module in stage.modules():
            if isinstance(module, nn.Conv2d | Add):
                module.register_forward_hook(lambda _, __, out: arm(out))
            if arm.weights:
                for parameter in module.parameters(recurse=False):
                    parameter.data = nearest(parameter.data, arm.bits)
    return extractor


_ALL = {"weights": True, "activations": True, "gradients": True}
ARMS = {
    "nothing": Arm(first=9),  # no stage is
    "weights": Arm(weights=True),
    "gradients": Arm(gradients=True),
    "activations": Arm(activations=True),
    "all three: mixed precision": Arm(**_ALL),
    "all three, from the third stage on": Arm(first=2, **_ALL),
    "all three, from the fourth stage on": Arm(first=3, **_ALL),
    "all three, to TF32's ten bits": Arm(bits=10, **_ALL),
}


def main() -> None:
    parser = real_pairs.parser(__doc__, "docs/rounding", pairs=32, size=96)
    parser.add_argument("--evaluations", type=int, default=250)
    arguments = parser.parse_args()
    results = shared_results_of(arguments, measure)
    if results is not None:
        write_text(arguments.out.with_suffix(".md"), render(results))


def measure(arguments: argparse.Namespace, comm: Communicator) -> Iterator[Results]:
    """The results so far, after every arm; every process takes its share of the batches."""
    changes = (f"style.iterations={arguments.evaluations}", "style.plateau=0")
    config = configured(arguments, *changes, "style.precision=single")
    weights = resolve_weights(arguments.weights)
    job = Job(Catalog.load(arguments.catalog), config, weights, None)
    plan = job.plan()
    known = json.loads((DOCS / CURVE_FILES["single"]).read_text(encoding="utf-8"))
    if (known["size"], known["pairs"]) != (arguments.size, len(plan)):
        raise SystemExit("docs/loss-curves.json has the mark of other pairs")
    name, goals = mark(known)
    results: Results = {
        "size": arguments.size,
        "pairs": len(plan),
        "evaluations": arguments.evaluations,
        "mark": name,
        "weights": weights_row(weights),
        "arms": {},
    }
    units = list(plan)[comm.share(plan.units)]
    with tempfile.TemporaryDirectory() as maps, console.progress("arms", len(ARMS)) as advance:
        engines = {
            arm: job.engine(
                emulated(weights, rounding), known["balance"], Path(maps), keep_targets=False
            )
            for arm, rounding in ARMS.items()
        }
        for arm, engine in engines.items():
            ends = []
            for unit in units:
                rounded, contents = objective(engine, unit)
                judge, _ = objective(engines["nothing"], unit)
                found = minimise(rounded, contents.pixels, config.style, contents.overlays)
                ends += loss_left(judge, found.images, contents)
            every = [end for part in comm.gather(ends) for end in part]
            results["arms"][arm] = [round(a / b, 5) for a, b in zip(every, goals, strict=True)]
            yield results
            advance(note=arm)


def render(results: Results) -> str:
    rows = []
    for arm, found in results["arms"].items():
        low, middle, high = quantiles(found, n=4, method="inclusive")
        by = sum(share <= 1 for share in found)
        rows.append((arm, f"{middle:.3f}", f"{low:.3f}, {high:.3f}", f"{by} of {len(found)}"))
    titles = ("rounded to bfloat16", "loss over the mark, median", "quartiles", "pairs there")
    return "\n".join([_HEAD.format(**results), *markdown(titles, rows), _TAIL, ""])


_HEAD = """# Which of bfloat16's roundings matter

Rendered by `benchmarks/rounding.py` from `rounding.json`.

{pairs} real pairs (BUSI, {size}², k = 4, FM, LA), {evaluations} evaluations, weights
{weights[name]}. Rounded to bfloat16 are weights, activations or gradients, from the second stage
of the network on unless a row says otherwise; products and sums are in float32. Losses are in
single precision, over the mark of [loss-curves.md](loss-curves.md): {mark} after 1000 evaluations
of each pair. One trajectory a pair: with other roundings of the last digit medians of the same arm
are apart by some thousandths.
"""

_TAIL = """
So activations are what must not be rounded, above all those of the second stage, the largest. A
mixed precision of gradients alone, which are half of the products, would keep the loss; what time
it would save has not been measured, on a processor or on a device. TF32, by which torch convolves
in single precision on CUDA devices, does little harm, though here it rounds what is kept as well as
what is multiplied."""


if __name__ == "__main__":
    main()
