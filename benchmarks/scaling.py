"""How generation scales over processes: measured runs, and a cost model fitted to them.

    python benchmarks/scaling.py CATALOG --weights FILE [--launchers torchrun horovodrun]
        [--processes 2] [--units 200] [--out docs/scaling]

Starts real runs of ``busaug augment`` with one thread a process, after a short one that fills the
disk cache. All are compared with one process that no launcher started: strong scaling with as many
units, weak scaling with a p-th of them. It comes after the first launcher and before the second, so
that a drift of the machine's speed favours one of them and not both. The machine's own limit is
measured too, by processes that share nothing.
Figures come from the runs' own logs and the clock around the launcher. Writes OUT.json
after every run, OUT.md and OUT.svg; runs that OUT.json has already are not repeated.

``scaling_report`` makes tables, a drawing and predictions of that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from scaling_report import APART, Run, draw, render

from busaug.files import read_jsonl, write_json, write_text

SETTINGS = (
    "style.size=96",
    "style.iterations=40",
    "style.calibration_pairs=8",
    "plan.unit=2",
    "compute.threads=1",
)
PAIRS = 2
"""Of a unit, as in ``SETTINGS``."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--launchers", nargs="+", default=["torchrun", "horovodrun"])
    parser.add_argument("--processes", nargs="+", type=int, default=[2])
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--no-weak", action="store_true", help="strong scaling alone")
    parser.add_argument("--out", type=Path, default=Path("docs/scaling"))
    arguments = parser.parse_args()
    found = measure(arguments)
    write_text(arguments.out.with_suffix(".md"), render(found, arguments.out.stem))
    write_text(arguments.out.with_suffix(".svg"), draw(found).decode())


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every run that is wanted and not there yet."""
    file = arguments.out.with_suffix(".json")
    found = {"cpu": _cpu(), "cores": os.cpu_count(), "settings": list(SETTINGS), "runs": []}
    if file.is_file():
        before = json.loads(file.read_text())
        if {**before, "runs": []} != found:
            sys.exit(f"{file} is of another machine or other settings: choose another --out")
        found = before
    done = {(run["launcher"], run["processes"], run["units"]) for run in found["runs"]}
    for wanted in _wanted(arguments):
        if wanted in done:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            run(arguments, None, 1, PAIRS, Path(scratch) / "warm")
            timed = run(arguments, *wanted, Path(scratch) / "out")
        found["runs"].append(timed)
        launcher, processes, units = wanted
        print(f"{launcher} p={processes} units={units}: {timed['wall_s']:.1f} s", flush=True)
        write_json(file, found)
    return found


def _wanted(arguments: argparse.Namespace) -> Iterator[tuple[str | None, int, int]]:
    """Launcher, processes and units of every run."""
    first, *others = arguments.launchers
    for processes in arguments.processes:
        yield first, processes, arguments.units
    yield None, 1, arguments.units
    for processes in arguments.processes:
        for launcher in others:
            yield launcher, processes, arguments.units
    for processes in arguments.processes:
        yield APART, processes, arguments.units
        if not arguments.no_weak:
            yield None, 1, arguments.units // processes


def run(
    arguments: argparse.Namespace, launcher: str | None, processes: int, units: int, out: Path
) -> Run:
    """One run and what its logs say; seconds."""
    starts = {
        None: [sys.executable],
        APART: [sys.executable],
        "torchrun": [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            f"--nproc-per-node={processes}",
        ],
        "horovodrun": [
            *(str(Path(sys.executable).with_name("horovodrun")), "--gloo", "-np", str(processes)),
            sys.executable,
        ],
    }
    copies = processes if launcher == APART else 1
    settings = [*SETTINGS, *_contents(arguments.catalog, PAIRS * units // copies)]
    command = [*starts[launcher], "-m", "busaug", "augment", str(arguments.catalog.resolve())]
    empty_s = _empty_seconds(starts[launcher]) if launcher not in (None, APART) else 0.0
    options = [word for text in settings for word in ("--set", text)]
    if arguments.weights:
        options += ["--weights", str(Path(arguments.weights).resolve())]
    began = time.time()
    under_way = [_start([*command, str(out / str(copy)), *options]) for copy in range(copies)]
    for process in under_way:
        said, _ = process.communicate()
        if process.returncode:
            sys.exit(f"{' '.join(process.args)}\n{said}")  # type: ignore[arg-type]
    place = {"launcher": launcher, "processes": processes, "launcher_s": empty_s}
    return {**place, **_figures(out, began, time.time())}


def _empty_seconds(start: Sequence[str]) -> float:
    """The launcher with nothing to launch."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        began = time.perf_counter()
        process = _start([*start, script.name])
        said, _ = process.communicate()
        if process.returncode:
            sys.exit(f"{' '.join(start)}\n{said}")
    return time.perf_counter() - began


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).anchor,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _contents(catalog: Path, pairs: int) -> list[str]:
    """Settings for so many pairs."""
    training = sum(row["split"] == "train" for row in read_jsonl(catalog / "catalog.jsonl"))
    sets = -(-pairs // training)
    if pairs % sets:
        sys.exit(f"{pairs} pairs cannot be had of {training} training images: try another number")
    return [f"plan.contents={pairs // sets}", f"plan.pairs={sets}"]


def _figures(out: Path, began: float, ended: float) -> Run:
    logs = [read_jsonl(log) for log in sorted(out.glob("*/runlog/*.jsonl"))]
    entries = [entry for log in logs for entry in log]
    units = [entry for entry in entries if "unit" in entry]

    def phase(name: str) -> float:
        """Of the slowest process."""
        return max(entry["seconds"] for entry in entries if entry.get("phase") == name)

    ready = [
        datetime.fromisoformat(entry["finished"]).timestamp() - began
        for entry in entries
        if entry.get("phase") == "start"
    ]
    wall = ended - began
    # what p processes do not share: all but preparation, units, and waiting for the last of them
    serial = wall - phase("calibrate") - phase("relevance")
    serial -= max(
        sum(e["seconds"] for e in log if e.get("phase") in ("units", "wait")) for log in logs
    )
    return {
        "units": len(units),
        "wall_s": wall,
        "start_s": max(ready),
        "prepare_s": phase("calibrate") + phase("relevance"),
        "loop_s": phase("units"),
        "merge_s": phase("merge"),
        "serial_s": serial,
        "unit_s": [entry["compute_s"] for entry in units],
        "write_s": sum(entry["write_s"] for entry in units),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
