"""``busaug augment``: plan, calibrate, run every unit, merge."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from busaug import console
from busaug.augment.calibration import calibrate
from busaug.augment.engine import Engine
from busaug.augment.job import Job
from busaug.augment.manifest import Manifest, Row
from busaug.augment.plan import Unit
from busaug.augment.writer import Writer, save_catalog
from busaug.files import explain_write_errors, read_json, sweep, write_json
from busaug.runfolder import open_run
from busaug.style.features import FeatureExtractor

COMMAND = "augment"


def augment(job: Job, out: Path, *, resume: bool = False, keep_rejected: bool = False) -> list[Row]:
    """Make every planned image under ``out``; returns the manifest's rows.

    With ``resume`` a folder of the same identity is continued; finished units are left alone.
    Raises OutputError for a folder of another run, InputError for inputs that cannot be used.
    """
    # Everything that can be wrong with the inputs is found before the folder is touched.
    plan, extractor = job.plan(), job.extractor()
    run = open_run(out, COMMAND, job.identity, resume=resume)
    manifest = Manifest(out)
    if manifest.complete:
        return manifest.rows()
    balance = _balance(job, out, extractor)
    engine = job.engine(extractor, balance, out / "relevance")
    writer = Writer(out, manifest, job.config.seed, keep_rejected=keep_rejected)
    finished = manifest.finished()
    with console.progress("augment", len(plan)) as advance:
        for unit in plan:
            if unit.index not in finished:
                _do(unit, engine, writer, out / "runlog.jsonl")
            advance(len(unit.pairs))
    rows = manifest.merge(plan)
    sweep(out)
    save_catalog(out, rows, job.catalog, job.config.style.size, run.hash)
    run.write(**_summary(job, out, balance, rows))
    return rows


def _do(unit: Unit, engine: Engine, writer: Writer, log: Path) -> None:
    begin = time.perf_counter()
    rows = writer.write(unit, engine.run(unit))
    entry = {
        "unit": unit.index,
        "images": len(rows),
        "seconds": round(time.perf_counter() - begin, 3),
        "host": socket.gethostname(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    with explain_write_errors(log), log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _balance(job: Job, out: Path, extractor: FeatureExtractor) -> float:
    """The run's frozen balance: read where an earlier part of the run has left it."""
    file = out / "calibration.json"
    if not file.is_file():
        value = calibrate(job.training, job.config, extractor)
        write_json(file, {"balance": value})
    return float(read_json(file)["balance"])


def _summary(job: Job, out: Path, balance: float, rows: list[Row]) -> dict[str, Any]:
    """The run's figures for ``run.json``."""
    kept = [row for row in rows if row["accepted"]]
    return {
        "catalog": os.path.relpath(job.catalog.root.resolve(), out.resolve()),
        "weights": job.weights.name,
        "pretrained": job.weights.pretrained,
        "explainer": job.predictor.name if job.predictor else None,
        "balance": balance,
        "planned": len(rows),
        "accepted": len(kept),
        "accepted_by_class": dict(sorted(Counter(row["class"] for row in kept).items())),
        "rejected": dict(Counter(row["reason"].split(":")[0] for row in rows if row["reason"])),
        "style_left_median": median(row["style_left"] for row in kept) if kept else None,
        "ssim_median": median(row["ssim"] for row in kept) if kept else None,
    }
