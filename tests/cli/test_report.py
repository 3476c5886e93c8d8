"""``busaug report`` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.conftest import build_runs
from typer.testing import CliRunner

from busaug.cli.app import app
from busaug.errors import InputError


def test_the_file_lies_beside_the_runs_unless_said_otherwise(tmp_path: Path) -> None:
    runs = build_runs(tmp_path / "runs")
    result = CliRunner().invoke(app, ["report", str(runs.root)], catch_exceptions=False)
    assert result.exit_code == 0
    file = runs.root / "report.html"
    assert str(file) in result.stdout
    other = tmp_path / "pages" / "mine.html"
    folders = [str(runs.catalog), str(runs.augmented), str(runs.classifier)]
    CliRunner().invoke(app, ["report", *folders, "--out", str(other)], catch_exceptions=False)
    assert other.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert 'id="relevance"' in file.read_text(encoding="utf-8")
    assert 'id="relevance"' not in other.read_text(encoding="utf-8")


def test_nothing_is_written_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        CliRunner().invoke(app, ["report", str(tmp_path)], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []
