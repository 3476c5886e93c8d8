"""BUS-BRA: Gómez-Flores, Gregorio-Calas, Pereira, Med. Phys. 51:3110 (2024).

``Images/bus_0001-l.png`` with ``Masks/mask_0001-l.png``. ``bus_data.csv`` has ID, Case and
Pathology; both sides of one patient are one Case, which is the group. ``5-fold-cv.csv`` and
``10-fold-cv.csv`` give the authors' partitions (kFold); they are kept beside the Catalog.
"""

from __future__ import annotations

from pathlib import Path

from busaug.data.readers.listing import Found, file_below, find_root, found_file
from busaug.data.readers.tables import read_csv

_TABLE = "bus_data.csv"
_PARTITIONS = ("5-fold-cv", "10-fold-cv")


class BusBraReader:
    """Reads the published folder, or the one above it."""

    name = "bus-bra"
    looks_for = f"{_TABLE} beside the folders Images and Masks"

    def matches(self, folder: Path) -> bool:
        return find_root(folder, _is_root) is not None

    def read(self, folder: Path) -> list[Found]:
        root = find_root(folder, _is_root)
        if root is None:
            return []
        table = read_csv(root / _TABLE).require("ID", "Case", "Pathology")
        folds = _folds(root)
        found: list[Found] = []
        for row in table.rows:
            image = file_below(root, f"Images/{row['id']}.png", table.path)
            mask = root / "Masks" / f"mask_{image.name.removeprefix('bus_')}"
            found.append(
                found_file(
                    root,
                    image,
                    row["pathology"].lower(),
                    [mask] if mask.exists() else [],
                    group=row["case"] or None,
                    folds=folds.get(row["id"]),
                )
            )
        return sorted(found, key=lambda image: image.key)


def _is_root(folder: Path) -> bool:
    return (folder / _TABLE).is_file() and (folder / "Images").is_dir()


def _folds(root: Path) -> dict[str, dict[str, str]]:
    """The folds of each ID by partition, for the tables that are there."""
    folds: dict[str, dict[str, str]] = {}
    for partition in _PARTITIONS:
        path = root / f"{partition}.csv"
        if path.is_file():
            for row in read_csv(path).require("ID", "kFold").rows:
                folds.setdefault(row["id"], {})[partition] = row["kfold"]
    return folds
