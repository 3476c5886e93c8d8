"""The end of a run: one manifest, a Catalog of the accepted images, the run's figures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from busaug.augment.framing import extent_of
from busaug.augment.job import Job
from busaug.augment.manifest import Manifest, Row
from busaug.augment.plan import Plan
from busaug.data.catalog import Catalog, Record
from busaug.files import sweep
from busaug.runfolder import RunFolder

SOURCE = "busaug augment"


def finish(
    run: RunFolder, job: Job, plan: Plan, manifest: Manifest, balance: float
) -> dict[str, Any]:
    """Merge the units' rows, write the Catalog and ``run.json``; returns the run's figures.

    ``run.json`` comes last: a run that is stopped here is finished by the next. Nobody else may
    write in the folder any more.
    """
    manifest.merge(plan)
    sweep(run.path)
    save_catalog(run, manifest.rows(), job)
    summary = _summary(job, run.path, balance, manifest.rows())
    run.write(**summary)
    manifest.drop_parts()
    job.drop_targets(run.path)
    return summary


def save_catalog(run: RunFolder, rows: Iterable[Row], job: Job) -> None:
    """Write the accepted images as ``catalog.jsonl``: training rows in their content's group."""
    style, source = job.config.style, job.catalog.by_id
    records = []
    for row in rows:
        if not row["accepted"]:
            continue
        content = source[row["content"]]
        height, width = extent_of(content, style.size, style.aspect)
        records.append(
            Record(
                id=row["id"],
                file=row["file"],
                label=row["class"],
                group=content.group,
                split="train",
                sha256=row["sha256"],
                width=width,
                height=height,
                bit_depth=content.bit_depth,
                source=f"{SOURCE} {run.hash[:12]}",
            )
        )
    Catalog(run.path, tuple(records)).save()


def _summary(job: Job, out: Path, balance: float, rows: Iterable[Row]) -> dict[str, Any]:
    planned, by_class, rejected = 0, Counter[str](), Counter[str]()
    style_left, similarity = [], []
    for row in rows:
        planned += 1
        if row["accepted"]:
            by_class[row["class"]] += 1
            style_left.append(row["style_left"])
            similarity.append(row["ssim"])
        else:
            rejected[row["reason"].split(":")[0]] += 1
    return {
        "catalog": _seen_from(out, job.catalog),
        "styles": None if job.styles is None else _seen_from(out, job.styles),
        "leaks": list(job.sources.leaks),
        "weights": job.weights.name,
        "pretrained": job.weights.pretrained,
        "explainer": job.predictor.name if job.predictor else None,
        "explained_from_elsewhere": job.explained_from_elsewhere,
        "balance": balance,
        "unmasked": job.unmasked,
        "planned": planned,
        "accepted": by_class.total(),
        "accepted_by_class": dict(sorted(by_class.items())),
        "rejected": dict(rejected),
        "style_left_median": median(style_left) if style_left else None,
        "ssim_median": median(similarity) if similarity else None,
    }


def _seen_from(out: Path, catalog: Catalog) -> str:
    return os.path.relpath(catalog.root.resolve(), out.resolve())
