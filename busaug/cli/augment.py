"""``busaug augment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from busaug import console
from busaug.cli.options import CatalogFolder, ConfigFile, Overrides, Preset, WeightsSource


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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print pairs, disk and time; write nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run with the same settings.")
    ] = False,
    keep_rejected: Annotated[
        bool, typer.Option("--keep-rejected", help="Keep rejected images in OUT/rejected.")
    ] = False,
) -> None:
    """Make styled variants of the training images, same class, training split only."""
    from busaug.augment.estimate import estimate
    from busaug.augment.job import Job
    from busaug.augment.run import augment as run_augment
    from busaug.cli.shared import resolve_compute
    from busaug.config import load_config
    from busaug.data.catalog import Catalog
    from busaug.explain.predictor import classifier_predictor
    from busaug.models.weights import resolve_weights

    settings = list(overrides or ())
    if pairs is not None:
        settings.append(f"plan.pairs={pairs}")
    resolved = resolve_compute(load_config(config, preset=preset, overrides=settings))
    job = Job(
        Catalog.load(catalog),
        resolved,
        resolve_weights(weights, resolved.style.backbone, seed=resolved.seed),
        classifier_predictor(explainer) if explainer else None,
    )
    if not job.weights.pretrained:
        console.warn("no pretrained weights: the features are random, results are of lower quality")
    if dry_run:
        guess = estimate(job)
        parts = ", ".join(f"{label} {count:,}" for label, count in guess.pairs.items())
        console.say(f"pairs: {guess.total:,} ({parts}) in {guess.units:,} units")
        console.say(f"disk: about {guess.bytes / 2**20:,.1f} MiB")
        console.say(f"time: about {_duration(guess.seconds)} on this machine, one process")
        return
    rows = run_augment(job, out, resume=resume, keep_rejected=keep_rejected)
    accepted = sum(row["accepted"] for row in rows)
    console.say(f"{accepted} of {len(rows)} images accepted: {out}")
    for row in rows:
        if row["reason"]:
            console.say(f"  rejected {row['id']}: {row['reason']}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
