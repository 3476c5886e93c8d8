"""From job folders to tables: figures against scikit-learn, text against what it stands for."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiment.folders import ARMS, FOLDS, IMAGES, SEEDS, write_experiment
from rich.console import Console
from sklearn.metrics import roc_auc_score

from busaug import console
from busaug.cli import experiment_table
from busaug.errors import InputError
from busaug.experiment.claims import Claim, verdict
from busaug.experiment.quality_tables import SECTIONS as QUALITY_SECTIONS
from busaug.experiment.render import (
    csv_text,
    html_page,
    markdown,
    print_tables,
    tables_of,
    updated,
)
from busaug.experiment.results import read_experiment
from busaug.experiment.statistics import Estimate
from busaug.experiment.summary import summarise
from busaug.experiment.tables import SECTIONS, Table, tables
from busaug.files import write_jsonl
from busaug.quality.measure import FORMAT as QUALITY_FORMAT

DOCUMENTS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="module")
def results(out: Path) -> dict[str, Any]:
    return summarise(read_experiment(out), replicates=400)


def lines_of(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def condition(results: dict[str, Any], arm: str, protocol: str = "honest") -> dict[str, Any]:
    (row,) = [
        row for row in results["conditions"] if (row["arm"], row["protocol"]) == (arm, protocol)
    ]
    return dict(row)


def test_what_became_of_planned_images_is_told(out: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(out, tmp_path / "out")
    figures = {"style_left": 0.2, "ssim": 0.8}
    rows = [
        {"accepted": True, "reason": None, "style_left": 0.1, "ssim": 0.7},
        {"accepted": True, "reason": None, "style_left": 0.3, "ssim": 0.9},
        {"accepted": True, "reason": None, **figures},
        {"accepted": False, "reason": "saturated", "style_left": 0.9, "ssim": 0.1},
        {"accepted": False, "reason": "unreadable: a.png"},
    ]
    write_jsonl(copy / "sets/proposed-la/manifest.jsonl", rows)
    write_jsonl(copy / "sets/proposed-no-xai/manifest.jsonl", [{"accepted": True, "reason": None}])
    results = summarise(read_experiment(copy), replicates=100)
    styled, plain = results["made"]
    assert styled == {
        "arm": "proposed-la",
        "planned": 5,
        "accepted": 3,
        "rejected": {"saturated": 1, "unreadable": 1},
        **figures,
    }
    assert (plain["accepted"], plain["rejected"], plain["ssim"]) == (1, {}, None)
    text = markdown(tables(results, ["made"]))
    assert "| proposed-la | 5 | 3 | saturated 1, unreadable 1 | 0.200 | 0.800 |" in text
    assert "| proposed-no-xai | 1 | 1 |  |  |  |" in text


def test_the_command_names_every_section() -> None:
    assert tuple(SECTIONS) == experiment_table._SECTIONS
    assert tuple(QUALITY_SECTIONS) == experiment_table._QUALITY_SECTIONS


def test_a_mean_is_that_of_the_jobs(out: Path, results: dict[str, Any]) -> None:
    areas, right = [], []
    for folder in (out / "jobs").glob("honest-probe-proposed-la-*"):
        rows = list(csv.DictReader(lines_of(folder / "predictions.csv")))
        truth = [row["label"] == "malignant" for row in rows]
        positive = [float(row["p_malignant"]) for row in rows]
        areas.append(roc_auc_score(truth, positive))
        right += [t == (p > 0.5) for t, p in zip(truth, positive, strict=True)]
    row = condition(results, "proposed-la")
    assert len(areas) == row["jobs"] == FOLDS * SEEDS
    assert row["metrics"]["auc"]["mean"] == pytest.approx(np.mean(areas), abs=1e-6)
    counts = np.array(row["confusion"])
    assert counts.sum() == IMAGES * SEEDS
    assert np.trace(counts) == sum(right)


def test_arms_keep_their_order_and_the_better_one_is_told(results: dict[str, Any]) -> None:
    honest = [row["arm"] for row in results["conditions"] if row["protocol"] == "honest"]
    assert honest == list(ARMS)
    better, same = (row["metrics"]["auc"] for row in results["comparisons"])
    assert better["low"] > 0
    assert better["p"] <= better["p_holm"]
    assert better["p_permutation_holm"] < 0.05
    assert same["low"] < 0 < same["p_permutation"]
    plain = condition(results, "proposed-la")["metrics"]["auc"]["mean"]
    base = condition(results, "none")["metrics"]["auc"]["mean"]
    assert better["mean"] == pytest.approx(plain - base, abs=2e-6)


def test_an_arm_is_compared_with_the_one_that_its_configuration_names(
    out: Path, results: dict[str, Any], tmp_path: Path
) -> None:
    """Beside the baseline, and corrected for the comparisons of its own table alone."""
    assert results["contrasts"] == []
    copied = Path(shutil.copytree(out, tmp_path / "out"))
    facts = json.loads((copied / "experiment.json").read_text(encoding="utf-8"))
    facts["arms"]["proposed-la"] = {"against": "proposed-no-xai"}
    (copied / "experiment.json").write_text(json.dumps(facts), encoding="utf-8")
    again = summarise(read_experiment(copied), replicates=400)
    assert again["comparisons"] == results["comparisons"]
    (row,) = again["contrasts"]
    assert (row["arm"], row["against"]) == ("proposed-la", "proposed-no-xai")
    one, other = (condition(results, arm)["metrics"] for arm in (row["arm"], row["against"]))
    found = row["metrics"]["auc"]
    assert found["mean"] == pytest.approx(one["auc"]["mean"] - other["auc"]["mean"], abs=2e-6)
    assert found["p_holm"] == found["p"]
    table = next(t for t in tables(again, ["differences"]) if "another arm" in t.title)
    assert table.title == "AUC less that of another arm, probe, honest protocol"
    assert table.columns[:4] == ("arm", "ratio", "less", "difference")
    assert table.rows[0][:3] == ("proposed-la", "1", "proposed-no-xai")


def test_the_leak_is_the_difference_of_the_protocols(results: dict[str, Any]) -> None:
    assert {row["arm"] for row in results["leaks"]} == set(ARMS)
    for row in results["leaks"]:
        found = row["metrics"]["auc"]
        assert found["gap"]["mean"] == pytest.approx(
            found["paper"]["mean"] - found["honest"]["mean"], abs=2e-6
        )
        assert found["gap"]["low"] < found["gap"]["mean"] < found["gap"]["high"]


def test_only_jobs_on_the_same_images_are_compared(results: dict[str, Any]) -> None:
    assert {row["protocol"] for row in results["comparisons"]} == {"honest"}


def test_the_figures_are_those_of_the_file(out: Path, results: dict[str, Any]) -> None:
    again = summarise(read_experiment(out), replicates=400)
    assert again == results
    assert json.loads(json.dumps(results)) == results


def test_every_figure_of_a_table_is_in_the_results(results: dict[str, Any]) -> None:
    shown = {table.title: table for table in tables(results, ["metrics"])}
    table = shown["Metrics, probe, honest protocol"]
    assert table.columns[:2] == ("arm", "ratio")
    row = next(row for row in table.rows if row[0] == "proposed-la")
    first = table.columns.index("accuracy")
    found = condition(results, "proposed-la")["metrics"]["accuracy"]
    assert row[first] == f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
    assert row[1] == "1"


@pytest.mark.parametrize("width", [80, 120, 160])
def test_no_number_is_parted_on_a_terminal(
    results: dict[str, Any], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    page = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=page, width=width))
    print_tables(tables(results, ["metrics"]))
    numbers = re.findall(r"[\d.]*\d[\d.]*", page.getvalue())
    assert len(numbers) > 100
    assert [number for number in numbers if not re.fullmatch(r"\d|\d\.\d{3}", number)] == []


def test_an_undefined_metric_is_said_to_be_so(tmp_path: Path) -> None:
    """Every image called benign: no precision, no MCC, and no zero in their place."""
    out = write_experiment(tmp_path, arms={"none": 0.6})
    for folder in (out / "jobs").iterdir():
        file = folder / "predictions.csv"
        head, *rows = csv.reader(lines_of(file))
        with file.open("w", encoding="utf-8", newline="") as written:
            csv.writer(written).writerows([head, *([*row[:4], "0.75", "0.25"] for row in rows)])
        kept = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        truth = np.array([row[2] == "malignant" for row in rows])
        kept |= dict.fromkeys(("precision", "mcc")) | {
            "accuracy": float((~truth).mean()), "balanced_accuracy": 0.5, "sensitivity": 0.0,
            "specificity": 1.0, "f1": 0.0, "auc": 0.5,
            "brier": float(np.where(truth, 0.75, 0.25).__pow__(2).mean()),
            "ece": float(abs((~truth).mean() - 0.75)),
        }  # fmt: skip
        (folder / "metrics.json").write_text(json.dumps(kept), encoding="utf-8")
    results = summarise(read_experiment(out), replicates=50)
    row = condition(results, "none")
    assert row["metrics"]["precision"]["mean"] is None
    assert row["undefined"]["precision"] == {"no image was predicted malignant": FOLDS * SEEDS}
    text = markdown(tables(results, ["metrics"]))
    assert "| undefined |" in text
    assert (
        f"none: MCC is undefined in {FOLDS * SEEDS} of {FOLDS * SEEDS} jobs, all images were "
        "predicted benign" in text
    )


def test_edited_predictions_are_noticed(tmp_path: Path) -> None:
    out = write_experiment(tmp_path, arms={"none": 0.6})
    file = next((out / "jobs").iterdir()) / "predictions.csv"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(",benign,", ",malignant,", 1), encoding="utf-8")
    with pytest.raises(InputError, match="the predictions give"):
        read_experiment(out)
    file.write_text(text.replace("p_benign", "q"), encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read as predictions"):
        read_experiment(out)
    shutil.rmtree(out / "jobs")
    with pytest.raises(InputError, match="no finished job"):
        read_experiment(out)


def test_an_unknown_baseline_is_named(out: Path) -> None:
    with pytest.raises(InputError, match="baseline 'nothing'"):
        summarise(read_experiment(out), baseline="nothing", replicates=20)


def estimate(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 25, 25)


@pytest.mark.parametrize(
    ("paper", "honest", "said"),
    [
        (None, None, "not run"),
        (estimate(0.2, 0.4), None, "under the paper's protocol yes"),
        (estimate(0.2, 0.4), estimate(-0.02, 0.03), "under the paper's protocol only"),
        (None, estimate(-0.02, 0.03), "not shown: the interval holds zero"),
        (None, estimate(-0.05, -0.01), "no, worse"),
        (None, estimate(0.01, 0.05), "yes, but smaller"),
        (None, estimate(0.3, 0.5), "yes"),
    ],
)
def test_verdicts_of_a_gain(paper: Estimate | None, honest: Estimate | None, said: str) -> None:
    claim = Claim("gain", "+37.26 points", 0.3726, "proposed-la", against="none")
    assert verdict(claim, paper, honest) == said


@pytest.mark.parametrize(
    ("paper", "honest", "said"),
    [
        (None, estimate(0.90, 0.95), "yes"),
        (None, estimate(0.75, 0.85), "no, ours is lower"),
        (None, estimate(0.95, 0.99), "no, ours is higher"),
        (estimate(0.9, 0.99), estimate(0.75, 0.85), "under the paper's protocol only"),
        (estimate(0.96, 0.99), None, "under the paper's protocol no"),
        (
            estimate(0.96, 0.99),
            estimate(0.75, 0.85),
            "exceeded, under the paper's protocol only",
        ),
        (estimate(0.96, 0.99), estimate(0.95, 0.99), "no, ours is higher"),
    ],
)
def test_verdicts_of_a_level(paper: Estimate | None, honest: Estimate | None, said: str) -> None:
    claim = Claim("accuracy", "92.47 %", 0.9247, "proposed-la")
    assert verdict(claim, paper, honest) == said


def test_text_that_means_something_to_a_format_is_escaped() -> None:
    table = Table("A & B", ("a|b", "c"), (("<x>", "1, 2"),), ("note <1>",))
    assert "| a\\|b | c |" in markdown([table])
    page = html_page([table], "T")
    assert "<td>&lt;x&gt;</td>" in page
    assert "note &lt;1&gt;" in page
    assert list(csv.reader(io.StringIO(csv_text([table]))))[2] == ["<x>", "1, 2"]


def test_a_document_is_brought_up_to_date(tmp_path: Path, results: dict[str, Any]) -> None:
    (tmp_path / "found.json").write_text(json.dumps(results), encoding="utf-8")
    old = (
        "Before\n<!-- results: found.json leak claims -->\nold\n<!-- end of results -->\nafter\n"
        "<!-- results: found.json setting -->\n<!-- end of results -->\n"
    )
    new = updated(old, tmp_path)
    assert new.startswith("Before\n<!-- results: found.json leak claims -->\n\n### The leak")
    assert "\nold\n" not in new
    assert "after" in new
    assert "### Setting" in new
    assert "A \\| B, 2 cores" in new
    assert updated(new, tmp_path) == new
    with pytest.raises(InputError, match="unknown section 'leaks'"):
        updated(old.replace("leak ", "leaks "), tmp_path)
    with pytest.raises(InputError, match="no block"):
        updated("nothing", tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        updated(old.replace("found", "lost"), tmp_path)


def test_a_section_of_a_quality_file_is_refused() -> None:
    with pytest.raises(InputError, match="unknown section 'leak'"):
        tables_of({"format": QUALITY_FORMAT}, ["leak"])


def test_the_committed_tables_are_those_of_the_committed_results() -> None:
    texts = {file: file.read_text(encoding="utf-8") for file in DOCUMENTS.glob("*.md")}
    shown = {file: text for file, text in texts.items() if "\n<!-- results: " in text}
    files = sorted((DOCUMENTS / "results").glob("*.json"))
    if not shown and not files:
        pytest.skip("no results are committed: docs/*.md and docs/results/*.json")
    for text in shown.values():
        assert updated(text, DOCUMENTS) == text
    for file in files:
        named = f"<!-- results: results/{file.name}"
        assert any(named in text for text in shown.values()), f"{file.name} is shown nowhere"
