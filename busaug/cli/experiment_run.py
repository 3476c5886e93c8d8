"""``busaug experiment run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from busaug import console
from busaug.cli.options import Distributed
from busaug.cli.shared import duration

if TYPE_CHECKING:
    from busaug.experiment.estimate import Estimate
    from busaug.experiment.study import Study


def run(
    config: Annotated[Path, typer.Argument(help="YAML file of the experiment.")],
    out: Annotated[Path, typer.Argument(help="Output folder; one of this experiment goes on.")],
    catalog: Annotated[
        Path | None,
        typer.Option(help="Catalog folder made by 'busaug prepare', in place of the file's."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Networks: a folder of resnet50 and vgg19 files, 'imagenet' or 'random'; "
            "default: what is found."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List jobs and the time they take; write nothing.")
    ] = False,
    distributed: Distributed = "auto",
) -> None:
    """Compare arms: make their images, train and test on every fold of every seed.

    Under torchrun or horovodrun every process takes sets and jobs as it is free.
    """
    from busaug.data.catalog import Catalog
    from busaug.distributed.communicator import agreed, node_first
    from busaug.distributed.opening import open_communicator
    from busaug.errors import InputError
    from busaug.experiment.arms import resolve_arms
    from busaug.experiment.config import load_experiment
    from busaug.experiment.estimate import estimate
    from busaug.experiment.run import run as run_experiment
    from busaug.experiment.study import Study, backbones
    from busaug.models.weights import resolve_weights

    settings = load_experiment(config)
    folder = catalog or settings.catalog
    if folder is None:
        raise InputError(f"{config} names no catalog", remedy="Say --catalog FOLDER")
    arms = resolve_arms(settings)
    with open_communicator(distributed, device=settings.device, seldom=True) as comm:
        with agreed(comm):
            source = Catalog.load(folder)
        networks = node_first(
            comm,
            lambda: {
                name: resolve_weights(weights, name, seed=settings.seed) for name in backbones(arms)
            },
        )
        study = Study(settings, source, networks)
        if comm.is_root and not all(network.pretrained for network in networks.values()):
            console.warn("no pretrained weights: the features are random, figures mean nothing")
        if dry_run:
            with agreed(comm):
                if comm.is_root:
                    _print_estimate(study, estimate(study), comm.size)
            return
        summary = run_experiment(study, out, comm=comm)
    console.result({"out": str(out), **summary})
    before = summary["jobs"] - summary["done"]
    tail = f", {before} of them before" if before else ""
    console.say(f"{summary['jobs']} jobs done{tail}: {out}")


def _print_estimate(study: Study, guess: Estimate, processes: int) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("arm", "protocol", "budget", "ratios"):
        table.add_column(name)
    for name in ("jobs", "images to make"):
        table.add_column(name, justify="right")
    table.add_column("time", justify="right")
    for arm in study.arms:
        jobs = [job for job in study.jobs if job.arm == arm.name]
        table.add_row(
            arm.name,
            ", ".join(dict.fromkeys(job.protocol for job in jobs)),
            ", ".join(dict.fromkeys(job.budget for job in jobs)),
            ", ".join(dict.fromkeys(f"{job.ratio:g}" for job in jobs if job.ratio)) or "-",
            str(len(jobs)),
            f"{guess.images[arm.name]:,}",
            duration(guess.seconds[arm.name] / processes),
        )
    console.out.print(table)
    console.say("")
    console.result(
        {
            "jobs": len(study.jobs),
            "images": dict(guess.images),
            "processes": processes,
            "seconds": sum(guess.seconds.values()) / processes,
        }
    )
    who = "one process" if processes == 1 else f"{processes} processes like this one"
    total = sum(guess.seconds.values()) / processes
    console.say(f"{len(study.jobs)} jobs, about {duration(total)} on this machine, {who}")
