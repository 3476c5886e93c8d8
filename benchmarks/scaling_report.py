"""What measured runs say of scaling: tables, a drawing, and a cost model fitted to one of them.

The model is a simulation and labelled so: it deals measured unit times to p processes as the
scheduler would, and adds what was measured of start-up, shared preparation and merging.
It assumes that each process has a core of its own and that units take there what they took here.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from statistics import fmean, median, stdev
from typing import Any

from busaug.report.plots import INK, PALETTE, plot
from busaug.seeding import draw as seeded_draw

PAPER = {1: 3771.53, 2: 1953.60, 4: 1166.73, 6: 847.10, 8: 739.65}
"""Seconds by number of GPUs: Panigrahi et al. 2024 (arXiv 2411.00254), Table 3."""
APART = "apart"
"""As many processes with a p-th of the units each that know nothing of each other: what the machine
itself gives."""
PREDICTED = ((8, "one node"), (64, "eight nodes"))
_DEALINGS = 200

Run = dict[str, Any]


def karp_flatt(speedup: float, processes: int) -> float:
    """The serial fraction that explains a speed-up (Karp and Flatt 1990)."""
    return (1 / speedup - 1 / processes) / (1 - 1 / processes)


def predict(one: Run, processes: int, units: int, schedule: str) -> float:
    """Simulated speed-up over one process for a job of so many units."""
    draws = seeded_draw("scaling", processes, units, schedule)
    prepare = one["prepare_s"]
    fixed = one["serial_s"] + one["merge_s"] * (units / one["units"] - 1)
    speedups = []
    for _ in range(_DEALINGS):
        times = draws.choice(one["unit_s"], size=units)
        alone = fixed + prepare + times.sum()
        if schedule == "static":
            longest = max(times[rank::processes].sum() for rank in range(processes))
        else:
            longest = _whoever_is_free(times.tolist(), processes)
        speedups.append(alone / (fixed + prepare / processes + longest))
    return median(speedups)


def _whoever_is_free(times: Sequence[float], processes: int) -> float:
    busy = [0.0] * processes
    for seconds in times:
        heapq.heapreplace(busy, busy[0] + seconds)
    return max(busy)


def render(found: dict[str, Any], drawing: str) -> str:
    """The tables as Markdown, with the drawing of that name."""
    runs: list[Run] = found["runs"]
    lines = [
        "# Scaling of generation",
        "",
        f"`python benchmarks/scaling.py`, {found['cpu']}, {found['cores']} cores, one thread a "
        f"process, {', '.join(found['settings'])}. Wall time is around the launcher, start-up "
        "included.",
        "",
        "## Measured",
        "",
        "| launcher | p | units | wall, s | speed-up (of its units alone; Karp-Flatt) "
        "| at equal unit times | weak efficiency | serial share | start (launcher alone), s "
        "| unit, s | writing / computing |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in runs:
        p = entry["processes"]
        lines.append(
            f"| {entry['launcher'] or 'none'} | {p} | {entry['units']} | {entry['wall_s']:.1f} "
            f"| {_against(runs, entry, weak=False)} | {_at_equal_unit_times(runs, entry)} "
            f"| {_against(runs, entry, weak=True)} "
            f"| {entry['serial_s'] / entry['wall_s']:.4f} "
            f"| {entry['start_s']:.1f} ({entry['launcher_s']:.1f}) "
            f"| {fmean(entry['unit_s']):.2f} | {entry['write_s'] / sum(entry['unit_s']):.4f} |"
        )
    lines += [
        "",
        "The runs came one after the other, so a drift of the machine's speed is in the speed-ups: "
        "units of the same work took the times in the last column but one. At equal unit times "
        "compares the runs' wall times in units of their own, which takes out the drift and what "
        "neighbours cost each other, and leaves what launcher, sharing and waiting cost.",
    ]
    one = _alone(runs)
    times = one["unit_s"]
    lines += [
        "",
        "## Predicted: a simulation, not a measurement",
        "",
        f"Inputs, from the run on one process: unit {fmean(times):.3f} s (standard deviation "
        f"{stdev(times):.3f}, longest {max(times):.3f}); start-up {one['start_s']:.1f} s; "
        f"calibration and relevance {one['prepare_s']:.1f} s, shared by the processes; merging "
        f"{one['merge_s']:.3f} s for {one['units']} units, in proportion for more; all else "
        f"{one['serial_s'] - one['start_s'] - one['merge_s']:.2f} s. Each process is taken to have "
        "a core of its own, so that units take as long as alone.",
        "",
        "| job | p | static | dynamic |",
        "| --- | --- | --- | --- |",
    ]
    for units in (one["units"], 40_676):
        for p, where in PREDICTED:
            by = [predict(one, p, units, schedule) for schedule in ("static", "dynamic")]
            lines.append(f"| {units:,} units | {p}, {where} | {by[0]:.2f} | {by[1]:.2f} |")
    lines += [
        "",
        "## The paper's Table 3",
        "",
        f"![Speed-up over processes: measured, predicted, and the paper's]({drawing}.svg)",
        "",
        "| p | seconds | speed-up | efficiency | Karp-Flatt |",
        "| --- | --- | --- | --- | --- |",
    ]
    for p, seconds in PAPER.items():
        speedup = PAPER[1] / seconds
        fraction = f"{karp_flatt(speedup, p):.3f}" if p > 1 else "-"
        lines.append(f"| {p} | {seconds} | {speedup:.3f} | {speedup / p:.3f} | {fraction} |")
    lines += [
        "",
        "Its 5.09-fold speed-up on 8 GPUs is an efficiency of 64 %, and the serial fraction grows "
        "with p: the released code averages gradients of different images over all processes at "
        "every step.",
    ]
    return "\n".join(lines) + "\n"


def _against(runs: Sequence[Run], entry: Run, *, weak: bool) -> str:
    """How this run compares with one process that did the work of all, or of one (weak)."""
    p = entry["processes"]
    work = entry["units"] // p if weak else entry["units"]
    one = next((r for r in runs if r["processes"] == 1 and r["units"] == work), None)
    if p == 1 or one is None or (weak and entry["launcher"] == APART):
        return "-"
    speedup = one["wall_s"] / entry["wall_s"]
    if weak:
        return f"{speedup:.3f}"
    in_loop = one["loop_s"] / entry["loop_s"]
    return f"{speedup:.3f} ({in_loop:.3f}; {karp_flatt(speedup, p):.4f})"


def _at_equal_unit_times(runs: Sequence[Run], entry: Run) -> str:
    """The speed-up with every wall time counted in mean units of its own run."""
    one = next((r for r in runs if r["processes"] == 1 and r["units"] == entry["units"]), None)
    return "-" if entry["processes"] == 1 or one is None else f"{_without_drift(one, entry):.3f}"


def _without_drift(one: Run, entry: Run) -> float:
    walls = [run["wall_s"] / fmean(run["unit_s"]) for run in (one, entry)]
    return walls[0] / walls[1]


def draw(found: dict[str, Any]) -> bytes:
    """The paper's Table 3 as curves, beside ours, as SVG."""
    runs: list[Run] = found["runs"]
    one = _alone(runs)
    processes = list(PAPER)
    ours = [1.0, *(predict(one, p, one["units"], "static") for p in processes[1:])]
    paper = [PAPER[1] / PAPER[p] for p in processes]
    with plot("Speed-up of generation", "processes", "speed-up", width=5.2, height=3.4) as drawing:
        axes = drawing.axes
        axes.plot(processes, processes, color=INK, linestyle=":", linewidth=1, label="ideal")
        label = f"predicted from one process, {one['units']} units"
        axes.plot(processes, ours, color=PALETTE[0], linestyle="--", marker=".", label=label)
        axes.plot(processes, paper, color=PALETTE[1], marker="o", label="the paper, GPUs")
        for entry, marker in zip(_together(runs), "sD^v", strict=False):
            label = f"measured at equal unit times, {entry['launcher']}"
            speedup, colour = _without_drift(one, entry), PALETTE[2]
            axes.plot(entry["processes"], speedup, marker, color=colour, markersize=5, label=label)
        axes.set_xticks(processes)
        axes.legend(fontsize=8)
    return drawing.svg


def _alone(runs: Sequence[Run]) -> Run:
    """The longest run on one process."""
    return max((entry for entry in runs if entry["processes"] == 1), key=lambda e: e["units"])


def _together(runs: Sequence[Run]) -> list[Run]:
    """Runs of several processes with as much work as that one."""
    units = _alone(runs)["units"]
    return [
        entry
        for entry in runs
        if entry["processes"] > 1 and entry["units"] == units and entry["launcher"] != APART
    ]
