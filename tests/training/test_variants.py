"""Styled variants in a training loop: labels, probability, draws that no worker changes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from busaug.data.catalog import Catalog, Record
from busaug.data.images import pixel_hash, write_pixels
from busaug.errors import InputError
from busaug.files import write_jsonl
from busaug.training import StyledVariants

CONTENTS, VARIANTS = 12, 3


def record(root: Path, name: str, level: int, label: str, split: str, group: str) -> Record:
    """An image whose level (and a dark corner) tells which one it is."""
    pixels = np.full((32, 40), level, np.uint8)
    pixels[0, 0] = 0
    write_pixels(root / f"{name}.png", pixels)
    return Record(name, f"{name}.png", label, group, split, pixel_hash(pixels), 40, 32, 8, "made")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Training images of levels 10, 20...; the variants of 10 are 11, 12, 13. The last has none."""
    source, run = tmp_path / "catalog", tmp_path / "run"
    records, made, rows = [], [], []
    for n in range(1, CONTENTS + 1):
        label = ("benign", "malignant")[n % 2]
        records.append(record(source, f"c{n:02d}", 10 * n, label, "train", f"g{n}"))
        for k in range(1, VARIANTS + 1 if n < CONTENTS else 1):
            name = f"v{n:02d}-{k}"
            made.append(record(run, name, 10 * n + k, label, "train", f"g{n}"))
            rows.append({"id": name, "content": f"c{n:02d}", "accepted": True})
        rows.append({"id": f"r{n}", "content": f"c{n:02d}", "accepted": False})
    records.append(record(source, "held-out", 200, "benign", "test", "g99"))
    Catalog(source, tuple(records)).save()
    Catalog(run, tuple(made)).save()
    write_jsonl(run / "manifest.jsonl", rows)
    return source, run


def levels(data, **loader) -> list[tuple[int, int]]:
    return [
        (round(float(image[0, -1, -1]) * 255), int(label))
        for images, labels in DataLoader(data, batch_size=5, **loader)
        for image, label in zip(images, labels, strict=True)
    ]


def test_items_are_images_or_their_own_variants_with_their_class(folders):
    data = StyledVariants(folders[0], [folders[1]], size=32)
    assert data.classes == ("benign", "malignant")
    assert len(data) == CONTENTS
    image, label = data[0]
    assert image.shape == (1, 32, 32)
    assert image.dtype == torch.float32
    assert isinstance(label, int)
    for n, (level, label) in enumerate(levels(data), start=1):
        assert level // 10 == n
        assert label == n % 2


def test_all_and_none_and_its_own_size(folders):
    never = StyledVariants(folders[0], [folders[1]], p=0, size=None)
    assert never[3][0].shape == (1, 32, 40)
    assert [level % 10 for level, _ in levels(never)] == [0] * CONTENTS
    always = StyledVariants(folders[0], [folders[1]], p=1)
    assert all(level % 10 for level, _ in levels(always)[:-1])
    assert levels(always)[-1][0] == 10 * CONTENTS


def test_a_transform_is_given_the_image_that_was_drawn(folders):
    plain = StyledVariants(folders[0], [folders[1]], size=24)
    inverse = StyledVariants(folders[0], [folders[1]], size=24, transform=lambda image: 1 - image)
    for (image, label), (changed, same) in zip(plain, inverse, strict=True):
        assert changed.shape == (1, 24, 24)
        assert torch.equal(changed, 1 - image)
        assert same == label


def test_variants_are_drawn_evenly_with_probability_p(folders):
    data = StyledVariants(folders[0], [folders[1]], p=0.4, size=None)
    drawn = Counter()
    epochs = 60
    for epoch in range(epochs):
        data.set_epoch(epoch)
        drawn.update(level % 10 for level, _ in levels(data)[:-1])
    count = epochs * (CONTENTS - 1)
    shares = [drawn[k] / count for k in range(VARIANTS + 1)]
    # four standard deviations of a share of 660 draws
    assert abs(shares[0] - 0.6) < 4 * (0.24 / count) ** 0.5
    assert all(abs(share - 0.4 / 3) < 4 * (0.116 / count) ** 0.5 for share in shares[1:])


def test_draws_depend_on_seed_and_epoch_and_on_no_worker(folders):
    def epochs(workers, seed=0):
        data = StyledVariants(folders[0], [folders[1]], size=None, seed=seed)
        options = {"num_workers": workers, "persistent_workers": workers > 0}
        loader = DataLoader(data, batch_size=1, **options)
        found = []
        for epoch in (0, 1, 0):
            data.set_epoch(epoch)
            found.append([round(float(image[0, 0, -1, -1]) * 255) for image, _ in loader])
        return found

    alone = epochs(0)
    assert alone[0] == alone[2] != alone[1]
    assert epochs(2) == alone
    assert epochs(0, seed=1) != alone


def test_a_variant_of_a_held_out_or_unknown_image_is_refused(folders):
    source, run = folders
    made = Catalog.load(run)

    def refused(message, **changes):
        Catalog(run, (dataclasses.replace(made.records[0], **changes), *made.records[1:])).save()
        with pytest.raises(InputError, match=message):
            StyledVariants(source, [run])

    refused("which is in the test split", group="g99")
    refused("no split of", group="elsewhere")
    refused("no variant of a training image", id="v99")
    refused("no variant of a training image", label="benign")
    with pytest.raises(InputError, match=r"p=1\.5 is no probability"):
        StyledVariants(source, [run], p=1.5)
    with pytest.raises(InputError, match="size=0"):
        StyledVariants(source, [run], size=0)
