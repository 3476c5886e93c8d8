"""The model of scaling on made-up runs, and the committed page."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def report():
    return runpy.run_path(str(ROOT / "benchmarks" / "scaling_report.py"))


def measured(*unit_s: float, serial: float = 4.0, prepare: float = 16.0, merge: float = 0.0):
    wall = serial + prepare + sum(unit_s)
    return {
        "launcher": None,
        "processes": 1,
        "launcher_s": 0.0,
        "units": len(unit_s),
        "wall_s": wall,
        "start_s": serial,
        "prepare_s": prepare,
        "loop_s": sum(unit_s),
        "merge_s": merge,
        "serial_s": serial,
        "unit_s": list(unit_s),
        "write_s": 0.0,
    }


@pytest.mark.parametrize("schedule", ["static", "dynamic"])
@pytest.mark.parametrize(("processes", "units"), [(8, 200), (3, 10), (64, 8)])
def test_equal_units_speed_up_as_amdahl_has_it(report, schedule, processes, units):
    one = measured(*[2.0] * 200)
    rounds = -(-units // processes)
    expected = (4 + 16 + 2 * units) / (4 + 16 / processes + 2 * rounds)
    assert report["predict"](one, processes, units, schedule) == pytest.approx(expected)


def test_drift_is_taken_out_by_the_runs_own_units(report):
    """Two processes without any loss, on a machine that is half as fast by then."""
    one = measured(*[2.0] * 10, serial=0.0, prepare=0.0)
    two = {**one, "processes": 2, "wall_s": 20.0, "unit_s": [4.0] * 10}
    assert report["_against"]([one, two], two, weak=False).startswith("1.000")
    assert report["_at_equal_unit_times"]([one, two], two) == "2.000"
    assert report["_at_equal_unit_times"]([one, two], one) == "-"


def test_merging_grows_with_the_units(report):
    one = measured(*[2.0] * 10, merge=1.0)
    fixed = 4 + 1.0 * (40 / 10 - 1)
    expected = (fixed + 16 + 2 * 40) / (fixed + 16 / 4 + 2 * 10)
    assert report["predict"](one, 4, 40, "static") == pytest.approx(expected)


def test_whoever_is_free_is_never_later_than_a_fixed_share_of_uneven_units(report):
    one = measured(*[1.0, 1.0, 1.0, 9.0] * 10)
    fixed, free = (report["predict"](one, 8, 200, each) for each in ("static", "dynamic"))
    assert 1 < fixed < free < 8


@pytest.mark.parametrize("serial", [0.0, 0.036, 0.5])
@pytest.mark.parametrize("processes", [2, 8])
def test_karp_flatt_finds_the_serial_fraction(report, serial, processes):
    speedup = 1 / (serial + (1 - serial) / processes)
    assert report["karp_flatt"](speedup, processes) == pytest.approx(serial)


def test_the_papers_table_has_the_efficiency_it_really_shows(report):
    paper = report["PAPER"]
    assert paper[1] / paper[8] / 8 == pytest.approx(0.64, abs=0.005)


def test_the_page_and_its_drawing_are_made_from_the_committed_runs(report):
    found = json.loads((DOCS / "scaling.json").read_text())
    assert report["render"](found, "scaling") == (DOCS / "scaling.md").read_text()
    drawing = report["draw"](found).decode()
    for entry in found["runs"]:
        assert entry["unit_s"], entry["launcher"]
    assert drawing.startswith("<?xml")
    assert (DOCS / "scaling.svg").is_file()
