"""``busaug augment`` on several processes: the same bytes, whatever happens on the way."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from augment.conftest import FAST, contents_of, make_catalog
from distributed.launching import LAUNCHERS, WORKER, command, launch, start

from busaug.files import read_jsonl

pytestmark = pytest.mark.dist

SETTINGS = (*FAST, "plan.pairs=4", "relevance.mode=LA", "style.size=48")
KILLS = int(os.environ.get("BUSAUG_TEST_KILLS", "2"))


def _arguments(root: Path, out: Path, *options: str) -> list[str]:
    settings = [text for setting in SETTINGS for text in ("--set", setting)]
    return ["augment", str(root / "catalog"), str(out), "--weights", "random", *settings, *options]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generation")
    make_catalog(folder / "catalog")
    return folder


@pytest.fixture
def out(root: Path, tmp_path: Path) -> Path:
    """A folder of this test as near to the Catalog as the undisturbed run's."""
    return root / tmp_path.name


@pytest.fixture(scope="module")
def undisturbed(root: Path) -> dict[str, str]:
    """What one process makes."""
    ended = launch(None, 1, "-m", "busaug", *_arguments(root, root / "alone"))
    assert ended.code == 0, ended.output
    assert "40 of 40 images accepted" in ended.output
    return contents_of(root / "alone")


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize(("processes", "schedule"), [(2, "static"), (3, "dynamic")])
def test_the_bytes_do_not_depend_on_the_processes(
    root: Path,
    out: Path,
    undisturbed: dict[str, str],
    launcher: str,
    processes: int,
    schedule: str,
) -> None:
    arguments = _arguments(root, out, "--schedule", schedule)
    ended = launch(launcher, processes, "-m", "busaug", *arguments)
    assert ended.code == 0, ended.output
    assert ended.output.count("40 of 40 images accepted") == 1
    assert contents_of(out) == undisturbed
    units = [entry for log in (out / "runlog").iterdir() for entry in read_jsonl(log)]
    made = [entry["unit"] for entry in units if "unit" in entry]
    assert sorted(made) == list(range(14))
    assert {entry["rank"] for entry in units} == set(range(processes))


def test_a_lost_worker_is_replaced_by_torchruns_restarts(
    root: Path, out: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    ended = launch(
        "torchrun",
        2,
        str(WORKER),
        "augments_and_dies_once",
        str(tmp_path / "died"),
        *_arguments(root, out),
        options=("--max-restarts=2",),
    )
    assert (tmp_path / "died").is_file()
    assert ended.code == 0, ended.output
    assert contents_of(out) == undisturbed


@pytest.mark.parametrize("name", ["webdataset", "parquet"])
def test_shards_are_the_same_from_two_processes_of_which_one_is_lost_amid_packing(
    root: Path, out: Path, tmp_path: Path, name: str
) -> None:
    """Four shards of six images; a process is killed in its second."""
    changes = ("output.shard=6", "plan.pairs=2", "relevance.mode=L0", "style.size=32")
    options = ["--format", name, *(text for change in changes for text in ("--set", change))]
    ended = launch(None, 1, "-m", "busaug", *_arguments(root, root / name, *options))
    assert ended.code == 0, ended.output
    alone = contents_of(root / name)
    assert sum(file.startswith("shards/") for file in alone) == 4
    ended = launch(
        "torchrun",
        2,
        str(WORKER),
        "augments_and_dies_once",
        str(tmp_path / "packing"),
        *_arguments(root, out, *options),
        options=("--max-restarts=2",),
    )
    assert (tmp_path / "packing").is_file()
    assert ended.code == 0, ended.output
    assert contents_of(out) == alone
    log = [entry for file in (out / "runlog").iterdir() for entry in read_jsonl(file)]
    assert sorted(entry["unit"] for entry in log if "unit" in entry) == list(range(7))  # once each


def test_sigterm_ends_a_run_that_the_same_command_continues(
    root: Path, out: Path, undisturbed: dict[str, str]
) -> None:
    arguments = ["-m", "busaug", *_arguments(root, out)]
    process = start(command(None, 1, *arguments))
    while not list(out.glob("units/*.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in output
    assert not list(out.rglob("*.part"))
    assert not (out / "manifest.jsonl").exists()
    ended = launch(None, 1, *arguments)
    assert ended.code == 0, ended.output
    assert contents_of(out) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_killed_at_any_moment_and_resumed(
    root: Path, out: Path, undisturbed: dict[str, str], launcher: str
) -> None:
    """The whole job, the launcher alone, or one rank: SIGKILL, then the same command again."""
    chance = random.Random(7)
    whole_s = _seconds(launcher, root, out)
    for number in range(KILLS):
        shutil.rmtree(out)
        schedule = ("static", "dynamic")[number % 2]
        arguments = ["-m", "busaug", *_arguments(root, out, "--schedule", schedule)]
        process = start(command(launcher, 2, *arguments))
        time.sleep(chance.uniform(0.2, 1.0) * whole_s)
        victim = ("job", "launcher", "rank")[number % 3]
        ranks = _descendants(process.pid)
        killed = {"job": [*ranks, process.pid], "launcher": [process.pid], "rank": ranks[-1:]}
        for pid in killed[victim]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
        left = [pid for pid in ranks if not _ends(pid)]
        assert not left, f"kill {number} ({victim}) leaves {left} running"
        ended = launch(launcher, 2, *arguments)
        assert ended.code == 0, ended.output
        assert contents_of(out) == undisturbed, f"kill {number} ({victim})"


def _seconds(launcher: str, root: Path, out: Path) -> float:
    begin = time.monotonic()
    assert launch(launcher, 2, "-m", "busaug", *_arguments(root, out)).code == 0
    return time.monotonic() - begin


def _descendants(parent: int) -> list[int]:
    """Processes below this one, from the kernel's own lists (Linux)."""
    found = []
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        found += [int(child), *_descendants(int(child))]
    return found


def _ends(pid: int) -> bool:
    """Whether a process has gone within ten seconds; one that nobody has waited for yet has."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False
