"""A plain tree with one folder a class: ``SOURCE/benign/anything.png``.

The class is the name of the folder right below the source. Images may lie deeper; masks are
siblings named ``x_mask.png``, ``x_mask_1.png``...
"""

from __future__ import annotations

from pathlib import Path

from busaug.data.readers.listing import Found, class_folders, list_class


class FolderReader:
    """Reads any tree of class folders with PNG, TIFF, JPEG or BMP files."""

    name = "folder"
    looks_for = "one folder a class with PNG, TIFF, JPEG or BMP images in it"

    def matches(self, folder: Path) -> bool:
        return any(self.read(folder))

    def read(self, folder: Path) -> list[Found]:
        return [
            found
            for classes in class_folders(folder)
            for found in list_class(folder, classes, classes.name)
        ]
