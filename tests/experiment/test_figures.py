"""Figures of a results file: one of each kind, repeatable, with what the results hold."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from experiment.folders import write_experiment
from typer.testing import CliRunner

from busaug.cli.app import app
from busaug.experiment.figures import _foremost, figures
from busaug.experiment.results import read_experiment
from busaug.experiment.summary import summarise
from busaug.files import read_json, write_json

DRAWN = ("auc", "accuracy", "balanced_accuracy")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = write_experiment(tmp_path_factory.mktemp("figures"))
    return summarise(read_experiment(out), replicates=100)


def test_every_table_has_its_figure(results: dict[str, Any]) -> None:
    drawn = figures(results)
    assert set(drawn) == {
        *(f"{m}-probe-{protocol}.svg" for m in DRAWN for protocol in ("honest", "paper")),
        *(f"{m}-gain-probe-honest.svg" for m in DRAWN),  # arms are not paired in the paper's
        *(f"{m}-leak-probe.svg" for m in DRAWN),
        *(f"{kind}-probe-{p}.svg" for kind in ("confusion", "roc") for p in ("honest", "paper")),
    }
    for svg in drawn.values():
        assert ET.fromstring(svg).tag.endswith("svg")
    assert figures(results) == drawn


def test_a_figure_follows_its_numbers(results: dict[str, Any]) -> None:
    before = figures(results)
    changed = copy.deepcopy(results)
    row = changed["conditions"][0]
    row["metrics"]["auc"].update(mean=0.5, low=None, high=None)
    row["metrics"]["accuracy"].update(mean=None, low=None, high=None)  # undefined
    row["confusion"][0][0] += 5
    row["roc"][3] = 0.9
    after = figures(changed)
    start = f"{row['budget']}-{row['protocol']}.svg"
    assert {name for name in before if before[name] != after[name]} == {
        f"{kind}-{start}" for kind in ("auc", "accuracy", "confusion", "roc")
    }


def test_arms_compared_with_others_are_drawn_under_both_names(results: dict[str, Any]) -> None:
    named = copy.deepcopy(results)
    named["contrasts"] = [{**named["comparisons"][0], "against": "flips"}]
    drawn = figures(named)
    added = set(drawn) - set(figures(results))
    assert added == {f"{metric}-contrast-probe-honest.svg" for metric in DRAWN}
    # letters are outlines, each text has its words in a comment
    assert b"<!-- proposed-la less flips, 1 -->" in drawn["auc-contrast-probe-honest.svg"]


def test_trainings_by_epochs_are_drawn(results: dict[str, Any]) -> None:
    course = {"train_loss": [0.7, 0.4], "val_loss": [0.8, 0.6], "val_accuracy": [0.5, 0.7]}
    trained = copy.deepcopy(results)
    trained["conditions"][0]["history"] = course
    drawn = figures(trained)
    (name,) = set(drawn) - set(figures(results))
    assert name == "history-probe-honest.svg"
    trained["conditions"][0]["history"] = {**course, "val_loss": [0.8, 0.5]}
    assert figures(trained)[name] != drawn[name]


def test_no_more_curves_than_colours_and_the_arms_in_question_among_them(
    results: dict[str, Any],
) -> None:
    many = copy.deepcopy(results)
    template = many["conditions"][0]
    for number in range(9):
        extra = copy.deepcopy(template)
        extra.update(arm=f"extra-{number}", ratio=1.0)
        extra["metrics"]["auc"]["mean"] = 0.9 + number / 100
        many["conditions"].append(extra)
    chosen = _foremost(many["conditions"], "none")
    shown = {row["arm"] for row in chosen}
    assert shown == {"none", "proposed-la", *(f"extra-{number}" for number in (5, 6, 7, 8))}


def test_without_the_proposed_arm_all_matrices_are_drawn(results: dict[str, Any]) -> None:
    others = copy.deepcopy(results)
    for row in others["conditions"]:
        row["arm"] = row["arm"].replace("proposed-la", "another")
    both = figures(others)["confusion-probe-honest.svg"]
    assert len(both) > len(figures(results)["confusion-probe-honest.svg"])


def test_the_command_writes_them(results: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", results)
    words = ["experiment", "figures", str(tmp_path / "results.json"), str(tmp_path / "out")]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "16 figures" in shown.output
    written = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert written == figures(read_json(tmp_path / "results.json"))
