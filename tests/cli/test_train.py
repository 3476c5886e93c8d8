"""``busaug train`` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from classify.conftest import build_catalog
from typer.testing import CliRunner

from busaug.cli.app import app
from busaug.errors import InputError
from busaug.files import read_json

FAST = [
    *("--weights", "random", "--set", "train.size=32", "--set", "train.epochs=1"),
    *("--set", "train.batch=4", "--set", "compute.threads=1"),
]


def test_train_writes_a_run_and_says_what_it_found(tmp_path: Path) -> None:
    catalog = build_catalog(tmp_path / "catalog")
    result = CliRunner().invoke(
        app, ["train", str(catalog.root), str(tmp_path / "run"), *FAST], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "trained on benign 4, malignant 4 images; 2 updates" in result.stdout
    assert "val: n = 4" in result.stdout
    assert "predicted malignant" in result.stdout
    assert "training starts from random values" in result.stderr
    run = read_json(tmp_path / "run" / "run.json")
    assert run["command"] == "train"
    assert run["identity"]["config"]["train"]["size"] == 32
    assert run["identity"]["config"]["compute"]["threads"] == 1
    assert run["identity"]["catalog"] == catalog.hash
    assert str(tmp_path) not in (tmp_path / "run" / "run.json").read_text()


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        (["--set", "train.epoch=3"], "unknown config field train.epoch"),
        (["--set", "train.batch=1"], "train.batch=1"),
        (["--set", "compute.device=cuda:77"], "device 'cuda:77' cannot be used"),
        (["--weights", "absent.pth"], r"weights absent\.pth do not exist"),
        (["--synthetic", "absent"], "absent is not a Catalog"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, extra: list[str], problem: str
) -> None:
    catalog = build_catalog(tmp_path / "catalog")
    command = ["train", str(catalog.root), str(tmp_path / "run"), *FAST, *extra]
    with pytest.raises(InputError, match=problem) as caught:
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
