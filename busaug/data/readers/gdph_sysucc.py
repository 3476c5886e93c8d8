"""GDPH and SYSUCC: Mo et al., IEEE Trans. Med. Imaging 42:1696 (2023).

``GDPH/benign(443).png`` and ``SYSUCC/malignant(12).png``: the class is the prefix, no space before
the bracket. ``BIRADS&FOLD.xlsx`` has ID and fold, the authors' partition, which is kept beside the
Catalog. It has no patient ids, no masks, and many near-duplicates.
"""

from __future__ import annotations

import re
from pathlib import Path

from busaug.data.readers.listing import Found, class_folders, find_root, found_file, list_images
from busaug.data.readers.tables import read_workbook

_HOSPITALS = ("GDPH", "SYSUCC")
_IMAGE_NAME = re.compile(r"^(?P<label>benign|malignant)\(\d+\)$")
_TABLE = "BIRADS&FOLD.xlsx"
_PARTITION = "fold"


class GdphSysuccReader:
    """Reads the published folder or the one above it, with one hospital or both."""

    name = "gdph-sysucc"
    looks_for = "files such as 'GDPH/benign(443).png' or 'SYSUCC/malignant(12).png'"

    def matches(self, folder: Path) -> bool:
        return find_root(folder, _is_root) is not None

    def read(self, folder: Path) -> list[Found]:
        root = find_root(folder, _is_root)
        return _list(root, _folds(root)) if root else []


def _is_root(folder: Path) -> bool:
    return bool(_list(folder, {}))


def _list(root: Path, folds: dict[str, str]) -> list[Found]:
    found: list[Found] = []
    for hospital in class_folders(root):
        if hospital.name not in _HOSPITALS:
            continue
        for path in list_images(hospital):
            if match := _IMAGE_NAME.match(path.stem):
                fold = {_PARTITION: folds[path.stem]} if folds.get(path.stem) else {}
                found.append(found_file(root, path, match["label"], folds=fold))
    return found


def _folds(root: Path) -> dict[str, str]:
    path = root / _TABLE
    if not path.is_file():
        return {}
    return {row["id"]: row["fold"] for row in read_workbook(path, "ID", "fold").rows}
