"""Catalogs of rows without files, for dealing, and of tiny phantoms, for whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from busaug.data.catalog import Catalog, Record
from busaug.data.ingest import prepare
from busaug.data.phantom import write_phantoms


def make_row(name: str, label: str, group: str) -> Record:
    return Record(
        id=name,
        file=f"images/{label}/{name}.png",
        label=label,
        group=group,
        split="train",
        sha256=f"pixels of {name}",
        width=40,
        height=40,
        bit_depth=8,
        source="test",
    )


def make_rows(sizes: dict[str, list[int]]) -> Catalog:
    """Groups of the given sizes for each class."""
    rows = [
        make_row(f"{label}-{number}-{member}", label, f"{label}-{number}")
        for label, counts in sizes.items()
        for number, count in enumerate(counts)
        for member in range(count)
    ]
    return Catalog(Path("nowhere"), tuple(sorted(rows, key=lambda row: row.id)))


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Nine simulated images of each class."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder / "images", 9, 48, seed=0)
    prepare([folder / "images"], folder / "catalog", classes=None)
    return Catalog.load(folder / "catalog")
