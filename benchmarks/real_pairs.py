"""What the measurements on real pairs have in common: arguments, configuration, results in a file.

A measurement yields its results so far after every part; they are kept each time, so that one that
was stopped has lost its last part alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from busaug.augment.engine import Engine
from busaug.augment.inputs import Images
from busaug.augment.plan import Unit
from busaug.cli.shared import resolve_compute
from busaug.config import Config, load_config
from busaug.distributed.communicator import Communicator
from busaug.distributed.opening import open_communicator
from busaug.files import write_json
from busaug.models.weights import Weights
from busaug.style.objective import Objective

Results = dict[str, Any]


def parser(document: str, out: str, *, pairs: int, size: int, threads: int = 0):
    """For a script whose docstring and results these are; defaults as given."""
    made = argparse.ArgumentParser(
        description=document, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("catalog", type=Path)
    made.add_argument("--weights")
    made.add_argument("--pairs", type=int, default=pairs)
    made.add_argument("--size", type=int, default=size)
    made.add_argument("--threads", type=int, default=threads)
    made.add_argument("--out", type=Path, default=Path(out))
    made.add_argument("--render", action="store_true", help="use what --out has already")
    return made


def results_of(
    arguments: argparse.Namespace, measure: Callable[[argparse.Namespace], Iterator[Results]]
) -> Results:
    """What is measured, or with --render was."""
    file = arguments.out.with_suffix(".json")
    if not arguments.render:
        for partial in measure(arguments):
            write_json(file, partial)
    found: Results = json.loads(file.read_text(encoding="utf-8"))
    return found


def shared_results_of(
    arguments: argparse.Namespace,
    measure: Callable[[argparse.Namespace, Communicator], Iterator[Results]],
) -> Results | None:
    """The same of a measurement that processes share; None on all of them but the first."""
    with open_communicator() as comm:
        if comm.is_root:
            return results_of(arguments, lambda given: measure(given, comm))
        if not arguments.render:
            for _ in measure(arguments, comm):
                pass
        return None


def configured(arguments: argparse.Namespace, *settings: str) -> Config:
    """The proposed method at the arguments' size, on their pairs; more as ``--set`` has it."""
    common = (
        f"style.size={arguments.size}",
        f"compute.threads={arguments.threads}",
        f"plan.contents={arguments.pairs}",
    )
    return resolve_compute(load_config(preset="proposed", overrides=[*common, *settings]))


def weights_row(weights: Weights) -> Results:
    """For the results."""
    return {"name": weights.name, "sha256": weights.sha256}


def objective(engine: Engine, unit: Unit) -> tuple[Objective, Images]:
    """What a unit is optimised for, and its contents."""
    loaded = [engine.loader.pair(pair) for pair in unit.pairs]
    contents = engine.loader.batch([inputs.content for inputs in loaded])
    return engine.objective(loaded, contents), contents


@torch.no_grad()
def loss_left(judge: Objective, images: torch.Tensor, contents: Images) -> list[float]:
    """Of each image, over that of its content."""
    share = judge.losses(images).total / judge.losses(contents.pixels).total
    return [float(value) for value in share]
