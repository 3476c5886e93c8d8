"""A plain tree with one folder a class: ``SOURCE/benign/anything.png``.

The class is the name of the folder right below the source, or one deeper where those are splits
(``train/benign/anything.png``; the splits are kept in the names only). Images may lie deeper; masks
are siblings named ``x_mask.png``, ``x_mask_1.png``... The Thammasat set (onlinemedicalimages.com),
downloaded image by image, and most re-hosted sets have this layout.
"""

from __future__ import annotations

from pathlib import Path

from busaug.data.readers.listing import Found, class_folders, list_class

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


class FolderReader:
    """Reads any tree of class folders with images."""

    name = "folder"
    looks_for = "one folder a class with PNG, TIFF, JPEG, BMP, DICOM or .npy images in it"

    def matches(self, folder: Path) -> bool:
        return any(self.read(folder))

    def read(self, folder: Path) -> list[Found]:
        classes = class_folders(folder)
        if classes and all(path.name.lower() in _SPLITS for path in classes):
            classes = [path for split in classes for path in class_folders(split)]
        return [found for path in classes for found in list_class(folder, path, path.name)]
