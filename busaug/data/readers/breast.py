"""BrEaST: Pawłowska et al., Scientific Data 11:148 (2024), TCIA 9WKK-Q141.

``case001.png`` with ``case001_tumor.png``, ``case001_other1.png``... in one folder; a workbook
beside it names them (several masks joined by ``&``) and has CaseID and Classification. A case is a
patient. The mask of an image is all of its lesions.
"""

from __future__ import annotations

import re
from pathlib import Path

from busaug.data.readers.listing import Found, class_folders, file_below, find_root, found_file
from busaug.data.readers.tables import Row, read_workbook
from busaug.errors import InputError

_IMAGE_NAME = re.compile(r"^case\d+\.png$")
_TABLE_PATTERN = "*BrEaST*.xlsx"
_COLUMNS = ("CaseID", "Image_filename", "Mask_tumor_filename", "Classification")
_MASK_COLUMNS = ("mask_tumor_filename", "mask_other_filename")


class BreastReader:
    """Reads the published folder: images in it or in a folder below, the workbook beside."""

    name = "breast"
    looks_for = f"files such as 'case001.png', and a workbook {_TABLE_PATTERN}"

    def matches(self, folder: Path) -> bool:
        return find_root(folder, _has_images) is not None

    def read(self, folder: Path) -> list[Found]:
        images = find_root(folder, _has_images)
        if images is None:
            return []
        tables = sorted(
            table
            for place in {folder, images, images.parent, *class_folders(folder)}
            for table in place.glob(_TABLE_PATTERN)
            if not table.name.startswith((".", "~"))
        )
        if not tables:
            raise InputError(
                f"{folder} has the images of BrEaST but no workbook {_TABLE_PATTERN}",
                remedy="Put the published clinical data beside the images",
            )
        found = [
            found_file(
                folder,
                file_below(images, row["image_filename"], tables[0]),
                row["classification"].lower(),
                [file_below(images, name, tables[0]) for name in _masks(row)],
                group=f"case {row['caseid']}",
            )
            for row in read_workbook(tables[0], *_COLUMNS).rows
        ]
        return sorted(found, key=lambda image: image.key)


def _has_images(folder: Path) -> bool:
    return any(_IMAGE_NAME.match(path.name) for path in folder.glob("case*.png"))


def _masks(row: Row) -> list[str]:
    cells = "&".join(row.get(column, "") for column in _MASK_COLUMNS)
    return [name.strip() for name in cells.split("&") if name.strip()]
