"""Gate a build against an older one: both run in this job, in turns, on this machine.

    python benchmarks/compare_runs.py origin/main
    python benchmarks/compare_runs.py v0.1.0 --select "srad and rational" --rounds 5

BASE is a git revision; the working tree is the head. Both are installed into folders of their own
and time the head's benchmarks alternately, so that a slow moment of the machine strikes both.
A benchmark has slowed when even the head's fastest run is slower than the base's slowest run by
more than the margin: single runs on shared machines differ by 10-30 %, which this rule forgives.
Exit status: 0 nothing slowed, 1 something did, 2 the comparison could not be made.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARGIN = 0.25

# An editable install's import hook comes before PYTHONPATH; a child must not see it.
_CHILD = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in type(f).__module__]
sys.path.insert(0, sys.argv[1])
import busaug, pytest
assert busaug.__file__.startswith(sys.argv[1]), busaug.__file__
sys.exit(pytest.main(sys.argv[2:]))
"""

Minima = Mapping[str, float]
"""Benchmark to its fastest round in one run, s."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One benchmark in the base and the head; times in s."""

    name: str
    slowest_base: float
    fastest_head: float
    ratio: float
    """Fastest of all head runs over fastest of all base runs."""

    def slowed(self, margin: float) -> bool:
        return self.fastest_head > self.slowest_base * (1 + margin)


def judge(base: Sequence[Minima], head: Sequence[Minima]) -> list[Verdict]:
    """Verdicts of the benchmarks that every run of both has, in the head's order."""
    shared = [name for name in head[0] if all(name in run for run in (*base, *head))]
    return [
        Verdict(
            name,
            slowest_base=max(run[name] for run in base),
            fastest_head=min(run[name] for run in head),
            ratio=min(run[name] for run in head) / min(run[name] for run in base),
        )
        for name in shared
    ]


def turns(rounds: int) -> list[str]:
    """Base and head in turns, either first in every other round, against drifts of the clock."""
    pairs = (("base", "head"), ("head", "base"))
    return [who for index in range(rounds) for who in pairs[index % 2]]


def install(source: Path, target: Path) -> Path:
    """Build ``source`` into ``target``."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*command, str(target), str(source)], check=True)
    return target


def export(revision: str, target: Path) -> Path:
    """The files of a git revision under ``target``."""
    target.mkdir()
    archive = subprocess.run(
        ["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive.stdout, check=True)
    return target


def time_build(build: Path, select: str, results: Path) -> Minima:
    """One run of the head's benchmarks on a build. Those that fail there are left out."""
    timing = ["--benchmark-enable", "--benchmark-max-time=0.5", f"--benchmark-json={results}"]
    place = [str(ROOT / "benchmarks"), f"--rootdir={ROOT}", "-p", "no:cacheprovider"]
    subprocess.run(
        [sys.executable, "-c", _CHILD, str(build), *place, *timing, "--no-race", "-k", select],
        cwd=build,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if not results.exists() or not results.stat().st_size:
        raise RuntimeError(f"no benchmark of '{select or 'all'}' could be timed on {build.name}")
    found = json.loads(results.read_text())["benchmarks"]
    return {entry["fullname"]: entry["stats"]["min"] for entry in found}


def report(verdicts: Sequence[Verdict], margin: float) -> str:
    """A line a benchmark, the slowed ones marked."""
    lines = [f"{'head / base':>11}  benchmark"]
    for verdict in verdicts:
        mark = "  SLOWER" if verdict.slowed(margin) else ""
        lines.append(f"{verdict.ratio:11.2f}  {verdict.name}{mark}")
    slowed = sum(verdict.slowed(margin) for verdict in verdicts)
    lines.append(f"{slowed} of {len(verdicts)} slowed by more than {margin:.0%}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("base", help="git revision to compare with")
    parser.add_argument("--select", default="", help="pytest -k expression")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each build")
    parser.add_argument("--margin", type=float, default=MARGIN, help="allowed slow-down")
    options = parser.parse_args()
    runs: dict[str, list[Minima]] = {"base": [], "head": []}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        try:
            builds = {
                "base": install(export(options.base, place / "source"), place / "base"),
                "head": install(ROOT, place / "head"),
            }
            for index, who in enumerate(turns(options.rounds)):
                results = place / f"{index}.json"
                runs[who].append(time_build(builds[who], options.select, results))
        except (subprocess.CalledProcessError, RuntimeError) as error:
            print(f"compare_runs: {error}", file=sys.stderr)
            return 2
    verdicts = judge(runs["base"], runs["head"])
    print(report(verdicts, options.margin))
    if not verdicts:
        print("compare_runs: no benchmark runs on both", file=sys.stderr)
        return 2
    return int(any(verdict.slowed(options.margin) for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
