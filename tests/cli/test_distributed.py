"""``busaug train`` and ``evaluate`` under real launchers, as a user starts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from classify.conftest import build_catalog
from distributed.launching import LAUNCHERS, launch
from typer.testing import CliRunner

from busaug.cli.app import app
from busaug.files import read_json, read_jsonl

pytestmark = pytest.mark.dist

FAST = [
    *("--weights", "random", "--set", "train.size=32", "--set", "train.epochs=1"),
    *("--set", "train.batch=4", "--set", "compute.threads=1", "--set", "train.warmup_epochs=1"),
]


def predictions(file: Path) -> dict[str, Any]:
    return {row["id"]: row["probability"] for row in read_json(file)["predictions"]}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_train_and_evaluate_are_shared(launcher: str, tmp_path: Path) -> None:
    catalog = str(build_catalog(tmp_path / "catalog").root)
    ended = launch(launcher, 2, "-m", "busaug", "train", catalog, str(tmp_path / "run"), *FAST)
    assert ended.code == 0, ended.output
    assert ended.output.count("trained on benign 4, malignant 4 images; 2 updates") == 1
    assert ended.output.count("val: n = 4") == 1
    summary = read_json(tmp_path / "run" / "run.json")["summary"]
    backend = LAUNCHERS[launcher]
    assert summary["distributed"] == {"backend": backend, "processes": 2}
    assert summary["learning_rate"] == {"scaling": "none", "scaled": 1e-4, "warmup_epochs": 1}
    (row,) = read_jsonl(tmp_path / "run" / "history.jsonl")
    assert row["updates"] == 2
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    if launcher == "horovodrun":
        return
    shared, alone = tmp_path / "shared.json", tmp_path / "alone.json"
    command = ["evaluate", str(tmp_path / "run"), catalog, "--out"]
    ended = launch(launcher, 2, "-m", "busaug", *command, str(shared))
    assert ended.code == 0, ended.output
    assert ended.output.count("test: n = 6") == 1
    CliRunner().invoke(app, [*command, str(alone)], catch_exceptions=False)
    expected = predictions(alone)
    assert len(expected) == 6
    for name, probability in predictions(shared).items():
        assert probability == pytest.approx(expected.pop(name), abs=1e-5)
    assert not expected
