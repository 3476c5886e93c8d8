"""Curated BUSI (Zenodo 19047974, 2026): 450 images of BUSI, looked through by its authors.

``images/benign_id_20.png`` with ``masks/benign_id_20_mask.png``; the class is the prefix. Like
BUSI it has no patient ids.
"""

from __future__ import annotations

import re
from pathlib import Path

from busaug.data.readers.listing import Found, find_root, found_file, list_images

_IMAGE_NAME = re.compile(r"^(?P<label>benign|malignant|normal)_id_\d+$")


class CuratedBusiReader:
    """Reads the published folder, or the one above it."""

    name = "curated-busi"
    looks_for = "files such as 'images/benign_id_20.png' with 'masks/benign_id_20_mask.png'"

    def matches(self, folder: Path) -> bool:
        return find_root(folder, _is_root) is not None

    def read(self, folder: Path) -> list[Found]:
        root = find_root(folder, _is_root)
        return list(_list(root)) if root else []


def _is_root(folder: Path) -> bool:
    return (folder / "images").is_dir() and any(_list(folder))


def _list(root: Path) -> list[Found]:
    found: list[Found] = []
    for path in list_images(root / "images"):
        if match := _IMAGE_NAME.match(path.stem):
            mask = root / "masks" / f"{path.stem}_mask.png"
            found.append(found_file(root, path, match["label"], [mask] if mask.exists() else []))
    return found
