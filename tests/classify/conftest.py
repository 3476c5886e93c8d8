"""A tiny Catalog that anyone can tell apart, and its configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from busaug.config import Config, load_config
from busaug.data.catalog import Catalog, Record, Split
from busaug.data.images import pixel_hash, to_gray, write_gray
from busaug.models.weights import Weights, random_weights
from busaug.seeding import draw

Build = Callable[..., Catalog]
Row = tuple[str, str, Split]
"""Id, class, split."""

ROWS: tuple[Row, ...] = tuple(
    (f"{label}-{split}-{index}", label, split)
    for label in ("benign", "malignant")
    for split, count in (("train", 4), ("val", 2), ("test", 3))
    for index in range(count)
)  # type: ignore[assignment]


def build_catalog(root: Path, rows: Sequence[Row] = ROWS, *, size: int = 32) -> Catalog:
    """Noise images, the benign dark and the malignant bright; a row's id is its group."""
    records = []
    for name, label, split in rows:
        level = 0.25 if label == "benign" else 0.75
        image = draw("test-image", name).normal(level, 0.08, (size, size)).astype(np.float32)
        write_gray(root / "images" / f"{name}.png", image, 8)
        records.append(
            Record(
                id=name,
                file=f"images/{name}.png",
                label=label,
                group=name,
                split=split,
                sha256=pixel_hash(to_gray(image, 8).pixels),
                width=size,
                height=size,
                bit_depth=8,
                source="test",
            )
        )
    Catalog(root, tuple(records)).save()
    return Catalog.load(root)


@pytest.fixture(scope="session")
def weights() -> Weights:
    return random_weights("resnet50")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return build_catalog(tmp_path / "catalog")


@pytest.fixture
def config() -> Config:
    return load_config(
        overrides=[
            "train.size=32",
            "train.epochs=1",
            "train.batch=4",
            "train.srad_scale=0",
            "compute.threads=1",
        ]
    )
