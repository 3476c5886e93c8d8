"""``busaug experiment table`` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiment.folders import write_experiment
from typer.testing import CliRunner

from busaug.cli.app import app
from busaug.errors import InputError


def run(*arguments: str | Path) -> str:
    command = ["experiment", "table", *map(str, arguments)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_tables_come_from_the_folder_or_from_the_file_alike(tmp_path: Path) -> None:
    out, file = write_experiment(tmp_path / "out"), tmp_path / "results.json"
    printed = run(out, "--replicates", "100", "--save", file)
    assert "The paper's claims" in printed
    assert "AUC less that of none" in printed
    again = run(file)
    assert printed.startswith(again)
    page = tmp_path / "tables.html"
    run(file, "--out", page)
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert run(file, "--format", "csv", "--section", "leak").startswith('"The leak in accuracy, ')
    document = tmp_path / "results.md"
    document.write_text("<!-- results: results.json claims -->\n<!-- end of results -->\n")
    run(document, "--update")
    assert "### The paper's claims" in document.read_text(encoding="utf-8")


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match="is no results file"):
        run(tmp_path / "other.json")
    with pytest.raises(InputError, match="unknown --format 'pdf'"):
        run(tmp_path / "other.json", "--format", "pdf")
    with pytest.raises(InputError, match="cannot be read"):
        run(tmp_path / "absent.md", "--update")
