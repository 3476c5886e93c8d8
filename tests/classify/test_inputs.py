"""What is trained on: synthetic images of the training groups alone, no leak, no empty class."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from classify.conftest import ROWS, build_catalog

from busaug.classify.inputs import load_set, training_rows
from busaug.classify.train import train
from busaug.config import Config
from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.models.classifier import ClassifierInfo
from busaug.models.weights import Weights
from busaug.runfolder import RunFolder


def synthetic_of(root: Path, group: str, split: str = "train", label: str = "benign") -> Catalog:
    made = build_catalog(root, [("made-0", label, split)])  # type: ignore[list-item]
    records = (dataclasses.replace(made.records[0], group=group),)
    Catalog(root, records).save()
    return Catalog.load(root)


def test_synthetic_images_join_the_training_set_only(
    catalog: Catalog, config: Config, weights: Weights, tmp_path: Path
) -> None:
    made = synthetic_of(tmp_path / "made", group="benign-train-0")
    summary = train(catalog, tmp_path / "run", config, weights, [made])
    assert summary["images"] == {
        "train": {"benign": 5, "malignant": 4},
        "val": {"benign": 2, "malignant": 2},
    }
    assert summary["synthetic"] == 1
    assert summary["updates"] == 2  # nine images in batches of 4 and 5


@pytest.mark.parametrize(
    ("group", "split", "problem"),
    [
        ("benign-test-1", "train", r"made-0 is of group benign-test-1, which is in the test split"),
        ("benign-val-0", "train", r"made-0 .* in the val split"),
        ("elsewhere", "train", r"in no split .* leakage cannot be excluded"),
        ("benign-train-0", "test", r"has no training image"),
    ],
)
def test_leaks_are_refused(
    catalog: Catalog, tmp_path: Path, group: str, split: str, problem: str
) -> None:
    made = synthetic_of(tmp_path / "made", group, split)
    with pytest.raises(InputError, match=problem):
        training_rows(catalog, [made])


def test_a_run_made_from_another_catalog_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    """Its contents may be training images here, its references need not be."""
    made = synthetic_of(tmp_path / "made", group="benign-train-0")
    for hash_, allowed in ((catalog.hash, True), ("0" * 64, False)):
        RunFolder(made.root, "augment", {"catalog": hash_}).write()
        if allowed:
            assert len(training_rows(catalog, [made])[1].records) == 1
        else:
            with pytest.raises(InputError, match="was made from another Catalog"):
                training_rows(catalog, [made])


def test_a_leaking_catalog_is_refused(
    catalog: Catalog, config: Config, weights: Weights, tmp_path: Path
) -> None:
    records = tuple(dataclasses.replace(record, group="one") for record in catalog.records)
    with pytest.raises(InputError, match="group one is in more than one split"):
        train(Catalog(catalog.root, records), tmp_path / "run", config, weights)


@pytest.mark.parametrize(
    ("drop", "problem"),
    [
        (("malignant-train",), "class malignant has no training image"),
        (("malignant",), "has the one class benign"),
        (("benign-val", "malignant-val"), "no readable validation image"),
    ],
)
def test_a_class_or_split_without_images_is_refused(
    config: Config, weights: Weights, tmp_path: Path, drop: tuple[str, ...], problem: str
) -> None:
    catalog = build_catalog(tmp_path / "c", [row for row in ROWS if not row[0].startswith(drop)])
    with pytest.raises(InputError, match=problem):
        train(catalog, tmp_path / "run", config, weights)
    assert not (tmp_path / "run").exists()


def test_a_broken_image_is_skipped_and_listed(
    catalog: Catalog, config: Config, weights: Weights, tmp_path: Path
) -> None:
    broken = catalog.path(catalog.split("train").records[0])
    broken.write_bytes(broken.read_bytes()[:100])
    summary = train(catalog, tmp_path / "run", config, weights)
    assert summary["images"]["train"] == {"benign": 3, "malignant": 4}
    (row,) = summary["skipped"]
    assert row["id"] == "benign-train-0"
    assert row["reason"].startswith("images/benign-train-0.png cannot be decoded")
    assert str(tmp_path) not in (tmp_path / "run" / "run.json").read_text()


def test_inputs_are_despeckled_at_the_chosen_scale(catalog: Catalog) -> None:
    """Speckle falls, brightness stays; images do not depend on their batch."""
    raw, smooth = (
        load_set([catalog], ClassifierInfo(catalog.labels, 32, scale), "test").images
        for scale in (0, 1)
    )
    assert raw.shape == smooth.shape == (18, 1, 32, 32)
    assert float((smooth.std(dim=(1, 2, 3)) / raw.std(dim=(1, 2, 3))).max()) < 0.8
    torch.testing.assert_close(
        smooth.mean(dim=(1, 2, 3)), raw.mean(dim=(1, 2, 3)), atol=0.02, rtol=0
    )
    one = catalog.where(lambda record: record.id == "malignant-val-1")
    alone = load_set([one], ClassifierInfo(catalog.labels, 32, 1), "test").images
    assert torch.equal(alone[0], smooth[[r.id for r in catalog.records].index("malignant-val-1")])
