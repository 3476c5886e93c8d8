"""``busaug augment``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from busaug import console
from busaug.cli.options import (
    CatalogFolder,
    ConfigFile,
    Distributed,
    Overrides,
    Preset,
    Resume,
    WeightsSource,
)
from busaug.cli.shared import duration

if TYPE_CHECKING:
    from busaug.augment.estimate import Estimate


def augment(
    catalog: CatalogFolder,
    out: Annotated[Path, typer.Argument(help="Output folder.")],
    config: ConfigFile = None,
    preset: Preset = "default",
    overrides: Overrides = None,
    pairs: Annotated[
        str | None, typer.Option(help="Reference sets a content, or 'all' same-class pairs.")
    ] = None,
    weights: WeightsSource = None,
    explainer: Annotated[
        Path | None,
        typer.Option(help="Classifier whose relevance weighs the content loss; default: ImageNet."),
    ] = None,
    styles: Annotated[
        Path | None,
        typer.Option(help="Catalog whose training images are the styles; default: the same."),
    ] = None,
    allow_leak: Annotated[
        bool,
        typer.Option(
            "--allow-leak",
            help="Take styles of another class or split too, and say so in the report.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print pairs, disk and time; write nothing.")
    ] = False,
    resume: Resume = "if-possible",
    schedule: Annotated[
        str,
        typer.Option(
            help="Units of several processes: static (every p-th) or dynamic (whoever is free)."
        ),
    ] = "static",
    image_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="png (a file an image), webdataset or parquet; default: webdataset beyond 10,000.",
        ),
    ] = None,
    keep_rejected: Annotated[
        bool, typer.Option("--keep-rejected", help="Keep rejected images in OUT/rejected.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where any planned image is rejected.")
    ] = False,
    distributed: Distributed = "auto",
) -> None:
    """Make styled variants of the training images, same class, training split only.

    Under torchrun or horovodrun every process makes its share of the images.
    """
    from busaug.augment.estimate import estimate
    from busaug.augment.job import Job
    from busaug.augment.run import Options
    from busaug.augment.run import augment as run_augment
    from busaug.augment.schedule import parse_schedule
    from busaug.cli.shared import parse_resume, resolve_compute
    from busaug.config import load_config
    from busaug.data.catalog import Catalog
    from busaug.distributed.communicator import agreed, node_first
    from busaug.distributed.opening import open_communicator
    from busaug.errors import InputError
    from busaug.explain.predictor import classifier_predictor
    from busaug.models.weights import resolve_weights

    if allow_leak and styles is None:
        raise InputError(
            "--allow-leak is about styles of another Catalog, and none is named",
            remedy="Name one with --styles, or leave it out",
        )
    settings = list(overrides or ())
    if pairs is not None:
        settings.append(f"plan.pairs={pairs}")
    if image_format is not None:
        settings.append(f"output.format={image_format}")
    if keep_rejected:
        settings.append("output.keep_rejected=true")
    resolved = resolve_compute(load_config(config, preset=preset, overrides=settings))
    options = Options(parse_resume(resume), parse_schedule(schedule))
    with open_communicator(distributed, device=resolved.compute.device, seldom=True) as comm:
        with agreed(comm):
            source = Catalog.load(catalog)
            bank = Catalog.load(styles) if styles else None
        start = node_first(
            comm, lambda: resolve_weights(weights, resolved.style.backbone, seed=resolved.seed)
        )
        with agreed(comm):
            predictor = classifier_predictor(explainer) if explainer else None
            job = Job(source, resolved, start, predictor, bank, allow_leak)
            leaks = job.sources.leaks
        for leak in leaks if comm.is_root else ():
            console.warn(f"{out} leaks: {leak}")
        if not start.pretrained and comm.is_root:
            console.warn(
                "no pretrained weights: the features are random, results are of lower quality"
            )
        if comm.is_root and job.unmasked:
            console.warn(
                f"{' or '.join(map(str, filter(None, (catalog, styles))))} has no overlay masks:"
                " burnt-in text and calipers, if there are any, are restyled like tissue; make the"
                " Catalog again with 'busaug prepare'"
            )
        if comm.is_root and job.explained_from_elsewhere:
            console.warn(
                f"{explainer} was not trained on {catalog}, as far as is known: relevance leaks if"
                " it has seen images that are tested later"
            )
        if dry_run:
            with agreed(comm):
                if comm.is_root:
                    _print_estimate(estimate(job), comm.size)
            return
        summary = run_augment(job, out, comm=comm, options=options)
    console.result({"out": str(out), **summary})
    console.say(f"{summary['accepted']} of {summary['planned']} images accepted: {out}")
    for reason, count in summary["rejected"].items():
        console.say(f"  rejected, {reason}: {count}")
    if strict and summary["rejected"]:
        raise typer.Exit(1)


def _print_estimate(guess: Estimate, processes: int) -> None:
    console.result(
        {
            "pairs": guess.pairs,
            "units": guess.units,
            "bytes": guess.bytes,
            "format": guess.format,
            "processes": processes,
            "seconds": guess.seconds / processes,
        }
    )
    parts = ", ".join(f"{label} {count:,}" for label, count in guess.pairs.items())
    console.say(f"pairs: {guess.total:,} ({parts}) in {guess.units:,} units")
    console.say(f"disk: about {guess.bytes / 2**20:,.1f} MiB as {guess.format}")
    who = "one process" if processes == 1 else f"{processes} processes like this one"
    console.say(f"time: about {duration(guess.seconds / processes)} on this machine, {who}")
