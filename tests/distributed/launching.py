"""Starting real launchers, and ending all that they started."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("worker.py")
LAUNCHERS = {"torchrun": "torch", "horovodrun": "horovod"}
_FOREIGN = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "TORCHELASTIC_", "HOROVOD_", "OMPI_")


@dataclasses.dataclass(frozen=True)
class Ended:
    code: int
    output: str
    """Standard output and error of all ranks."""
    ended_at: float
    """Wall-clock time."""


def horovod_is_built() -> bool:
    """Whether the extension is there; told without importing it."""
    spec = importlib.util.find_spec("horovod")
    places = (spec.submodule_search_locations if spec else None) or []
    return any(list(Path(place).glob("torch/mpi_lib_v2*")) for place in places)


def need(launcher: str) -> None:
    if launcher == "horovodrun" and not horovod_is_built():
        pytest.skip("Horovod is absent: scripts/install_horovod.sh builds it")


def command(
    launcher: str | None, processes: int, *arguments: str, options: Sequence[str] = ()
) -> list[str]:
    """What starts ``python ARGUMENTS`` in so many processes; without a launcher in one."""
    if launcher is None:
        return [sys.executable, *arguments]
    need(launcher)
    if launcher == "torchrun":
        count = f"--nproc-per-node={processes}"
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", count]
    else:
        program = Path(sys.executable).with_name("horovodrun")
        start = [str(program), "--gloo", "-np", str(processes), *options, sys.executable]
        options = ()
    return [*start, *options, *arguments]


def launch(
    launcher: str | None,
    processes: int,
    *arguments: str,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout_s: float = 240,
) -> Ended:
    """Run ``python ARGUMENTS`` in so many processes; fails the test where it takes too long."""
    line = command(launcher, processes, *arguments, options=options)
    return run(line, env=env, timeout_s=timeout_s)


def run(
    command: list[str], *, env: Mapping[str, str] | None = None, timeout_s: float = 240
) -> Ended:
    process = start(command, env)
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"not done after {timeout_s} s:\n{output}")
    return Ended(process.returncode, output, time.time())


def start(command: list[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start it in a session of its own, away from the source tree and from foreign launchers."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith(_FOREIGN)}
    return subprocess.Popen(
        command,
        env={**inherited, "OMP_NUM_THREADS": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).anchor,
    )
