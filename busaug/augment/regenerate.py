"""One image of a finished run, made again from the run's own record."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from busaug.augment.engine import Outcome
from busaug.augment.job import Job
from busaug.augment.manifest import Row
from busaug.augment.past import PastRun
from busaug.augment.writer import encode
from busaug.data.archives import read_file
from busaug.data.images import read_gray, to_float, to_gray
from busaug.device import open_device
from busaug.errors import InputError
from busaug.runfolder import differences


@dataclasses.dataclass(frozen=True)
class Again:
    """A kept image and its second making."""

    row: Row
    png: bytes
    same_bytes: bool
    same_row: bool
    """Whether every figure of the manifest came out the same."""
    largest: float
    """Largest difference of a pixel, on [0, 1]."""
    changed: float
    """Share of pixels that differ."""


def regenerate(run: PastRun, job: Job, name: str) -> Again:
    """Make the image of this id again, with its whole work unit, and compare.

    ``job`` is the run's (``PastRun.job``). Equal bytes are promised for the same kind of processor,
    the same version and libraries. Raises InputError for an id that the run has no image of, or a
    job of other networks or a Catalog with other masks.
    """
    row = next((row for row in run.manifest.rows() if row["id"] == name), None)
    if row is None:
        raise InputError(
            f"{run.folder} has no image {name!r}", remedy="Take an id of its manifest.jsonl"
        )
    if row["file"] is None:
        raise InputError(
            f"{name} was rejected ({row['reason']}), and no image of it was kept",
            remedy="Choose one that was accepted, or augment with --keep-rejected",
        )
    if job.identity != run.identity:
        raise InputError(
            f"this is not what {run.folder} was made with "
            f"({differences(run.identity, job.identity)})",
            remedy="Name the weights, the classifier and the Catalog of that run",
        )
    outcome = _make(run, job, name)
    if outcome.image is None:
        raise InputError(
            f"{name} cannot be made again: {outcome.reason}",
            remedy="Check the images of the Catalog",
        )
    picture = encode(outcome, row["file"], run.config.seed)
    before = to_float(read_gray(run.folder / row["file"]))
    now = to_float(to_gray(outcome.image, outcome.pair.content.bit_depth))
    return Again(
        row,
        picture.png,
        picture.png == read_file(run.folder / row["file"]),
        picture.row == row,
        float(np.abs(now - before).max()),
        float((now != before).mean()),
    )


def _make(run: PastRun, job: Job, name: str) -> Outcome:
    plan = job.plan()
    index = next(index for index, planned in enumerate(plan.ids()) if planned == name)
    extractor = job.extractor(open_device(job.config.compute.device))
    with tempfile.TemporaryDirectory() as scratch:  # relevance too is computed again
        engine = job.engine(extractor, run.balance, Path(scratch), keep_targets=False)
        outcomes = engine.run(plan.work_unit(index // plan.unit))
    return next(outcome for outcome in outcomes if outcome.pair.id == name)
