"""A tiny Catalog of smooth noise and a fast configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from busaug.augment.job import Job
from busaug.augment.manifest import Manifest, Row
from busaug.augment.run import augment
from busaug.config import Config, load_config
from busaug.data.catalog import Catalog, Record
from busaug.data.images import pixel_hash, write_pixels
from busaug.models.weights import Weights, random_weights
from busaug.seeding import draw

FAST = (
    "style.size=32",
    "style.iterations=4",
    "style.references=2",
    "style.calibration_pairs=2",
    "style.precision=single",
    "plan.unit=3",
    "compute.threads=1",
    "relevance.mode=L0",
    "gate.ssim_max=1",  # a few evaluations change little
)


def make_record(index: int, label: str, split: str, group: str | None = None) -> Record:
    """A row without a file, for plans."""
    name = f"{label}-{index:04d}"
    return Record(
        id=name,
        file=f"images/{label}/{name}.png",
        label=label,
        group=group or name,
        split=split,  # type: ignore[arg-type]
        sha256=f"{label}{index}",
        width=40,
        height=40,
        bit_depth=8,
        source="test",
    )


def make_catalog(root: Path) -> Catalog:
    """Five training and one test image a class, 40x40, one of them with 16 bits."""
    records = []
    for label in ("benign", "malignant"):
        for index in range(6):
            row = make_record(index, label, "test" if index == 5 else "train")
            noise = gaussian_filter(draw("tiny", label, index).random((40, 40)), 1.5)
            noise = (noise - noise.min()) / (noise.max() - noise.min())
            deep = label == "benign" and index == 0
            pixels = (noise * (65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
            write_pixels(root / row.file, pixels)
            values = {**row.__dict__, "sha256": pixel_hash(pixels), "bit_depth": 16 if deep else 8}
            records.append(Record(**values))
    catalog = Catalog(root, tuple(records))
    catalog.save()
    return Catalog.load(root)


def rows_of(job: Job, out: Path) -> list[Row]:
    """The rows of a run that is made here, or continued."""
    augment(job, out)
    return list(Manifest(out).rows())


def contents_of(folder: Path) -> dict[str, str]:
    """Every file of a run that equal runs share, by relative path, as its SHA-256."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "runlog"
    }


@pytest.fixture
def tiny(tmp_path: Path) -> Catalog:
    return make_catalog(tmp_path / "catalog")


@pytest.fixture
def fast() -> Callable[..., Config]:
    """A configuration small enough for tests, with overrides."""
    return lambda *overrides: load_config(overrides=[*FAST, *overrides])


@pytest.fixture(scope="session")
def weights() -> Weights:
    return random_weights("resnet50")


@pytest.fixture
def job(tiny: Catalog, fast: Callable[..., Config], weights: Weights) -> Callable[..., Job]:
    return lambda *overrides: Job(tiny, fast(*overrides), weights, None)
