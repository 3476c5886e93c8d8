"""``busaug experiment audit`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from busaug.cli.app import app

TABLE_4 = Path(__file__).parents[1] / "experiment" / "published_table_4.csv"


def test_the_published_table_is_impossible_and_why() -> None:
    result = CliRunner().invoke(app, ["experiment", "audit", str(TABLE_4)])
    assert result.exit_code == 0
    assert "accuracy 92.47 lies outside [94.1, 99.88]" in result.stdout
    assert "1 of 1 rows are impossible" in result.stdout
    assert CliRunner().invoke(app, ["experiment", "audit", str(TABLE_4), "--strict"]).exit_code == 1


def test_a_possible_row_shows_a_matrix(tmp_path: Path) -> None:
    file = tmp_path / "fine.csv"
    file.write_text("method,accuracy,recall,specificity\n[ours],0.9,0.8,1.0\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["experiment", "audit", str(file), "--strict"])
    assert result.exit_code == 0
    assert "[ours]: for example" in result.stdout
    (row,) = json.loads(
        CliRunner().invoke(app, ["experiment", "audit", str(file), "--json"]).stdout
    )
    assert row["verdict"] == "possible"
    assert row["matrix"]["false_positive"] == 0
