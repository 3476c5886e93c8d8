"""``busaug augment``: plan, calibrate, explain, run every unit, pack, merge.

All processes of a run work in one folder on a disk that they share. Images need no gradients of
each other: the processes agree on what is left to do and meet again when all units are on disk.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from busaug import console
from busaug.augment.calibration import calibrate
from busaug.augment.engine import Engine
from busaug.augment.finish import finish
from busaug.augment.job import Job
from busaug.augment.manifest import Manifest
from busaug.augment.plan import Plan
from busaug.augment.runlog import RunLog
from busaug.augment.schedule import Claims, Schedule
from busaug.augment.store.base import Store
from busaug.augment.store.choose import open_store
from busaug.augment.writer import WriteBehind, Writer
from busaug.data.catalog import Record
from busaug.distributed.communicator import Communicator, Single, agreed
from busaug.errors import InputError, PeerFailure
from busaug.files import read_json, write_json
from busaug.runfolder import Resume, RunFolder, differences, open_run
from busaug.style.features import FeatureExtractor
from busaug.termination import orderly_termination

COMMAND = "augment"
_POLL_S = 0.1
_LOOK_S = 1.0
IDLE = timedelta(minutes=30)
"""How long a process that is done waits for any unit of the others."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How a run is made, without influence on what it makes."""

    resume: Resume = "if-possible"
    schedule: Schedule = "static"


def augment(
    job: Job, out: Path, *, comm: Communicator | None = None, options: Options | None = None
) -> dict[str, Any]:
    """Make every planned image under ``out``; returns the run's figures, on every process.

    A folder of the same identity is continued; finished units are left alone. Collective. Raises
    OutputError for a folder of another run, InputError for inputs that cannot be used or that are
    not those of the other processes, PeerFailure where another process has gone.
    """
    comm, options = comm or Single(), options or Options()
    begin = time.perf_counter()
    # Everything that can be wrong with the inputs is found before the folder is touched.
    with agreed(comm):
        plan, extractor = job.plan(), job.extractor(comm.device(job.config.compute.device))
        run = RunFolder(out, COMMAND, job.identity)
        manifest = Manifest(out)
        store = open_store(job, plan, manifest)
    root: RunFolder = comm.broadcast_object(run)
    with agreed(comm):
        _require_alike(run, root)
        if comm.is_root:
            open_run(out, COMMAND, job.identity, resume=options.resume)
    done: dict[str, Any] = comm.broadcast_object(run.summary() if comm.is_root else {})
    if done:
        return done
    claims, log = Claims(out / "claims"), RunLog(out, comm)
    with agreed(comm):
        if comm.is_root:
            claims.clear()
            manifest.forget(store.lost(manifest.finished()))
    todo: list[int] = comm.broadcast_object(manifest.missing(plan) if comm.is_root else [])
    log.add(phase="start", seconds=round(time.perf_counter() - begin, 4))

    with log.phase("calibrate"):
        balance = _balance(job, out, extractor, comm)
    engine = job.engine(extractor, balance, out, keep_targets=plan.shares_references)
    with log.phase("relevance"):
        _explain(plan.contents_of(todo), engine, comm)

    mine = todo[comm.rank :: comm.size]
    units = claims.take(todo) if options.schedule == "dynamic" else iter(mine)
    # No step that all agree on: a process that fails here ends, and its launcher ends the others.
    with orderly_termination(), _progress(manifest, plan) as progress:
        with log.phase("units"), WriteBehind(Writer(manifest, store, job.config), log) as writer:
            for index in units:
                unit = plan.work_unit(index)
                started = time.perf_counter()
                outcomes = engine.run(unit)
                writer.submit(unit, outcomes, time.perf_counter() - started)
                progress.update()
        with log.phase("wait"):
            _wait(progress, plan.units)
    comm.barrier()  # the units' files are looked for until here
    with log.phase("pack"):
        _pack(store, comm)
    with log.phase("merge"), agreed(comm):
        if comm.is_root:
            claims.remove()
            store.close()
            done = finish(run, job, plan, manifest, balance)
    return comm.broadcast_object(done)


def _require_alike(mine: RunFolder, root: RunFolder) -> None:
    """InputError unless this process would make what the root would.

    Machines may differ in what they fill in, weights may be other files there.
    """
    if mine.hash != root.hash:
        raise InputError(
            f"this process and rank 0 differ ({differences(root.identity, mine.identity)})",
            remedy="Give all machines the same files, and say with --set what each would choose",
        )


def _balance(job: Job, out: Path, extractor: FeatureExtractor, comm: Communicator) -> float:
    """The run's frozen balance: read where an earlier part of the run has left it."""
    file = out / "calibration.json"
    known = comm.broadcast_object(file.is_file() if comm.is_root else False)
    if not known:
        value = calibrate(job.sources, job.config, extractor, comm)
        with agreed(comm):
            if comm.is_root:
                write_json(file, {"balance": value})
        return value
    with agreed(comm):
        value = float(read_json(file)["balance"]) if comm.is_root else 0.0
    return comm.broadcast_object(value)


def _explain(contents: Sequence[Record], engine: Engine, comm: Communicator) -> None:
    """Relevance of every content, each computed by one process, on disk for all."""
    if engine.maps is None:
        return
    mine = contents[comm.rank :: comm.size]
    with agreed(comm), console.progress("relevance", len(contents)) as advance:
        for number, content in enumerate(mine):
            engine.explain(content)
            advance(min(comm.size, len(contents) - number * comm.size))


class _Progress:
    """Shows what all processes have on disk.

    Looking takes milliseconds where there are tens of thousands of units, and is rationed.
    """

    def __init__(self, manifest: Manifest, plan: Plan, advance: console.Advance) -> None:
        self._manifest = manifest
        self._plan = plan
        self._advance = advance
        self._shown = plan.images_in(manifest.finished())
        self._looked = time.monotonic()

    def update(self) -> None:
        """Look again if some time has gone by."""
        if time.monotonic() - self._looked > _LOOK_S:
            self.finished()

    def finished(self) -> int:
        """Look, and count the units."""
        finished = self._manifest.finished()
        self._looked = time.monotonic()
        images = self._plan.images_in(finished)
        self._advance(images - self._shown)
        self._shown = images
        return len(finished)


@contextmanager
def _progress(manifest: Manifest, plan: Plan) -> Iterator[_Progress]:
    done = plan.images_in(manifest.finished())
    with console.progress("augment", len(plan), done=done) as advance:
        yield _Progress(manifest, plan, advance)


def _pack(store: Store, comm: Communicator) -> None:
    """Every shard, each packed by one process from what all have made."""
    if not store.shards:
        return
    mine = range(comm.rank, store.shards, comm.size)
    with (
        agreed(comm),
        orderly_termination(),
        console.progress("pack", store.shards) as advance,
    ):
        for shard in mine:
            store.pack(shard)
            advance(min(comm.size, store.shards - shard + comm.rank))


def _wait(progress: _Progress, units: int) -> None:
    """Return when so many units are on disk. PeerFailure where none has come for too long."""
    count, since = progress.finished(), time.monotonic()
    while count < units:
        if time.monotonic() - since > IDLE.total_seconds():
            raise PeerFailure(
                f"no process has finished a unit for {IDLE}: {units - count} are missing"
            )
        time.sleep(_POLL_S)
        before, count = count, progress.finished()
        if count > before:
            since = time.monotonic()
