"""The cards of data sets and models: front matter, terms, defects, and names that attack."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from report.conftest import Runs, build_runs
from typer.testing import CliRunner

from busaug.cli.app import app
from busaug.files import read_json, read_jsonl, write_json, write_jsonl
from busaug.report.cards import code, write_cards


def cards(root: Path) -> tuple[str, str]:
    """(dataset card, model card) of the runs below a folder."""
    model, dataset = write_cards([root])
    assert (dataset.name, model.name) == ("DATASET_CARD.md", "MODEL_CARD.md")
    return dataset.read_text(encoding="utf-8"), model.read_text(encoding="utf-8")


def front(card: str) -> dict[str, Any]:
    _, head, _ = card.split("---\n", 2)
    values = yaml.safe_load(head)
    assert isinstance(values, dict)
    return values


def prose(card: str) -> str:
    """The body without code spans: what Markdown gives a meaning to."""
    return re.sub(r"`[^`\n]*`", "", card.split("---\n", 2)[2])


def change_run(folder: Path, part: str, **values: Any) -> None:
    record = read_json(folder / "run.json")
    record[part] |= values
    write_json(folder / "run.json", record)


def test_the_dataset_card_counts_and_warns(runs: Runs) -> None:
    card, _ = cards(runs.root)
    assert front(card)["size_categories"] == ["n<1K"]
    assert front(card)["license"] == "other"
    for words in (
        "Not for diagnosis",
        "6 synthetic images (8 planned)",
        "from 6 real ones",
        "| `benign` | 3 |",
        "(6 groups here)",
        "Random features",
        "Marks are restyled",
        "Relevance may leak",
        "`near-copy of its content` 1, `saturated` 1.",
        "checked on 0 of 6 contents",
        "| `set` | 6 | not known to busaug | unknown |",
    ):
        assert words in card, words


def test_the_model_card_has_the_test_figures(runs: Runs) -> None:
    _, card = cards(runs.root)
    (entry,) = front(card)["model-index"]
    (result,) = entry["results"]
    figures = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert figures == dict.fromkeys(figures, 0.756)
    assert "precision" not in figures  # undefined there
    for words in (
        "Not for diagnosis",
        "### Test split, n = 41",
        "| `malignant` | 6 | 14 |",
        "| Precision | - |",
        "2 of them synthetic; 6 updates, epoch 3 of 3",
        "Random start",
        "One split and one training",
        "saw synthetic images",
    ):
        assert words in card, words


def test_what_is_not_so_is_not_said(runs: Runs) -> None:
    change_run(
        runs.augmented, "summary", pretrained=True, unmasked=False, explained_from_elsewhere=False
    )
    change_run(runs.classifier, "summary", pretrained=True, synthetic=0)
    (runs.classifier / "metrics_test.json").unlink()
    dataset, model = cards(runs.root)
    assert "Random features" not in dataset
    assert "Marks are restyled" not in dataset
    assert "Relevance may leak" not in dataset
    assert "Random start" not in model
    assert "saw synthetic images" not in model
    assert "never tested" in model
    assert "model-index" not in front(model)


def test_terms_of_a_known_source_are_carried_over(runs: Runs) -> None:
    change_run(runs.catalog, "identity", sources={"set": "bus-bra"})
    for card in cards(runs.root):
        assert "Gómez-Flores et al., Medical Physics, 2024 | reported as CC BY 4.0 |" in card


def test_a_lost_catalog_is_told(runs: Runs) -> None:
    (runs.catalog / "catalog.jsonl").unlink()
    for card in cards(runs.root):
        assert "was not at hand" in card


HOSTILE = "<script>alert(1)</script>|`](http://x) \n# end\n---\n{{ 7 * 7 }} {% raw %}"


def test_names_cannot_leave_their_code_span(tmp_path: Path) -> None:
    runs = build_runs(tmp_path / "runs", ("benign", HOSTILE))
    rows = read_jsonl(runs.augmented / "manifest.jsonl")
    rows[-1]["reason"] = HOSTILE
    write_jsonl(runs.augmented / "manifest.jsonl", rows)
    change_run(runs.augmented, "summary", weights=HOSTILE, explainer=HOSTILE)
    change_run(runs.classifier, "summary", weights=HOSTILE)
    for card in cards(runs.root):
        front(card)
        assert "alert(1)" in card
        for forbidden in ("<", "](", "{{", "{%", "# end", "49"):
            assert forbidden not in prose(card), forbidden
        for table in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
            assert len({line.count("|") for line in table.splitlines()}) == 1, table


@pytest.mark.parametrize("name", ["", " \n", "\x00\x1b"])
def test_an_empty_name_is_a_dash(name: str) -> None:
    assert code(name) == "-"


def test_report_writes_cards_unless_told_not_to(runs: Runs) -> None:
    files = [runs.augmented / "DATASET_CARD.md", runs.classifier / "MODEL_CARD.md"]
    invoke = CliRunner().invoke
    invoke(app, ["report", str(runs.root), "--no-cards"], catch_exceptions=False)
    assert not any(file.exists() for file in files)
    result = invoke(app, ["report", str(runs.root)], catch_exceptions=False)
    assert all(file.is_file() for file in files)
    assert all(f"card: {file}" in result.stdout for file in files)
