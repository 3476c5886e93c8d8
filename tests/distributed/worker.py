"""What the ranks of the tests do; started by the launchers."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from busaug.distributed.communicator import Communicator, agreed, node_first
from busaug.distributed.opening import TIMEOUT, open_communicator
from busaug.errors import InputError, PeerFailure

DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool),
)


def converse(comm: Communicator) -> dict[str, Any]:
    """What every collective gave on this rank."""
    mine = torch.arange(6).reshape(2, 3) + 10 * comm.rank
    said: dict[str, Any] = {
        "place": (comm.rank, comm.size, comm.local_rank, comm.backend),
        "gather": comm.gather({"rank": comm.rank, "text": "x" * 1000 * comm.rank}),
        "object": comm.broadcast_object(("from", comm.rank) if comm.rank == 1 else None, root=1),
        "share": [(comm.share(n).start, comm.share(n).stop) for n in (0, 1, 7)],
        "empty": comm.all_reduce(torch.empty(0)).shape,
    }
    for dtype in DTYPES:
        given = mine.to(dtype, copy=True)
        said[f"sum {dtype}"] = comm.all_reduce(given)
        said[f"max {dtype}"] = comm.all_reduce(given, "max")
        assert torch.equal(given, mine.to(dtype))
        said[f"broadcast {dtype}"] = comm.broadcast(given, root=comm.size - 1)
    said["mean"] = comm.all_reduce(mine.double(), "mean")
    said["strided"] = comm.all_reduce(mine.T)
    said["scalar"] = comm.broadcast(torch.tensor(float(comm.rank)))
    for name, call in {
        "integer mean": lambda: comm.all_reduce(mine, "mean"),
        "strided broadcast": lambda: comm.broadcast(mine.T),
        "shared device": lambda: comm.device("cuda:0"),
    }.items():
        try:
            call()
        except (ValueError, InputError) as error:
            said[name] = str(error)
    said["agreed"] = _fail_alone(comm)
    said["first"] = node_first(comm, lambda: comm.rank)
    begin = time.monotonic()
    if comm.is_root:
        time.sleep(0.5)
    comm.barrier()
    said["waited"] = time.monotonic() - begin
    return said


def _fail_alone(comm: Communicator) -> str:
    """A step that fails on the last rank only."""
    try:
        with agreed(comm):
            if comm.rank == comm.size - 1:
                raise InputError("the disk is full", remedy="Free it")
    except InputError as error:
        return f"own: {error.what}"
    except PeerFailure as failure:
        return f"peer: {failure}, {failure.reported}"
    return "nothing"


def main(what: str, folder: Path) -> None:
    torch.set_num_threads(1)
    timeout = timedelta(seconds=4) if what == "hangs" else TIMEOUT
    with open_communicator(timeout=timeout) as comm:
        if what in ("dies", "hangs"):
            _fail(what, folder, comm)
        else:
            _train(what, folder, comm)


def augment_and_die_once(mark: Path, arguments: list[str]) -> None:
    """``busaug ARGUMENTS``; one process is killed, once ever: the first to have written its third
    unit, or, where ``mark`` is called so, in the middle of packing its second shard.
    """
    from busaug.augment.store.shards import Shards
    from busaug.augment.writer import Writer
    from busaug.cli import app

    owner, name = (Shards, "_pictures") if mark.name == "packing" else (Writer, "write")
    call, calls = getattr(owner, name), 0
    deadly = 2 if mark.name == "packing" else 3

    def dying(*arguments: Any) -> Any:
        nonlocal calls
        found = call(*arguments)
        calls += 1
        if calls == deadly and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, dying)
    sys.argv = ["busaug", *arguments]
    app.main()


def _train(what: str, folder: Path, comm: Communicator) -> None:
    import training  # beside this file; costly to import

    if what == "classifier":
        _save(folder, comm, train=training.train(training.classifier(), comm, training.GENTLE))
        return
    trained = training.train(training.SmallNet(), comm)
    resumed = training.resume(comm, trained.pop("snapshots"))
    _save(folder, comm, converse=converse(comm), train=trained, resumed=resumed)


def _fail(what: str, folder: Path, comm: Communicator) -> None:
    comm.barrier()
    if comm.rank == 1:
        (folder / "left").write_text(str(time.time()))
        if what == "dies":
            os._exit(7)
        time.sleep(600)
    comm.all_reduce(torch.ones(1))


def _save(folder: Path, comm: Communicator, **said: Any) -> None:
    torch.save(said, folder / f"rank{comm.rank}.pt")


if __name__ == "__main__":
    if sys.argv[1] == "augments_and_dies_once":
        augment_and_die_once(Path(sys.argv[2]), sys.argv[3:])
    else:
        main(sys.argv[1], Path(sys.argv[2]))
