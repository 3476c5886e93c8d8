"""The part on augmented images: large runs, reasons, speckle, rows that lead outside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.conftest import STYLE_SIZE, Runs, noise
from report.test_html import Page, by_alt

from busaug.augment.engine import OUT_OF_MEMORY
from busaug.augment.gate import Difference, reject_reason
from busaug.config import GateConfig
from busaug.data.images import write_gray
from busaug.files import read_json, read_jsonl, write_json, write_jsonl
from busaug.report import augmented
from busaug.report.augmented import LISTED_MAX, REASONS, REASONS_MAX
from busaug.report.html import build


def multiply(runs: Runs, count: int) -> None:
    """``count`` images a class, the files of the first ones shared by all."""
    rows = read_jsonl(runs.augmented / "manifest.jsonl")
    write_jsonl(
        runs.augmented / "manifest.jsonl",
        (
            row | {"id": f"{row['class']}-{index:06d}", "ssim": index / count}
            for index in range(count)
            for row in (rows[index % 4], rows[4 + index % 4])
        ),
    )


def test_a_large_run_stays_small_on_the_page(runs: Runs) -> None:
    """Pictures are as many as of a small run, the list is a draw."""
    multiply(runs, 1200)
    html = build([runs.augmented])
    page = Page(html)
    rows = [attrs for tag, attrs in page.tags if tag == "tr" and "data-item" in attrs]
    assert len(rows) == LISTED_MAX
    by_outcome = dict.fromkeys(("accepted", "near-copy of its content", "saturated"), 0)
    for row in rows:
        by_outcome[row["data-outcome"]] += 1
    # 900 are accepted of each class: cut to 700, until what is rarer has its place
    assert by_outcome == {"accepted": 1400, "near-copy of its content": 300, "saturated": 300}
    assert len({row["data-name"] for row in rows}) == LISTED_MAX
    assert len([tag for tag, _ in page.tags if tag == "article"]) == 2 * 12 + 2 * 6
    for words in (
        "The list has 2,000 of 2,400 images",
        "benign 1,200 900 300",
        "Shown are 24 of 1,800, a fair draw from each class.",
        "400 images in the list: it has a draw from each class and outcome",
        "pictures of 1,776 images (accepted): a draw of 24 is shown",
    ):
        assert words in page.text
    assert len(html) < 8e6


def test_pictures_are_limited_over_all_classes(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmented, "SHEET_ROWS_MAX", 3)
    page = Page(build([runs.augmented]))
    assert len([tag for tag, _ in page.tags if tag == "article"]) == 2 + 2  # one a class, evenly


def test_many_skipped_images_are_counted(runs: Runs) -> None:
    rows = [{"file": f"set/{index}.png", "reason": "is truncated"} for index in range(500)]
    write_jsonl(runs.catalog / "skipped.jsonl", rows)
    text = Page(build([runs.catalog])).text
    assert text.count("is truncated") == 100
    assert "and 401 more, in the run's own files" in text  # with the dropped one


def test_each_reason_has_a_page_up_to_a_number(runs: Runs) -> None:
    rows = read_jsonl(runs.augmented / "manifest.jsonl")
    odd = [
        rows[3] | {"id": f"odd-{number}-{index}", "reason": f"reason {number:02d}: of {index}"}
        for number in range(REASONS_MAX + 3)
        for index in range(2)
    ]
    write_jsonl(runs.augmented / "manifest.jsonl", [*rows[:3], *odd])
    page = Page(build([runs.augmented]))
    groups = [attrs["id"] for tag, attrs in page.tags if "data-group" in attrs]
    assert groups == [
        "augmented-1-accepted",
        *(f"augmented-1-reason-{index}" for index in range(1, REASONS_MAX + 2)),
    ]
    assert "Rejected: other reasons" in page.text
    assert "rejected: reason 12: of 1" in page.text
    others = {
        attrs["data-outcome"]
        for tag, attrs in page.tags
        if tag == "tr" and attrs.get("data-page") == groups[-1]
    }
    assert others == {"reason 10", "reason 11", "reason 12"}


def test_every_reason_of_the_gate_is_explained_with_its_setting() -> None:
    fine = {"change": 0.1, "ssim": 0.8, "saturated": 0.0, "lesion_ssim": 0.9}
    found = {
        reject_reason(
            initial=initial, final=final, difference=Difference(**(fine | odd)), config=GateConfig()
        )
        for initial, final, odd in (
            (1.0, float("nan"), {}),
            (1.0, 1.0, {}),
            (1.0, 0.5, {"ssim": 1.0}),
            (1.0, 0.5, {"saturated": 1.0}),
            (1.0, 0.5, {"lesion_ssim": 0.0}),
        )
    }
    assert set(REASONS) == found | {OUT_OF_MEMORY, "covered", "unreadable"}
    named = {name for text in REASONS.values() for name in re.findall(r"{(\w+)}", text)}
    assert named <= set(GateConfig.model_fields)


def test_speckle_before_and_after_is_that_of_the_pictures(runs: Runs) -> None:
    """A result of half the content's deviation about its mean has twice its SNR."""
    rows = read_jsonl(runs.augmented / "manifest.jsonl")
    write_jsonl(runs.augmented / "manifest.jsonl", rows[:1])
    for name in ("set-0-0000", "set-0-0001", "set-0-0002"):
        flat = 0.5 + 0.2 * (noise("flat", name) - 0.5)
        write_gray(runs.catalog / "images" / f"{name}.png", flat[:STYLE_SIZE, :STYLE_SIZE], 16)
    content = 0.5 + 0.2 * (noise("flat", "set-0-0000") - 0.5)[:STYLE_SIZE, :STYLE_SIZE]
    change_catalog(runs.catalog, width=STYLE_SIZE, height=STYLE_SIZE)
    mean = content.mean()
    write_gray(runs.augmented / rows[0]["file"], mean + (content - mean) / 2, 16)
    text = Page(build([runs.root])).text
    found = re.search(r"speckle SNR ([\d.]+) to ([\d.]+), references ([\d.]+)", text)
    assert found
    before, after = float(found[1]), float(found[2])
    assert 1.8 * before < after < 2.2 * before  # the window's mean is not the image's
    assert f"benign 1 {found[1]} {found[3]} {found[2]}" in text


def change_catalog(folder: Path, **values: Any) -> None:
    """Change every record, and the hashes of the runs that were made of it."""
    from busaug.data.catalog import Catalog

    rows = [row | values for row in read_jsonl(folder / "catalog.jsonl")]
    write_jsonl(folder / "catalog.jsonl", rows)
    for run in folder.parent.glob("*/run.json"):
        record = read_json(run)
        if "catalog" in record["identity"]:
            record["identity"]["catalog"] = Catalog.load(folder).hash
            write_json(run, record)


@pytest.mark.parametrize("name", ["../outside.png", "/outside.png", "images/../../outside.png"])
def test_rows_do_not_lead_out_of_their_run(runs: Runs, name: str) -> None:
    write_gray(
        runs.root / "outside.png", np.tile(np.linspace(0, 1, 40, dtype=np.float32), (40, 1)), 8
    )
    file = runs.augmented / "manifest.jsonl"
    rows = read_jsonl(file)
    rows[0]["file"] = name.replace("/outside", f"{runs.root}/outside") if name[0] == "/" else name
    rows[1]["content"] = "../../catalog/images/set-0-0001"
    write_jsonl(file, rows)
    overlays = read_jsonl(runs.explained / "relevance.jsonl")
    overlays[0]["overlay"] = rows[0]["file"]
    write_jsonl(runs.explained / "relevance.jsonl", overlays)
    page = Page(build([runs.root]))
    assert "result missing" in page.text
    assert "the overlay of set-0-0005 cannot be read" in page.text
    assert not [i for i in page.images() if i["alt"].startswith("Result of set-0-0000 ")]
    assert by_alt(page, "Result of set-0-0002")


def test_odd_values_in_rows_are_unknown_not_a_crash(runs: Runs) -> None:
    file = runs.augmented / "manifest.jsonl"
    rows = read_jsonl(file)
    rows[0] |= {"ssim": "high", "loss_final": None, "loss_initial": 0, "style_left": True}
    rows[1] |= {"references": None, "reason": 3, "accepted": False}
    write_jsonl(file, rows)
    with file.open("a") as lines:
        lines.write("[1, 2]\n")
    page = Page(build([runs.augmented]))
    first = next(attrs for tag, attrs in page.tags if attrs.get("data-name") == rows[0]["id"])
    assert not {"data-ssim", "data-loss", "data-loss-left", "data-style-left"} & set(first)
    assert "set-0-0000--0000 benign accepted - - - -" in page.text
    assert "set-0-0001--0000 benign 3 2,400" in page.text


def test_despeckled_files_have_contrast_and_edges(runs: Runs) -> None:
    record = read_json(runs.despeckled / "run.json")
    figures = {"looks": [4.0, 16.0, 25.0], "contrast": [1.0, 1.5, None], "edges": [1.0, 0.9, 0.8]}
    record["summary"] = {"images": 3, "skipped": [], "figures": figures}
    write_json(runs.despeckled / "run.json", record)
    text = Page(build([runs.despeckled])).text
    assert "Iterations SNR ENL CNR Edges kept original 0 2.00 4.0 1.00 1.00" in text
    assert "scale 2 20 5.00 25.0 - 0.80" in text
