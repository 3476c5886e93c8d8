"""What the jobs of an experiment left on disk."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from busaug.augment.manifest import MANIFEST_FILE, Manifest
from busaug.classify.metrics import METRICS
from busaug.errors import InputError
from busaug.experiment.jobs import HISTORY_FILE, JOB_FILE, JOBS, METRICS_FILE, PREDICTIONS_FILE
from busaug.experiment.pools import SETS
from busaug.experiment.statistics import Predictions
from busaug.experiment.weighted import weighted_metrics
from busaug.files import read_json, read_jsonl
from busaug.quality.transfer import outcome

_AGREES = 1e-3
"""Between a metric as kept and as it follows from the predictions kept, which are rounded."""


@dataclasses.dataclass(frozen=True, order=True)
class Condition:
    """What is the same in all folds and seeds."""

    budget: str
    protocol: str
    arm: str
    ratio: float
    """Synthetic over real images in training; 0 without synthetic ones."""


@dataclasses.dataclass(frozen=True, eq=False)
class JobResult:
    """One training and test."""

    condition: Condition
    seed: int
    fold: int
    predictions: Predictions
    train: int
    """Images trained on: the real ones, or where there are none the synthetic ones."""
    history: Sequence[Mapping[str, Any]] = ()
    """A row an epoch, where the training has epochs."""

    @property
    def turn(self) -> tuple[int, int]:
        """Jobs of two arms with the same turn were dealt the same fold."""
        return self.seed, self.fold


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """An experiment's jobs, in the order of arms and then of folds."""

    facts: Mapping[str, Any]
    """``experiment.json``."""
    classes: tuple[str, ...]
    jobs: Mapping[Condition, Sequence[JobResult]]
    made: Sequence[Mapping[str, Any]] = ()
    """What became of the images planned for each arm that has some, as ``_made`` tells."""


def read_experiment(out: Path) -> Experiment:
    """Every finished job of ``busaug experiment run``.

    Arms keep the configuration's order. Raises InputError where there is no job, for files that do
    not fit each other, and where jobs have other classes.
    """
    facts = read_json(out / "experiment.json")
    folders = sorted(file.parent for file in (out / JOBS).glob(f"*/{JOB_FILE}"))
    if not folders:
        raise InputError(
            f"{out} holds no finished job", remedy="Run 'busaug experiment run' to the end"
        )
    rows = [(read_json(folder / JOB_FILE), folder) for folder in folders]
    classes = tuple(rows[0][0]["classes"])
    for row, folder in rows:
        if tuple(row["classes"]) != classes:
            raise InputError(
                f"{folder} has the classes {', '.join(row['classes'])}, others "
                f"{', '.join(classes)}",
                remedy="Remove the jobs of another experiment",
            )
    order = {name: index for index, name in enumerate(facts.get("arms", {}))}
    found: dict[Condition, list[JobResult]] = {}
    for row, folder in rows:
        job = _job(row, folder, classes)
        found.setdefault(job.condition, []).append(job)
    ranked = sorted(
        found, key=lambda c: (c.budget, c.protocol, order.get(c.arm, len(order)), c.arm, c.ratio)
    )
    jobs = {key: sorted(found[key], key=lambda job: job.turn) for key in ranked}
    arms = list(dict.fromkeys(condition.arm for condition in ranked))
    return Experiment(facts, classes, jobs, tuple(_made(out, facts.get("arms", {}), arms)))


def _made(
    out: Path, arms: Mapping[str, Mapping[str, Any] | None], names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A row a synthetic set: counts, and medians over the accepted images, None where unknown."""
    for name in names:
        folder = out / SETS / (arms.get(name) or {}).get("images", name)
        if not (folder / MANIFEST_FILE).is_file():
            continue
        found = outcome(Manifest(folder).rows())
        counts = {key: found[key] for key in ("planned", "accepted", "rejected")}
        spreads = {figure: found[figure] for figure in ("style_left", "ssim")}
        medians = {figure: spread and spread["median"] for figure, spread in spreads.items()}
        yield {"arm": name, **counts, **medians}


def _job(row: Mapping[str, Any], folder: Path, classes: Sequence[str]) -> JobResult:
    predictions = read_predictions(folder / PREDICTIONS_FILE, classes)
    kept = read_json(folder / METRICS_FILE)
    ones = np.ones((1, len(predictions)))
    found = weighted_metrics(predictions.truth, predictions.probability, ones)
    for name in METRICS:
        value, before = float(found[name][0]), kept[name]
        if math.isnan(value) != (before is None) or (
            before is not None and abs(value - before) > _AGREES
        ):
            raise InputError(
                f"{folder}: metrics.json has {name} {before}, the predictions give {value:g}",
                remedy="Remove the folder and run the job again",
            )
    condition = Condition(row["budget"], row["protocol"], row["arm"], float(row["ratio"]))
    train = row["train"]["real"] or row["train"]["synthetic"]
    epochs = folder / HISTORY_FILE
    history = read_jsonl(epochs) if epochs.is_file() else ()
    return JobResult(condition, row["seed"], row["fold"], predictions, train, history)


def read_predictions(file: Path, classes: Sequence[str]) -> Predictions:
    """``predictions.csv``: id, group, label, fold and a column ``p_CLASS`` for every class.

    Raises InputError where columns, classes or probabilities do not fit.
    """
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        truth = np.array([classes.index(row["label"]) for row in rows], np.int64)
        probability = np.array([[float(row[f"p_{c}"]) for c in classes] for row in rows])
        ids, groups = (tuple(row[key] for row in rows) for key in ("id", "group"))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{file} cannot be read as predictions: {error!r}",
            remedy="Remove the folder and run the job again",
        ) from error
    if not rows or not np.allclose(probability.sum(axis=1), 1, atol=1e-4):
        raise InputError(
            f"{file} holds no distributions over {', '.join(classes)}",
            remedy="Remove the folder and run the job again",
        )
    return Predictions(ids, groups, truth, probability)
