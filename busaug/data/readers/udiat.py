"""UDIAT, or Dataset B: Yap et al., IEEE J. Biomed. Health Inform. 22:1218 (2018).

``original/000001.png`` with ``GT/000001.png``; the class is the column Type of ``DatasetB.xlsx``,
whose column Image may hold the number alone. It has no patient ids.
"""

from __future__ import annotations

from pathlib import Path

from busaug.data.readers.listing import Found, file_below, find_root, found_file
from busaug.data.readers.tables import read_workbook

_TABLE = "DatasetB.xlsx"
_DIGITS = 6


class UdiatReader:
    """Reads the published folder, or the one above it."""

    name = "udiat"
    looks_for = f"the folders original and GT beside {_TABLE}"

    def matches(self, folder: Path) -> bool:
        return find_root(folder, _is_root) is not None

    def read(self, folder: Path) -> list[Found]:
        root = find_root(folder, _is_root)
        if root is None:
            return []
        found: list[Found] = []
        for row in read_workbook(root / _TABLE, "Image", "Type").rows:
            stem = Path(row["image"]).stem.zfill(_DIGITS)
            path = file_below(root, f"original/{stem}.png", root / _TABLE)
            mask = root / "GT" / path.name
            found.append(
                found_file(root, path, row["type"].lower(), [mask] if mask.exists() else [])
            )
        return sorted(found, key=lambda image: image.key)


def _is_root(folder: Path) -> bool:
    return (folder / "original").is_dir() and (folder / "GT").is_dir()
