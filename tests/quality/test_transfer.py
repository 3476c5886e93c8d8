"""What became of planned images: counts and figures against those worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from busaug.data.catalog import Catalog
from busaug.experiment.quality_tables import SECTIONS
from busaug.experiment.render import markdown
from busaug.files import write_jsonl
from busaug.quality.transfer import outcome, transfers


def row(label: str, left: float, ssim: float, reason: str | None = None) -> dict[str, Any]:
    return {
        "class": label,
        "accepted": reason is None,
        "reason": reason,
        "loss_initial": 8.0,
        "loss_final": 8.0 * left,
        "style_left": left / 2,
        "ssim": ssim,
        "saturated": ssim / 100,
        "lesion_ssim": ssim if label == "benign" else None,
    }


ROWS = [
    row("malignant", 0.25, 0.75),
    row("benign", 0.5, 0.5),
    row("benign", 0.125, 0.875),
    row("benign", 0.75, 0.25, "lesion changed"),
    {"class": "benign", "accepted": False, "reason": "unreadable: a.png"},
]


_TABLES = ("transfer", "transfer-by-class")


def test_figures_are_of_the_accepted_and_counts_of_all() -> None:
    found = outcome(ROWS)
    assert (found["planned"], found["accepted"], found["lesions"]) == (5, 3, 3)
    assert found["rejected"] == {"lesion changed": 1, "unreadable": 1}
    assert found["loss_left"] == {"median": 0.25, "min": 0.125, "max": 0.5}
    assert found["style_left"] == {"median": 0.125, "min": 0.0625, "max": 0.25}
    assert found["ssim"] == {"median": 0.75, "min": 0.5, "max": 0.875}
    assert found["saturated"]["max"] == pytest.approx(0.00875)
    assert found["lesion_ssim"] == {"median": 0.5, "min": 0.25, "max": 0.875}
    assert outcome(ROWS[:1])["lesion_ssim"] is None


def test_a_figure_that_an_accepted_image_lacks_is_not_told() -> None:
    """Copies, say, have no loss; a loss of zero at the start leaves no ratio."""
    bare = {"class": "benign", "accepted": True, "reason": None}
    zero = {**ROWS[0], "loss_initial": 0.0}
    assert outcome([*ROWS, bare])["ssim"] is None
    found = outcome([*ROWS, zero])
    assert found["loss_left"] is None
    assert found["ssim"]["median"] == 0.75
    assert outcome([])["ssim"] is None


def test_each_set_and_class_has_a_row(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "made/manifest.jsonl", ROWS)
    (tmp_path / "copied").mkdir()
    write_jsonl(tmp_path / "listed/manifest.jsonl", [{"id": "a"}, {"accepted": True}])
    sets = {name: Catalog(tmp_path / name, ()) for name in ("made", "copied", "listed")}
    found = transfers(sets)
    assert [(each["set"], each["class"]) for each in found] == [
        ("made", None),
        ("made", "benign"),
        ("made", "malignant"),
    ]
    benign, malignant = found[1:]
    assert (benign["planned"], benign["accepted"], benign["lesions"]) == (4, 2, 3)
    assert (malignant["planned"], malignant["accepted"], malignant["rejected"]) == (1, 1, {})
    table, classes = (SECTIONS[name]({"transfer": found}) for name in _TABLES)
    lesions = "3 | 0.500 (0.250 to 0.875)"
    shown = "0.250 (0.500) | 0.125 (0.250) | 0.750 (0.500 to 0.875) | 0.8% (0.9%)"
    counts = "3 of 5 | lesion changed 1, unreadable 1"
    assert f"| made | {counts} | {lesions} | {shown} |" in markdown([table])
    assert "| made | malignant | 1 of 1 |  | 0 |  | 0.250 (0.250) |" in markdown([classes])
