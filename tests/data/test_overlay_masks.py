"""Overlay masks in a Catalog: which images get one, and the grid it comes back on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data.drawing import drawn, label
from PIL import Image

from busaug.data.catalog import Catalog
from busaug.data.images import read_gray, read_mask, to_float
from busaug.data.ingest import prepare
from busaug.data.overlays import detect_overlays, overlay_mask
from busaug.data.phantom import LABELS, phantom
from busaug.errors import InputError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two images with a label, two without, of each class."""
    for name in LABELS:
        for number in range(4):
            image, _ = phantom(name, f"source/{number}", 160)
            if number < 2:
                image, _ = drawn(image, label(f"RT {number}", (20 + 30 * number, 120)))
            file = tmp_path / "set" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(file)
    return tmp_path / "set"


def test_prepare_keeps_the_masks_of_images_that_have_some(source, tmp_path):
    summary = prepare([source], tmp_path / "catalog")
    catalog = Catalog.load(tmp_path / "catalog")
    marked = [record for record in catalog.records if record.overlay]
    assert summary.marked_images == len(marked) == 4
    assert all(int(Path(record.source).stem) < 2 for record in marked)
    for record in marked:
        assert record.overlay == f"overlays/{record.id}.png"
        found = detect_overlays(to_float(read_gray(catalog.path(record)))).mask
        np.testing.assert_array_equal(read_mask(catalog.root / record.overlay), found)
    files = list((tmp_path / "catalog" / "overlays").iterdir())
    assert len(files) == 4


def test_prepare_can_leave_overlays_out(source, tmp_path):
    summary = prepare([source], tmp_path / "catalog", overlays=False)
    catalog = Catalog.load(tmp_path / "catalog")
    assert summary.marked_images is None
    assert not any(record.overlay for record in catalog.records)
    assert not (tmp_path / "catalog" / "overlays").exists()


def test_masks_of_dropped_images_go_with_them(source, tmp_path):
    copy = source / "malignant" / "9.png"
    copy.write_bytes((source / "benign" / "0.png").read_bytes())
    summary = prepare([source], tmp_path / "catalog")
    catalog = Catalog.load(tmp_path / "catalog")
    kept = {record.id for record in catalog.records if record.overlay}
    assert summary.dropped_images == 2
    assert {file.stem for file in (tmp_path / "catalog" / "overlays").iterdir()} == kept


def catalog_with(tmp_path, source, mask):
    """A Catalog whose first record has the overlay ``mask`` or none, and that record."""
    prepare([source], tmp_path / "catalog")
    catalog = Catalog.load(tmp_path / "catalog")
    record = next(record for record in catalog.records if record.overlay)
    if mask is not None:
        Image.fromarray(mask.astype(np.uint8) * 255).save(catalog.root / record.overlay)
    return catalog, record


def test_a_mask_lies_on_the_grid_of_load_batch(source, tmp_path):
    mask = np.zeros((160, 160), bool)
    mask[40:80, 100:] = True
    catalog, record = catalog_with(tmp_path, source, mask)
    for size in (160, 80, 40):
        found = overlay_mask(catalog, record, size)
        expected = torch.zeros(1, size, size, dtype=torch.bool)
        expected[:, size // 4 : size // 2, size * 5 // 8 :] = True
        assert found.dtype == torch.bool
        # a pixel of the smaller grid averages some beyond its own square
        inner = expected[:, size // 4 + 1 : size // 2 - 1, size * 5 // 8 + 1 :]
        assert inner.all()
        assert found[expected].all()
        assert int((found & ~expected).sum()) <= size // 4 + 2 * (size * 3 // 8 + 1)


def test_a_record_without_overlays_has_an_empty_mask(source, tmp_path):
    prepare([source], tmp_path / "catalog", overlays=False)
    catalog = Catalog.load(tmp_path / "catalog")
    found = overlay_mask(catalog, catalog.records[0], 32)
    assert found.shape == (1, 32, 32)
    assert not found.any()


def test_a_mask_of_another_size_or_missing_is_refused(source, tmp_path):
    catalog, record = catalog_with(tmp_path, source, np.ones((10, 12), bool))
    with pytest.raises(InputError, match="is 12x10 px, its image 160x160 px"):
        overlay_mask(catalog, record, 32)
    (catalog.root / record.overlay).unlink()
    with pytest.raises(InputError, match="does not exist"):
        overlay_mask(catalog, record, 32)
