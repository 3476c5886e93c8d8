"""The contact sheet: contents that all runs show, their own pictures, relevance below them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont
from typer.testing import CliRunner

from busaug.augment.manifest import MANIFEST_FILE
from busaug.cli.app import app
from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.experiment.sheet import compare, fitted, write_sheet
from busaug.explain.predictor import imagenet_predictor
from busaug.files import write_jsonl
from busaug.models.weights import random_weights

SIDE = 48


def write_run(folder: Path, levels: dict[str, int | None], **more: Any) -> Path:
    """A run with a picture about a gray level for each content; None for one not kept."""
    rows = []
    for content, level in levels.items():
        file = None if level is None else f"images/{content}.png"
        if level is not None:
            (folder / "images").mkdir(parents=True, exist_ok=True)
            pixels = np.full((32, 32), level - 1, np.uint8)
            pixels[16:] = level + 1
            Image.fromarray(pixels).save(folder / f"images/{content}.png")
        rows.append({"id": f"of-{content}", "content": content, "file": file, **more})
    write_jsonl(folder / MANIFEST_FILE, rows)
    return folder


def names(phantoms: Catalog, label: str) -> list[str]:
    return [record.id for record in phantoms.of_class(label).records]


def test_contents_are_the_first_of_each_class_that_every_run_has(
    phantoms: Catalog, tmp_path: Path
) -> None:
    one, two = (names(phantoms, label) for label in phantoms.labels)
    everything = [*one, *two]
    runs = {
        "a": write_run(tmp_path / "a", dict.fromkeys(everything, 10)),
        "b": write_run(tmp_path / "b", {name: 20 for name in everything if name != one[0]}),
        "c": write_run(tmp_path / "c", {n: None if n == two[1] else 30 for n in everything}),
    }
    lines = compare(phantoms, runs, rows=2, side=SIDE)
    assert [line.content.id for line in lines] == [one[1], one[2], two[0], two[2]]
    for line in lines:
        levels = [tile.image.mean() * 255 for tile in line.tiles[1:]]
        assert levels == pytest.approx([10, 20, 30])
        assert [tile.image.shape for tile in line.tiles] == 4 * [(SIDE, SIDE)]


def test_figures_and_reasons_are_told(phantoms: Catalog, tmp_path: Path) -> None:
    content = names(phantoms, phantoms.labels[0])[0]
    more = {"style_left": 0.125, "ssim": 0.875, "reason": "saturated: 0.1"}
    run = write_run(tmp_path / "a", {content: 10}, **more)
    (line,) = compare(phantoms, {"a": run}, rows=1, side=SIDE)
    assert line.tiles[1].words == ["left 0.12, SSIM 0.88", "saturated: 0.1"]


@pytest.mark.parametrize("width", [0, 10, 40, 90, 500])
def test_words_stay_below_their_picture_and_keep_their_end(width: int) -> None:
    font = ImageFont.load_default(size=12)
    whole = "busi_256-malignant-0002"
    shown = fitted(whole, width, font)
    assert font.getlength(shown) <= width
    assert whole.endswith(shown.lstrip("…"))
    assert (shown == whole) == (font.getlength(whole) <= width)


def test_a_network_colours_what_is_below_the_pictures(phantoms: Catalog, tmp_path: Path) -> None:
    content = phantoms.records[0].id
    runs = {"a": write_run(tmp_path / "a", {content: 90})}
    lines = compare(phantoms, runs, rows=1, side=SIDE)
    shown = {}
    for name, predictor in (
        ("plain", None),
        ("seen", imagenet_predictor(random_weights("resnet50"))),
    ):
        write_sheet(tmp_path / f"{name}.png", ["a"], lines, SIDE, predictor)
        with Image.open(tmp_path / f"{name}.png") as picture:
            shown[name] = np.asarray(picture).astype(int)
    assert shown["seen"].shape[0] - shown["plain"].shape[0] == SIDE + 2
    assert shown["seen"].shape[1] == shown["plain"].shape[1]
    coloured = {name: (np.ptp(pixels, axis=2) > 0).sum() for name, pixels in shown.items()}
    assert coloured["plain"] == 0
    assert coloured["seen"] > SIDE * SIDE


def test_runs_without_a_common_content_are_refused(phantoms: Catalog, tmp_path: Path) -> None:
    one, two, *_ = (record.id for record in phantoms.records)
    runs = {
        "a": write_run(tmp_path / "a", {one: 10}),
        "b": write_run(tmp_path / "b", {two: 10}),
    }
    with pytest.raises(InputError, match="no content in common"):
        compare(phantoms, runs, rows=1, side=SIDE)


def test_a_folder_that_is_no_run_is_refused(phantoms: Catalog, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no manifest\.jsonl"):
        compare(phantoms, {"a": tmp_path}, rows=1, side=SIDE)


def test_the_command_writes_one_and_names_what_it_shows(phantoms: Catalog, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", {record.id: 10 for record in phantoms.records})
    words = ["experiment", "sheet", str(phantoms.root), str(tmp_path / "sheet.png"), str(run)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert f"{2 * len(phantoms.labels)} contents, 1 runs" in shown.output
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size[0] > 2 * 160
    again = CliRunner().invoke(app, [*words, str(run)])
    assert isinstance(again.exception, InputError)
    assert "same name" in str(again.exception)
