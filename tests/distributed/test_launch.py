"""The launcher's environment is read right, and what would be separate runs is refused."""

from __future__ import annotations

import pytest

from busaug.distributed.communicator import Single
from busaug.distributed.launch import Place, choose, detect
from busaug.distributed.opening import open_communicator
from busaug.errors import InputError

TORCHRUN = {
    **{"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
    **{"MASTER_ADDR": "localhost", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "x"},
}
HOROVODRUN = {
    **{"HOROVOD_RANK": "3", "HOROVOD_SIZE": "4"},
    **{"HOROVOD_LOCAL_RANK": "1", "HOROVOD_LOCAL_SIZE": "2"},
}
MPIRUN = {
    **{"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"},
    **{"OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"},
}
SRUN = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"}
LAUNCHED = {"torchrun": TORCHRUN, "horovodrun": HOROVODRUN, "mpirun": MPIRUN}


@pytest.mark.parametrize("launcher", LAUNCHED)
def test_launchers_are_recognised(launcher: str) -> None:
    expected = Place(launcher, rank=3, size=4, local_rank=1, local_size=2)  # type: ignore[arg-type]
    assert detect(LAUNCHED[launcher]) == expected
    assert detect({**SRUN, **LAUNCHED[launcher]}) == expected  # srun starts the launcher


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},  # left over from something else
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"},  # a batch script, before its srun
        {**SRUN, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_one_process_is_one_process(environ: dict[str, str]) -> None:
    assert detect(environ) == Place()
    assert choose(detect(environ)) == "single"


@pytest.mark.parametrize(
    ("launcher", "choice", "backend"),
    [
        ("torchrun", "auto", "torch"),
        ("torchrun", "torch", "torch"),
        ("torchrun", "single", "single"),
        ("horovodrun", "auto", "horovod"),
        ("horovodrun", "horovod", "horovod"),
        ("mpirun", "auto", "horovod"),
        (None, "single", "single"),
    ],
)
def test_back_ends_follow_the_launcher(launcher: str | None, choice: str, backend: str) -> None:
    assert choose(detect(LAUNCHED[launcher] if launcher else {}), choice) == backend


@pytest.mark.parametrize(
    ("environ", "choice", "problem"),
    [
        (TORCHRUN, "horovod", r"does not read torchrun's variables.*horovodrun -np"),
        (HOROVODRUN, "torch", r"no MASTER_ADDR there.*torchrun --nproc-per-node"),
        ({}, "torch", r"no launcher has started.*torchrun --nproc-per-node"),
        ({}, "horovod", r"no launcher has started.*horovodrun -np"),
        (SRUN, "auto", r"srun started 4 processes that cannot find each other.*torchrun"),
        ({}, "mpi", r"unknown --distributed 'mpi'.*auto, single, torch, horovod"),
    ],
)
def test_what_would_be_separate_runs_is_refused(
    environ: dict[str, str], choice: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        choose(detect(environ), choice)


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({**TORCHRUN, **HOROVODRUN}, "variables of both torchrun and horovodrun"),
        ({**TORCHRUN, "RANK": "4"}, "RANK=4 is no rank of WORLD_SIZE=4"),
        ({**HOROVODRUN, "HOROVOD_SIZE": "two"}, "HOROVOD_SIZE='two' is not a number"),
    ],
)
def test_contradictions_are_named(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        detect(environ)


def test_alone_every_collective_is_the_identity() -> None:
    with open_communicator() as comm:
        assert isinstance(comm, Single)
        assert (comm.rank, comm.size, comm.is_root) == (0, 1, True)
        assert comm.gather("x") == ["x"]
        assert comm.share(5) == slice(0, 5)
