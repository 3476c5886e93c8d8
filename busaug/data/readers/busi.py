"""BUSI: Al-Dhabyani, Gomaa, Khaled, Fahmy, Data in Brief 28:104863 (2020).

``benign/benign (12).png`` with ``benign (12)_mask.png`` and, for further lesions of the same
image, ``benign (12)_mask_1.png``... in the folders benign, malignant and normal. It has no patient
ids, and many near-duplicates: groups come from the pictures alone.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from busaug.data.readers.listing import Found, class_folders, list_class

_CLASSES = ("benign", "malignant", "normal")
_ARCHIVE_FOLDER = "Dataset_BUSI_with_GT"
_IMAGE_NAME = re.compile(rf"^({'|'.join(_CLASSES)}) \(\d+\)\.png$")


class BusiReader:
    """Reads the published folder, or the one above it."""

    name = "busi"
    looks_for = "files such as 'benign/benign (12).png' in the folders benign, malignant, normal"

    def matches(self, folder: Path) -> bool:
        return any(_IMAGE_NAME.match(PurePosixPath(f.key).name) for f in self.read(folder))

    def read(self, folder: Path) -> list[Found]:
        root = _root(folder)
        return [
            found
            for classes in class_folders(root)
            if classes.name in _CLASSES
            for found in list_class(root, classes, classes.name)
        ]


def _root(folder: Path) -> Path:
    inner = folder / _ARCHIVE_FOLDER
    return inner if inner.is_dir() else folder
