"""``busaug prepare`` as a user meets it: table, JSON, exit codes, one line of error."""

from __future__ import annotations

import json
import sys

import pytest

from busaug.cli import app
from busaug.data.catalog import Catalog
from busaug.data.phantom import write_phantoms


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "phantoms"
    write_phantoms(folder, per_class=7, size=32, seed=0)
    return folder


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["busaug", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    printed = capsys.readouterr()
    return stopped.value.code or 0, printed.out, printed.err


def test_counts_and_proof_are_printed(phantoms, tmp_path, monkeypatch, capsys):
    (phantoms / "malignant" / "malignant (8).png").write_bytes(b"broken")
    out = tmp_path / "catalog"
    code, text, problems = run(monkeypatch, capsys, "prepare", phantoms, out)
    assert code == 0
    rows = [line.split() for line in text.splitlines()]
    assert ["benign", "4", "1", "2", "7"] in rows
    assert ["all", "8", "2", "4", "14"] in rows
    assert "groups shared between splits: 0 of 14" in text
    assert "1 image could not be used" in problems
    assert len(Catalog.load(out).records) == 14


def test_json_is_all_of_standard_output(phantoms, tmp_path, monkeypatch, capsys):
    code, text, _ = run(
        monkeypatch, capsys, "prepare", phantoms, tmp_path / "c", "--classes", "benign", "--json"
    )
    summary = json.loads(text)
    assert code == 0
    assert summary["images"] == {"benign": {"train": 4, "val": 1, "test": 2}}
    assert summary["left_out"]["malignant"] >= 7
    assert summary["shared_groups"] == 0


def test_overlays_can_be_left_out(phantoms, tmp_path, monkeypatch, capsys):
    _, with_, _ = run(monkeypatch, capsys, "prepare", phantoms, tmp_path / "a")
    _, without, _ = run(monkeypatch, capsys, "prepare", phantoms, tmp_path / "b", "--no-overlays")
    assert "0 images with burnt-in marks" in with_
    assert "burnt-in" not in without


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "only-one"], "only one folder is named"),
        (["prepare", "no-such-source", "OUT"], "no-such-source does not exist"),
        (["prepare", "PHANTOMS", "OUT", "--classes", "cyst"], "Classes found: benign"),
        (["prepare", "PHANTOMS", "OUT", "--layout", "odd"], "unknown layout 'odd'"),
        (["prepare", "PHANTOMS", "PHANTOMS"], "not an empty folder"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    phantoms, tmp_path, monkeypatch, capsys, arguments, message
):
    places = {"PHANTOMS": phantoms, "OUT": tmp_path / "out"}
    code, text, problems = run(monkeypatch, capsys, *(places.get(a, a) for a in arguments))
    assert code == 2
    assert text == ""
    assert problems.startswith("error: ")
    assert problems.count("\n") == 1
    assert message in problems
    assert not (tmp_path / "out").exists()
