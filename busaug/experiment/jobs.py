"""Jobs: one training and test each, in a folder of its own that appears when it is done.

``OUT/jobs/JOB/`` holds ``job.json`` (what was done), ``metrics.json`` (the metrics by name, null
where undefined), ``predictions.csv`` (id, group, label, fold and a probability a class) and, of a
training by epochs, ``history.jsonl``.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from busaug.classify.metrics import Floats, score
from busaug.config import canonical_hash
from busaug.errors import OutputError
from busaug.experiment.arms import Arm
from busaug.experiment.config import Budget, ExperimentConfig, Protocol
from busaug.experiment.samples import Sample
from busaug.files import atomic_folder, read_json, write_json, write_jsonl, write_text
from busaug.runfolder import differences

JOBS = "jobs"
JOB_FILE = "job.json"
METRICS_FILE = "metrics.json"
PREDICTIONS_FILE = "predictions.csv"
HISTORY_FILE = "history.jsonl"
_DECIMALS = 9


@dataclasses.dataclass(frozen=True)
class Job:
    """An arm under a protocol and budget, one fold of one seed, at one ratio."""

    arm: str
    protocol: Protocol
    budget: Budget
    fold: int
    seed: int
    ratio: float
    """Of synthetic to real images, by weight or number; 0 for an arm without synthetic images, 1
    where all there are take part."""

    @property
    def id(self) -> str:
        return f"{self.protocol}-{self.budget}-{self.arm}-r{self.ratio:g}-s{self.seed}-f{self.fold}"


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a job."""

    test: Sequence[Sample]
    probability: Floats
    """(n, C) of the test samples."""
    facts: dict[str, Any]
    """More for ``job.json``."""
    history: Sequence[Mapping[str, Any]] = ()
    """A row an epoch."""


def list_jobs(experiment: ExperimentConfig, arms: Sequence[Arm]) -> list[Job]:
    """Every job of an experiment, in the order in which they are done.

    The paper's protocol has no folds, one split a seed, and no real images to weigh against.
    """
    ratios_of: dict[Budget, tuple[float, ...]] = {
        "probe": experiment.probe.ratios,
        "full": experiment.full.ratios,
        "full-epochs": (1.0,),
    }
    jobs = []
    for protocol in experiment.protocols:
        for budget in experiment.budgets:
            for arm in arms:
                ratios = (1.0,) if protocol == "paper" else ratios_of[budget]
                ratios = ratios if arm.synthesises else (0.0,)
                folds = 1 if protocol == "paper" else experiment.folds
                jobs += [
                    Job(arm.name, protocol, budget, fold, seed, ratio)
                    for ratio in ratios
                    for seed in range(experiment.seeds)
                    for fold in range(folds)
                ]
    return jobs


class JobFolders:
    """Where the jobs of an experiment are kept."""

    def __init__(self, out: Path) -> None:
        self._folder = out / JOBS

    def done(self, job: Job, identity: dict[str, Any]) -> bool:
        """Whether the job is on disk. OutputError for one done with another configuration."""
        file = self._folder / job.id / JOB_FILE
        if not file.is_file():
            return False
        before = read_json(file)
        if before["config_hash"] != canonical_hash(identity):
            raise OutputError(
                f"{file.parent} was made with another configuration "
                f"({differences(before['identity'], identity)})",
                remedy="Choose another output folder, or remove that one",
            )
        return True

    def write(
        self, job: Job, identity: dict[str, Any], classes: Sequence[str], outcome: Outcome
    ) -> None:
        """Keep a job's outcome; the folder appears whole."""
        truth = [classes.index(sample.label) for sample in outcome.test]
        scores = score(truth, outcome.probability, classes)
        with atomic_folder(self._folder / job.id) as folder:
            write_text(folder / PREDICTIONS_FILE, _predictions(job, classes, outcome))
            write_json(folder / METRICS_FILE, dict(scores.metrics))
            if outcome.history:
                write_jsonl(folder / HISTORY_FILE, map(dict, outcome.history))
            write_json(
                folder / JOB_FILE,
                {
                    **dataclasses.asdict(job),
                    "config_hash": canonical_hash(identity),
                    "classes": list(classes),
                    "n": scores.n,
                    "confusion": [list(row) for row in scores.confusion],
                    "undefined": dict(scores.undefined),
                    **outcome.facts,
                    "identity": identity,
                },
            )


def _predictions(job: Job, classes: Sequence[str], outcome: Outcome) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "group", "label", "fold", *(f"p_{label}" for label in classes)])
    for sample, row in zip(outcome.test, outcome.probability, strict=True):
        values = (f"{value:.{_DECIMALS}g}" for value in row)
        table.writerow([sample.id, sample.group, sample.label, job.fold, *values])
    return text.getvalue()
