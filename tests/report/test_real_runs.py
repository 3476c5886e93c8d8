"""The report on what the commands really write."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.test_html import Page
from typer.testing import CliRunner

from busaug.cli.app import app
from busaug.data.phantom import write_phantoms
from busaug.report.html import build

FAST = [
    *("--weights", "random", "--set", "compute.threads=1"),
    *("--set", "train.size=48", "--set", "train.epochs=1", "--set", "train.batch=8"),
    *("--set", "style.size=48", "--set", "style.iterations=3", "--set", "style.references=2"),
    *("--set", "style.calibration_pairs=2", "--set", "plan.contents=2", "--set", "gate.ssim_max=1"),
]


@pytest.mark.slow
def test_nothing_is_missing_from_a_whole_road(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "set", per_class=10, size=64, seed=0)
    catalog, model = tmp_path / "runs" / "catalog", tmp_path / "runs" / "classifier"
    augmented = tmp_path / "runs" / "augmented"
    for command in (
        ["prepare", tmp_path / "set", catalog],
        ["despeckle", catalog, tmp_path / "runs" / "despeckled", "--scales", "2"],
        ["train", catalog, model, *FAST],
        ["evaluate", model, catalog],
        ["explain", catalog, tmp_path / "runs" / "explained", "--model", model],
        ["augment", catalog, augmented, "--explainer", model, *FAST],
    ):
        result = CliRunner().invoke(app, [str(part) for part in command], catch_exceptions=False)
        assert result.exit_code == 0
    page = Page(build([tmp_path / "runs"]))
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert len(sections) == 7
    assert "Nothing was skipped, dropped or missing." in page.text
    assert [image for image in page.images() if image["alt"].startswith("Relevance weight over")]
    assert str(tmp_path) not in page.text
