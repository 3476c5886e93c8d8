"""``busaug evaluate`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from classify.conftest import build_catalog
from typer.testing import CliRunner

from busaug.cli.app import app
from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.files import read_json
from busaug.models.classifier import ClassifierInfo, build_classifier, save_classifier


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return build_catalog(tmp_path / "catalog")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    info = ClassifierInfo(("benign", "malignant"), size=32, srad_scale=0)
    torch.manual_seed(3)
    save_classifier(tmp_path / "run" / "model.safetensors", build_classifier(info), info)
    return tmp_path / "run"


def test_matrix_and_metrics_are_printed_and_kept(run: Path, catalog: Catalog) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(run), str(catalog.root)])
    assert result.exit_code == 0
    assert "test: n = 6" in result.stdout
    row = read_json(run / "metrics_test.json")
    assert row["split"] == "test"
    assert row["n"] == 6
    assert len(row["predictions"]) == 6
    shown = {line.split("  ")[0].strip() for line in result.stdout.splitlines()}
    assert {"accuracy", "balanced accuracy", "mcc", "auc", "brier"} <= shown


def test_json_is_the_file_and_nothing_else(run: Path, catalog: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    command = ["evaluate", str(run / "model.safetensors"), str(catalog.root), "--split", "val"]
    result = CliRunner().invoke(app, [*command, "--json", "--out", str(out)])
    assert json.loads(result.stdout) == read_json(out)
    assert not (run / "metrics_val.json").exists()


def test_an_unknown_split_is_refused(run: Path, catalog: Catalog) -> None:
    command = ["evaluate", str(run), str(catalog.root), "--split", "testing"]
    with pytest.raises(InputError, match="unknown split 'testing'"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_undefined_metrics_say_why(run: Path, tmp_path: Path) -> None:
    rows = [("benign-0", "benign", "test"), ("malignant-0", "malignant", "train")]
    catalog = build_catalog(tmp_path / "one", rows)  # type: ignore[arg-type]
    result = CliRunner().invoke(app, ["evaluate", str(run), str(catalog.root)])
    assert "undefined: no image is malignant" in result.stdout


def test_the_operating_point_is_shown(run: Path, catalog: Catalog) -> None:
    info = ClassifierInfo(("benign", "malignant"), size=32, srad_scale=0, threshold=0.25)
    save_classifier(run / "model.safetensors", build_classifier(info), info)
    result = CliRunner().invoke(app, ["evaluate", str(run), str(catalog.root), "--split", "all"])
    assert "all: n = 18" in result.stdout
    assert "at the threshold 0.250, fixed on validation images" in result.stdout
    assert read_json(run / "metrics_all.json")["operating_point"]["threshold"] == 0.25
