"""Evaluation: every image, the right classes, the right numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from classify.conftest import ROWS, build_catalog
from torch import Tensor, nn

from busaug.classify.evaluate import assess, evaluate
from busaug.classify.inputs import ImageSet
from busaug.classify.predict import predict_logits
from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.models.classifier import (
    ClassifierInfo,
    build_classifier,
    load_classifier,
    save_classifier,
)

CLASSES = ("benign", "malignant")


class AllBenign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([4.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        return self.bias.expand(len(x), 2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    info = ClassifierInfo(CLASSES, size=32, srad_scale=0)
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    torch.manual_seed(3)
    save_classifier(path, build_classifier(info), info)
    return path


def test_the_tail_is_not_dropped() -> None:
    """121 images in batches of 32: the published program counted 96 of them."""
    targets = torch.tensor([0] * 53 + [1] * 68)
    images = ImageSet(
        tuple(f"{i:03d}" for i in range(121)), torch.rand(121, 1, 8, 8), targets, skipped=()
    )
    parts = list(predict_logits(AllBenign(), images.images, 32))
    assert [len(part) for part in parts] == [32, 32, 32, 25]
    row = assess(images, torch.cat(parts), CLASSES).row()
    assert row["n"] == len(row["predictions"]) == 121
    assert row["confusion"] == ((53, 0), (68, 0))
    assert row["metrics"]["accuracy"] == pytest.approx(0.4380, abs=5e-5)
    probability = row["predictions"][0]["probability"]
    assert probability["benign"] == pytest.approx(1 / (1 + torch.e**-4), abs=1e-6)


def test_folder_and_file_give_the_same(catalog: Catalog, checkpoint: Path) -> None:
    by_file = evaluate(checkpoint, catalog, "test").row()
    assert by_file == evaluate(checkpoint.parent, catalog, "test").row()
    assert [p["id"] for p in by_file["predictions"]] == [
        record.id for record in catalog.split("test").records
    ]
    assert all(sum(p["probability"].values()) == pytest.approx(1) for p in by_file["predictions"])


def test_batches_do_not_change_what_is_predicted(catalog: Catalog, checkpoint: Path) -> None:
    first, second = (evaluate(checkpoint, catalog, "test", batch=n) for n in (2, 6))
    torch.testing.assert_close(
        torch.from_numpy(first.probability), torch.from_numpy(second.probability)
    )


@pytest.mark.parametrize("extra", [("normal-0", "normal", "test"), None])
def test_other_classes_are_refused(
    checkpoint: Path, tmp_path: Path, extra: tuple[str, str, str] | None
) -> None:
    rows = [*ROWS, extra] if extra else [row for row in ROWS if row[1] == "benign"]
    catalog = build_catalog(tmp_path / "c", rows)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has benign, malignant"):
        evaluate(checkpoint, catalog, "test")


def test_an_empty_split_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    catalog = build_catalog(tmp_path / "c", [row for row in ROWS if row[2] != "test"])
    with pytest.raises(InputError, match="no readable test image"):
        evaluate(checkpoint, catalog, "test")


def test_a_broken_image_is_named_and_the_count_says_so(
    catalog: Catalog, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog.path(catalog.split("test").records[0]).write_bytes(b"not a picture")
    row = evaluate(checkpoint, catalog, "test").row()
    assert row["n"] == 5
    assert [skipped["id"] for skipped in row["skipped"]] == ["benign-test-0"]
    assert "skipped benign-test-0" in capsys.readouterr().err


def test_something_else_is_no_checkpoint(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="cannot be read"):
        evaluate(tmp_path, catalog, "test")
    with pytest.raises(InputError, match="does not exist"):
        evaluate(tmp_path / "absent.safetensors", catalog, "test")


def test_a_set_from_elsewhere_is_judged_at_the_threshold_of_validation(
    catalog: Catalog, checkpoint: Path, tmp_path: Path
) -> None:
    """All images count, whatever split they were put into, at a threshold that they cannot move."""
    model, info = load_classifier(checkpoint)
    plain = evaluate(checkpoint, catalog, "all")
    assert plain.row()["n"] == len(ROWS)
    assert plain.row()["operating_point"] is None
    positive = plain.probability[:, 1]
    threshold = float(np.sort(positive)[4:6].mean())
    path = tmp_path / "model.safetensors"
    save_classifier(path, model, dataclasses.replace(info, threshold=threshold))
    row = evaluate(path, catalog, "all").row()
    called = int((positive >= threshold).sum())
    assert np.sum(row["operating_point"]["confusion"], axis=0).tolist() == [5, called]
    assert row["operating_point"]["threshold"] == threshold
    assert row["metrics"] == plain.row()["metrics"]
