"""``busaug experiment run``: make every arm's images, their features, then train and test.

Three lists of tasks (parts of sets, features of sets, jobs), each shared out among the processes
by claims. What is on disk is kept, so that a run that was stopped, or that has got more arms, goes
on where it was.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

from busaug import console
from busaug.augment.runlog import RunLog
from busaug.augment.schedule import Claims
from busaug.distributed.communicator import Communicator, Single, agreed
from busaug.environment import gather
from busaug.errors import OutputError
from busaug.experiment.arms import Arm
from busaug.experiment.full import full
from busaug.experiment.jobs import Job, JobFolders, Outcome
from busaug.experiment.pools import Pools
from busaug.experiment.probe import probe
from busaug.experiment.protocols import Partition, Rows, honest, paper
from busaug.experiment.samples import Sample, check_groups
from busaug.experiment.sets import is_made, join_parts, make_part, part_folder
from busaug.experiment.study import Study
from busaug.files import read_json, sweep, write_json
from busaug.termination import orderly_termination

EXPERIMENT_FILE = "experiment.json"
_CLAIMS = "claims"

T = TypeVar("T")


def run(study: Study, out: Path, *, comm: Communicator | None = None) -> dict[str, int]:
    """Do every job of the study that is not done yet; returns counts of jobs, on every process.

    Collective. Raises OutputError for a folder of something else, InputError for inputs that cannot
    be used, LeakError where a test image is found among training or style images.
    """
    return _Run(study, out, comm or Single()).everything()


class _Run:
    def __init__(self, study: Study, out: Path, comm: Communicator) -> None:
        self.study = study
        self.out = out
        self.comm = comm
        self.log = RunLog(out, comm)
        self.folders = JobFolders(out)
        torch.set_num_threads(study.config.threads)
        with agreed(comm):
            self.pools = Pools(study, out, comm.device(study.config.device))

    def everything(self) -> dict[str, int]:
        study = self.study
        # Everything that can be wrong with the inputs is found before the folder is touched.
        with agreed(self.comm):
            jobs, _ = study.jobs, study.dealings
            check_groups(study.catalog)
        with agreed(self.comm):
            if self.comm.is_root:
                self._open()
        with self.log.phase("sets"):
            self._make_sets()
        with self.log.phase("features"):
            if "probe" in study.config.budgets:
                self._share("features", study.arms, self.pools.pool)
        todo = self._not_done(jobs)
        with self.log.phase("jobs"), threadpool_limits(study.config.threads):
            self._share("jobs", todo, self._do)
        return {"jobs": len(jobs), "done": len(todo)}

    def _open(self) -> None:
        """Take the folder, and note what is run in it."""
        file = self.out / EXPERIMENT_FILE
        if self.out.exists() and any(self.out.iterdir()) and not file.is_file():
            raise OutputError(
                f"{self.out} is not empty and belongs to no experiment",
                remedy="Choose an empty folder",
            )
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        begun = read_json(file)["begun"] if file.is_file() else now
        environment = gather()
        del environment["weights"]  # where they lie is no matter; which they are is said
        facts = {"begun": begun, "continued": now, **self.study.facts(), "environment": environment}
        write_json(file, facts)
        sweep(self.out)

    def _make_sets(self) -> None:
        parts = range(len(self.study.parts))
        arms = list({arm.images: arm for arm in self.study.arms if arm.synthesises}.values())
        # The one part of all pairs is made by all processes together.
        together = [arm for arm in arms if arm.styled and len(parts) == 1]
        for arm in together:
            self._part(arm, 0, self.comm)
        tasks = [(arm, part) for arm in arms if arm not in together for part in parts]
        self._share(
            "sets",
            tasks,
            lambda task: self._part(*task, Single()),
            lambda task: is_made(self._part_folder(*task)),
            hushed=True,
        )
        with agreed(self.comm):
            if self.comm.is_root:
                for arm in arms:
                    join_parts(self.pools.set_folder(arm), len(parts))
        self.comm.barrier()

    def _part(self, arm: Arm, part: int, comm: Communicator) -> None:
        begin = time.perf_counter()
        weights = self.study.weights[arm.config.style.backbone] if arm.styled else None
        make_part(arm, self.study.parts[part], self._part_folder(arm, part), weights, comm)
        self.log.add(set=arm.images, part=part, seconds=round(time.perf_counter() - begin, 4))

    def _part_folder(self, arm: Arm, part: int) -> Path:
        return part_folder(self.pools.set_folder(arm), part)

    def _not_done(self, jobs: Sequence[Job]) -> list[Job]:
        """What is left, told by one process to all."""
        left: list[int] = []
        with agreed(self.comm):
            if self.comm.is_root:
                left = [
                    n for n, j in enumerate(jobs) if not self.folders.done(j, self._identity(j))
                ]
        return [jobs[number] for number in self.comm.broadcast_object(left)]

    def _identity(self, job: Job) -> dict[str, Any]:
        synthetic = self.pools.of(self.study.arm_of(job)).synthetic
        return self.study.identity(job, synthetic)

    def _do(self, job: Job) -> None:
        study, config = self.study, self.study.config
        found = self.pools.of(study.arm_of(job))
        if job.protocol == "honest":
            partition = honest(found.samples, study.dealings[job.seed], job.fold)
        else:
            partition = paper(found.samples, config.seed, job.seed)
        test = [found.samples[row] for row in partition.test]
        outcome = self._outcome(job, partition, test)
        self.folders.write(job, self._identity(job), study.catalog.labels, outcome)

    def _outcome(self, job: Job, partition: Partition, test: Sequence[Sample]) -> Outcome:
        """Train and test as the job's budget says."""
        study, arm = self.study, self.study.arm_of(job)
        if job.budget == "probe":
            strengths = study.config.probe.strengths
            probed = probe(self.pools.pool(arm), partition, job.ratio, strengths)
            counts = self._counts(arm, partition.train)
            return Outcome(test, probed.probability, {**counts, "strength": probed.strength})
        regime = study.regime(job).on(self.comm.device(study.config.device))
        with console.hushed():
            trained = full(self.pools.shown(arm), partition, job.ratio, regime)
        rows, validation = partition.stopping
        facts = {
            **self._counts(arm, rows),
            "validation": len(validation),
            "updates": trained.fit.updates,
            "epochs": len(trained.fit.history),
            "best_epoch": trained.fit.best_epoch,
            "best_val_loss": trained.fit.best_val_loss,
        }
        return Outcome(test, trained.probability, facts, trained.fit.history)

    def _counts(self, arm: Arm, rows: Rows) -> dict[str, Any]:
        """Images trained on."""
        synthetic = int(self.pools.of(arm).is_synthetic[rows].sum())
        return {"train": {"real": len(rows) - synthetic, "synthetic": synthetic}}

    def _share(
        self,
        what: str,
        tasks: Sequence[T],
        do: Callable[[T], object],
        made: Callable[[T], bool] = lambda task: False,
        *,
        hushed: bool = False,
    ) -> None:
        """Do every task once, on whichever process is free; all leave together.

        Those that ``made`` finds on disk are only checked: they tell nothing of the time left.
        """
        claims = Claims(self.out / _CLAIMS / what)
        with agreed(self.comm):
            if self.comm.is_root:
                claims.clear()
        new = [not made(task) for task in tasks]
        with console.progress(what, len(tasks), done=new.count(False)) as advance:
            shown = 0
            with orderly_termination():
                for number in claims.take(range(len(tasks))):
                    with console.hushed() if hushed else contextlib.nullcontext():
                        do(tasks[number])
                    # tasks come in order: those before are taken, by this process or others
                    advance(sum(new[shown : number + 1]))
                    shown = number + 1
            self.comm.barrier()
            advance(sum(new[shown:]))
        with agreed(self.comm):
            if self.comm.is_root:
                claims.remove()
