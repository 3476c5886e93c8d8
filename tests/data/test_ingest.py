"""From folders to a Catalog: what is kept, skipped, dropped, left out, and what is refused."""

from __future__ import annotations

import errno
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data.miniatures import picture, put
from PIL import Image

from busaug.data.catalog import Catalog, shared_groups
from busaug.data.images import pixel_hash, read_gray, read_mask
from busaug.data.ingest import PrepareSummary, prepare
from busaug.errors import BusaugError, InputError, OutputError
from busaug.files import read_jsonl
from busaug.runfolder import read_run


def make_busi(root: Path, per_class=4, first_seed=0):
    for number in range(1, per_class + 1):
        for offset, label in ((0, "benign"), (100, "malignant")):
            put(root / label / f"{label} ({number}).png", picture(first_seed + offset + number))
    return root


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_catalog_holds_the_pixels_and_the_facts(tmp_path):
    source = make_busi(tmp_path / "busi")
    deep = picture(7, np.uint16)
    put(source / "benign" / "benign (5).png", deep)
    left, right = np.zeros((48, 56), np.uint8), np.zeros((48, 56), np.uint8)
    left[10:20, 5:15] = 255
    right[30:35, 40:50] = 255
    put(source / "benign" / "benign (5)_mask.png", left)
    put(source / "benign" / "benign (5)_mask_1.png", right)
    put(source / "benign" / "benign (1)_mask.png", np.zeros((48, 56), np.uint8))

    summary = prepare([source], tmp_path / "out")
    catalog = Catalog.load(tmp_path / "out")
    assert len(catalog.records) == 9
    record = catalog.by_id["busi-benign-0005"]
    assert (record.label, record.width, record.height, record.bit_depth) == ("benign", 56, 48, 16)
    assert record.source == "busi/benign/benign (5).png"
    assert record.file == "images/benign/busi-benign-0005.png"
    assert record.mask == "masks/busi-benign-0005.png"
    assert record.sha256 == pixel_hash(deep)
    np.testing.assert_array_equal(read_gray(catalog.path(record)).pixels, deep)
    np.testing.assert_array_equal(read_mask(catalog.mask_path(record)), (left | right) > 0)
    assert catalog.by_id["busi-benign-0001"].mask is None
    assert all(catalog.path(r).is_file() for r in catalog.records)
    assert summary.images["benign"] == {"train": 3, "val": 1, "test": 1}
    assert summary.images["malignant"] == {"train": 2, "val": 1, "test": 1}
    assert (summary.groups, summary.shared_groups) == (9, 0)


def test_equal_inputs_give_equal_bytes_wherever_they_lie(tmp_path):
    prepare([make_busi(tmp_path / "a" / "busi")], tmp_path / "one")
    prepare([make_busi(tmp_path / "b" / "busi")], tmp_path / "elsewhere" / "two")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "elsewhere" / "two")
    assert str(tmp_path) not in (tmp_path / "one" / "run.json").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "elsewhere", "one"]


def test_near_duplicates_are_found_across_sources_and_stay_together(tmp_path):
    first = make_busi(tmp_path / "first", per_class=10)
    second = make_busi(tmp_path / "second", per_class=10, first_seed=300)
    for number in range(1, 6):
        copy = np.clip(picture(number) + 3.0, 0, 255).astype(np.uint8)
        put(second / "benign" / f"benign ({20 + number}).png", copy)
    summary = prepare([first, second], tmp_path / "out")
    catalog = Catalog.load(tmp_path / "out")
    assert (summary.near_duplicate_groups, summary.near_duplicate_images) == (5, 10)
    assert summary.groups == 40
    for number in range(1, 6):
        copy = catalog.by_id[f"second-benign-{20 + number:04d}"]
        original = catalog.by_id[f"first-benign-{number:04d}"]
        assert (copy.group, copy.split) == (original.group, original.split)
    assert shared_groups(catalog.records) == []


def test_a_picture_in_both_classes_is_dropped_and_listed(tmp_path):
    source = make_busi(tmp_path / "busi")
    put(source / "malignant" / "malignant (9).png", picture(2))
    put(source / "malignant" / "malignant (9)_mask.png", np.full((48, 56), 255, np.uint8))
    summary = prepare([source], tmp_path / "out")
    catalog = Catalog.load(tmp_path / "out")
    dropped = read_jsonl(tmp_path / "out" / "dropped.jsonl")
    assert (summary.dropped_groups, summary.dropped_images) == (1, 2)
    assert [row["file"] for row in dropped] == [
        "busi/benign/benign (2).png",
        "busi/malignant/malignant (9).png",
    ]
    assert all("benign, malignant" in row["reason"] for row in dropped)
    written = {p.stem for p in (tmp_path / "out" / "images").rglob("*.png")}
    assert written == {record.id for record in catalog.records}
    assert not list((tmp_path / "out").rglob("masks/*.png"))


def test_one_bad_image_is_skipped_and_listed(tmp_path):
    source = make_busi(tmp_path / "busi")
    (source / "benign" / "benign (5).png").write_bytes(b"\x89PNG broken")
    put(source / "benign" / "benign (6).png", np.full((48, 56), 3, np.uint8))
    put(source / "benign" / "benign (7).png", picture(8))
    put(source / "benign" / "benign (7)_mask.png", np.zeros((10, 10), np.uint8))
    put(source / "benign" / "benign (8)_mask.png", np.zeros((48, 56), np.uint8))
    summary = prepare([source], tmp_path / "out")
    rows = read_jsonl(tmp_path / "out" / "skipped.jsonl")
    reasons = {row["file"]: row["reason"] for row in rows}
    assert summary.skipped_images == len(rows) == 4
    assert "no image" in reasons["busi/benign/benign (5).png"]
    assert "constant: every pixel is 3" in reasons["busi/benign/benign (6).png"]
    assert reasons["busi/benign/benign (7).png"] == (
        "busi/benign/benign (7)_mask.png is 10x10 px, its image 56x48 px"
    )
    assert "does not exist" in reasons["busi/benign/benign (8).png"]
    assert str(tmp_path) not in str(reasons)
    assert len(Catalog.load(tmp_path / "out").records) == 8


def test_classes_are_chosen_by_slug_and_the_others_counted(tmp_path):
    for seed in range(12):
        put(tmp_path / "set" / ("Benign", "cyst", "Normal Tissue")[seed % 3] / f"{seed}.png",
            picture(seed))  # fmt: skip
    summary = prepare([tmp_path / "set"], tmp_path / "two", classes=["benign", "normal tissue"])
    assert set(summary.images) == {"benign", "normal-tissue"}
    assert summary.left_out == {"cyst": 4}
    assert Catalog.load(tmp_path / "two").labels == ("benign", "normal-tissue")
    assert set(prepare([tmp_path / "set"], tmp_path / "all", classes=None).images) == {
        "benign",
        "cyst",
        "normal-tissue",
    }


def test_hostile_names_stay_inside_the_catalog(tmp_path):
    for seed, name in enumerate(("x..%2f..", "a b'c\"$(x)", "-rf", "é" * 80)):
        put(tmp_path / "my set" / name / "x...png", picture(seed))
    prepare([tmp_path / "my set"], tmp_path / "out", classes=None)
    for record in Catalog.load(tmp_path / "out").records:
        assert (tmp_path / "out" / record.file).resolve().is_relative_to(tmp_path / "out")


def test_two_sources_of_one_name_keep_apart(tmp_path):
    one = make_busi(tmp_path / "a" / "busi")
    two = make_busi(tmp_path / "b" / "busi", first_seed=500)
    prepare([one, two], tmp_path / "out")
    sources = Counter(r.source.split("/")[0] for r in Catalog.load(tmp_path / "out").records)
    assert sources == {"busi": 8, "busi-2": 8}


def refuse(tmp_path, message, sources, error=InputError, **options):
    with pytest.raises(error, match=message):
        prepare(sources, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_what_cannot_make_a_catalog_is_refused_and_leaves_nothing(tmp_path):
    source = make_busi(tmp_path / "busi")
    (source / "normal").mkdir()
    refuse(tmp_path, "no source is named", [])
    refuse(tmp_path, "gone does not exist", [tmp_path / "gone"])
    refuse(tmp_path, r"'cyst'.*benign \(4\), malignant \(4\)", [source], classes=["cyst"])
    refuse(tmp_path, "'normal'", [source], classes=["benign", "normal"])
    refuse(tmp_path, "no class is named", [source], classes=[])
    for path in (source / "malignant").iterdir():
        path.write_bytes(b"broken")
    refuse(tmp_path, "'malignant' keeps no image.*4 images", [source])
    put(tmp_path / "other" / "?!" / "a.png", picture(0))
    refuse(tmp_path, r"'\?!' has no ASCII letter", [tmp_path / "other"], classes=None)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    source = make_busi(tmp_path / "busi")

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    refuse(tmp_path, "No space left", [source], error=OutputError)


def test_a_used_output_folder_is_left_alone(tmp_path):
    source = make_busi(tmp_path / "busi")
    (tmp_path / "out").mkdir()
    prepare([source], tmp_path / "out")
    before = snapshot(tmp_path / "out")
    with pytest.raises(BusaugError, match="not an empty folder"):
        prepare([source], tmp_path / "out")
    assert snapshot(tmp_path / "out") == before


def test_the_run_record_tells_inputs_and_summary(tmp_path):
    source = make_busi(tmp_path / "busi")
    summary = prepare([source], tmp_path / "a", seed=0)
    prepare([source], tmp_path / "b", seed=1)
    one, two = read_run(tmp_path / "a"), read_run(tmp_path / "b")
    assert PrepareSummary(**one["summary"]) == summary
    assert one["hash"] != two["hash"]
    assert one["identity"]["inputs"] == two["identity"]["inputs"]
    assert one["identity"]["sources"] == {"busi": "busi"}
    assert json.loads((tmp_path / "a" / "run.json").read_text())["command"] == "prepare"


@pytest.mark.real
def test_native_images_join_their_squashed_twins(busi_256, busi_native, tmp_path):
    """The 20 images in both folders group although size and aspect ratio differ."""
    small = tmp_path / "busi_256"
    for file in busi_native.rglob("*.png"):
        if "_mask" not in file.name:
            twin = file.relative_to(busi_native)
            (small / twin).parent.mkdir(parents=True, exist_ok=True)
            (small / twin).symlink_to(busi_256 / twin)
    prepare([small, busi_native], tmp_path / "out")
    catalog = Catalog.load(tmp_path / "out")
    twins = [r for r in catalog.records if r.id.startswith("busi_native")]
    assert len(twins) == 20
    assert all(r.mask for r in twins)
    for record in twins:
        assert catalog.by_id[record.id.replace("native", "256")].group == record.group
