"""A finished data set is checked, and its images are made again, from its own record."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from augment.conftest import FAST, make_catalog

from busaug.augment.job import Job
from busaug.augment.past import PastRun
from busaug.augment.regenerate import regenerate
from busaug.augment.run import augment
from busaug.augment.verify import verify
from busaug.config import load_config
from busaug.data.catalog import Catalog
from busaug.data.images import pixel_hash, read_gray, write_pixels
from busaug.errors import InputError
from busaug.files import read_jsonl, write_jsonl
from busaug.models.weights import Weights, random_weights

FORMATS = ("png", "webdataset")


def _job(place: Path, weights: Weights, *changes: str) -> Job:
    config = load_config(overrides=[*FAST, "style.iterations=3", *changes])
    return Job(Catalog.load(place / "catalog"), config, weights, None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, weights: Weights) -> Path:
    """A Catalog and what was made of it in each format, not to be changed."""
    folder = tmp_path_factory.mktemp("provenance")
    make_catalog(folder / "catalog")
    for name in FORMATS:
        mode = "LA" if name == "png" else "L0"
        changes = (f"output.format={name}", f"relevance.mode={mode}")
        augment(_job(folder, weights, *changes), folder / name)
    return folder


@pytest.fixture
def loose(place: Path, tmp_path: Path) -> Path:
    """A run of PNG files beside its Catalog, to be changed."""
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    return tmp_path / "png"


def _faults(out: Path) -> dict[str, tuple[str, ...]]:
    return {check.name: check.faults for check in verify(PastRun.open(out)) if check.faults}


def _edit(file: Path, change: Callable[[list[dict[str, object]]], None]) -> None:
    rows = read_jsonl(file)
    change(rows)
    write_jsonl(file, rows)


@pytest.mark.parametrize("name", FORMATS)
def test_what_augment_wrote_is_found_well(place: Path, name: str) -> None:
    checks = verify(PastRun.open(place / name))
    assert not [check for check in checks if check.faults]
    looked_at = {check.name: check.looked_at for check in checks}
    assert looked_at["images are on disk and unchanged"] == 10
    assert looked_at["the manifest is the plan"] == 10


def test_a_changed_pixel_a_lost_and_a_foreign_file_are_named(loose: Path) -> None:
    changed, lost, *_ = sorted(loose.glob("images/*/*.png"))
    pixels = read_gray(changed).pixels.copy()
    pixels[3, 3] ^= 1
    write_pixels(changed, pixels)
    lost.unlink()
    shutil.copy(changed, loose / "images/benign/stranger.png")
    faults = _faults(loose)
    on_disk = "\n".join(faults["images are on disk and unchanged"])
    assert f"{changed.relative_to(loose)} has other pixels" in on_disk
    assert lost.name in on_disk
    assert len(faults["images are on disk and unchanged"]) == 2
    assert faults["no image beside them"] == (
        "images/benign/stranger.png is in no row of the manifest",
    )


def test_a_row_lost_and_one_altered_are_named(loose: Path) -> None:
    def change(rows: list[dict[str, object]]) -> None:
        rows.pop()
        rows[0]["references"] = [rows[1]["content"]]

    _edit(loose / "manifest.jsonl", change)
    faults = _faults(loose)
    first, last = faults["the manifest is the plan"]
    assert "is not as planned" in first
    assert "is planned and missing" in last
    assert any("10 planned" in fault for fault in faults["counts are the manifest's"])
    assert any("not accepted" in fault for fault in faults["the Catalog lists the accepted"])


def test_a_test_image_among_the_styles_is_a_leak(loose: Path) -> None:
    _edit(
        loose / "manifest.jsonl", lambda rows: rows[0].update(references=["benign-0005"])
    )  # of the test split
    assert any(
        "uses benign-0005, a test image" in fault
        for fault in _faults(loose)["contents and styles are training images"]
    )


def test_a_test_image_under_another_id_is_a_leak(loose: Path) -> None:
    def swap(rows: list[dict[str, object]]) -> None:
        held_out = next(row for row in rows if row["split"] == "test")
        twin = next(row for row in rows if row["split"] == "train")
        held_out["sha256"] = twin["sha256"]

    _edit(loose.parent / "catalog/catalog.jsonl", swap)
    faults = _faults(loose)
    assert "the record of the run is unchanged" in faults  # the Catalog is another
    leaks = faults["contents and styles are training images"]
    assert any("pixels are those of an image that is held out" in leak for leak in leaks)


def test_settings_altered_afterwards_are_seen(loose: Path) -> None:
    record = json.loads((loose / "run.json").read_text())
    record["identity"]["config"]["style"]["gamma"] = 1.0
    (loose / "run.json").write_text(json.dumps(record))
    assert "the record of the run is unchanged" in _faults(loose)


@pytest.mark.parametrize(
    ("name", "image"), [("png", "benign-0000--0000"), ("webdataset", "malignant-0003--0000")]
)
def test_an_image_is_made_again_bit_for_bit(
    place: Path, weights: Weights, name: str, image: str
) -> None:
    """The first is of 16 bits."""
    run = PastRun.open(place / name)
    again = regenerate(run, run.job(weights, None), image)
    assert again.same_bytes
    assert again.same_row
    assert (again.largest, again.changed) == (0.0, 0.0)


def test_the_difference_of_an_altered_image_is_told(loose: Path, weights: Weights) -> None:
    file = loose / "images/malignant/malignant-0001--0000.png"
    pixels = read_gray(file).pixels.copy()
    pixels[0, 0] += np.uint8(5) if pixels[0, 0] < 200 else np.uint8(251)  # 5 up or down
    write_pixels(file, pixels)
    run = PastRun.open(loose)
    again = regenerate(run, run.job(weights, None), "malignant-0001--0000")
    assert not again.same_bytes
    assert round(255 * again.largest) == 5
    assert again.changed == pytest.approx(1 / pixels.size)
    assert pixel_hash(pixels) != again.row["sha256"]


def test_what_cannot_be_made_again_is_named(loose: Path, weights: Weights) -> None:
    run = PastRun.open(loose)
    with pytest.raises(InputError, match="has no image 'nobody'"):
        regenerate(run, run.job(weights, None), "nobody")
    with pytest.raises(InputError, match="weights"):
        regenerate(run, run.job(random_weights("resnet50", 1), None), "benign-0001--0000")
    out = loose.parent / "rejected"
    augment(_job(loose.parent, weights, "gate.ssim_max=0", "plan.contents=2"), out)
    run = PastRun.open(out)
    assert not [check for check in verify(run) if check.faults]
    name = next(run.manifest.rows())["id"]
    with pytest.raises(InputError, match="was rejected"):
        regenerate(run, run.job(weights, None), name)


def test_folders_that_hold_no_finished_run_are_refused(tmp_path: Path, loose: Path) -> None:
    with pytest.raises(InputError, match="no run of 'busaug augment'"):
        PastRun.open(tmp_path / "nowhere")
    record = json.loads((loose / "run.json").read_text())
    (loose / "run.json").write_text(json.dumps({**record, "summary": {}}))
    with pytest.raises(InputError, match="not finished"):
        PastRun.open(loose)
