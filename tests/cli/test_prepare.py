"""``busaug prepare`` as a user meets it: table, JSON, exit codes, one line of error."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from data import miniatures
from data.test_dicom import dicom

from busaug.cli import app
from busaug.data.catalog import Catalog
from busaug.data.images import read_gray
from busaug.data.phantom import write_phantoms
from busaug.data.readers import READERS


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


def test_every_layout_is_named_in_the_help():
    from inspect import signature

    from busaug.cli.prepare import prepare

    (option,) = signature(prepare, eval_str=True).parameters["layout"].annotation.__metadata__
    assert all(f" {reader.name}" in option.help for reader in READERS)


def test_unfit_and_burnt_in_images_are_told(tmp_path, monkeypatch, capsys):
    source = miniatures.bus_uclm(tmp_path / "uclm")
    _, text, _ = run(monkeypatch, capsys, "prepare", source, tmp_path / "a", "--no-overlays")
    assert "unfit, dropped      Doppler frame 1, combined frame 2" in text
    loops = tmp_path / "loops"
    for number in range(4):
        for label in ("benign", "malignant"):
            seed = 10 * number + 100 * (label == "benign")
            pixels = np.stack([miniatures.picture(seed + frame) for frame in range(3)])
            file = loops / label / f"{number}.dcm"
            dicom(file, pixels, frames=3, BurnedInAnnotation="YES")
    code, _, problems = run(
        monkeypatch, capsys, "prepare", loops, tmp_path / "b", "--frame", "last"
    )
    assert code == 0
    assert "8 DICOM images declared to have burnt-in annotation" in problems
    catalog = Catalog.load(tmp_path / "b")
    pixels = read_gray(catalog.path(catalog.by_id["loops-malignant-0003"])).pixels
    np.testing.assert_array_equal(pixels, miniatures.picture(32))
    code, _, problems = run(monkeypatch, capsys, "prepare", loops, tmp_path / "c", "--frame", "0")
    assert code == 2
    assert "unknown frame '0'" in problems
