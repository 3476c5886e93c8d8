"""Which launcher started this process, told from the environment alone; no torch is imported."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Literal

from busaug.errors import InputError

Backend = Literal["single", "torch", "horovod"]
CHOICES = ("auto", "single", "torch", "horovod")
Launcher = Literal["torchrun", "horovodrun", "mpirun", "srun"]


@dataclasses.dataclass(frozen=True)
class _Variables:
    """Where a launcher writes what; it counts as present where all ``needed`` are."""

    needed: tuple[str, ...]
    rank: str
    size: str
    local_rank: str
    local_size: str


_LAUNCHERS: Mapping[Launcher, _Variables] = {
    # torchrun's four; without LOCAL_RANK (a scheduler's own template) the process is alone there
    "torchrun": _Variables(
        ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ),
    "horovodrun": _Variables(
        ("HOROVOD_RANK", "HOROVOD_SIZE"),
        *("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK", "HOROVOD_LOCAL_SIZE"),
    ),
    "mpirun": _Variables(
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        *("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        *("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ),
    # a batch script of one task has SLURM_PROCID as well, but is no step of several tasks
    "srun": _Variables(
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
        *("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""),
    ),
}

_ORDER: tuple[Launcher, ...] = ("torchrun", "horovodrun", "mpirun", "srun")
"""The innermost first: srun starts torchrun, and horovodrun may start mpirun."""


@dataclasses.dataclass(frozen=True)
class Place:
    """This process among its peers."""

    launcher: Launcher | None = None
    """None where nothing has started several processes."""
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among the processes of this machine, as is ``local_size``."""
    local_size: int = 1

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size}"


def detect(environ: Mapping[str, str] = os.environ) -> Place:
    """The place that the environment tells of. Raises InputError where it contradicts itself."""
    found = [name for name in _ORDER if all(key in environ for key in _LAUNCHERS[name].needed)]
    if "torchrun" in found and "horovodrun" in found:
        raise InputError(
            "the environment has the variables of both torchrun and horovodrun",
            remedy="Start one launcher inside no other",
        )
    for launcher in found:
        names = _LAUNCHERS[launcher]
        place = Place(
            launcher,
            rank=_number(environ, names.rank, 0),
            size=_number(environ, names.size, 1),
            local_rank=_number(environ, names.local_rank, 0),
            local_size=_number(environ, names.local_size, 1),
        )
        if not 0 <= place.rank < place.size:
            raise InputError(
                f"{names.rank}={place.rank} is no rank of {names.size}={place.size}",
                remedy=f"Start with {launcher}, and set neither by hand",
            )
        if launcher == "srun" and place.size == 1:
            continue  # an ordinary step of one task
        return place
    return Place()


def choose(place: Place, choice: str = "auto") -> Backend:
    """The back end for a process at ``place``; ``choice`` overrides what the launcher suggests.

    Raises InputError for another word than ``CHOICES``, and for a pair that would end in as many
    separate runs or in a hang.
    """
    if choice not in CHOICES:
        raise InputError(
            f"unknown --distributed {choice!r}", remedy=f"Use one of {', '.join(CHOICES)}"
        )
    if choice == "single":
        return "single"
    if place.launcher is None:
        if choice == "auto":
            return "single"
        raise InputError(
            f"--distributed {choice}: no launcher has started this process",
            remedy=f"Start it with {_LINES[choice]}",
        )
    if place.launcher == "srun":
        raise InputError(
            f"srun started {place.size} processes that cannot find each other",
            remedy=f"Let srun start one {_LINES['torch']} a node, or say --distributed single "
            "for separate runs",
        )
    native: Backend = "torch" if place.launcher == "torchrun" else "horovod"
    if choice not in ("auto", native):
        reason = (
            "Horovod does not read torchrun's variables: every process would be alone"
            if native == "torch"
            else "torch.distributed finds no MASTER_ADDR there"
        )
        raise InputError(
            f"--distributed {choice} under {place.launcher}: {reason}",
            remedy=f"Start with {_LINES[choice]}, or say --distributed {native}",
        )
    return native


_LINES: Mapping[str, str] = {
    "torch": "torchrun --nproc-per-node N -m busaug ...",
    "horovod": "horovodrun -np N busaug ...",
}


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(environ.get(name, default))
    except ValueError as error:
        raise InputError(
            f"{name}={environ[name]!r} is not a number", remedy="Start with the launcher itself"
        ) from error
