"""Any folder with a CSV file that names images and their classes.

Columns are known by name, in any case: the image (``image``, ``file``, ``path``...), the class
(``class``, ``label``, ``pathology``...) and, where there are such, masks (several joined by ``&``)
and the patient or case, which is the group. Paths are relative to the table's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from busaug.data.readers.listing import Found, file_below, found_file
from busaug.data.readers.tables import Table, read_csv
from busaug.errors import InputError

_IMAGE = ("image", "image_path", "image_file", "image_filename", "file", "filename", "file_name",
          "path", "img")  # fmt: skip
_CLASS = ("class", "label", "diagnosis", "pathology", "classification", "category", "type")
_MASK = ("mask", "mask_path", "mask_file", "mask_filename", "masks")
_GROUP = ("group", "patient", "patient_id", "patientid", "case", "case_id", "caseid", "subject",
          "subject_id")  # fmt: skip


class CsvReader:
    """Reads the first CSV file of a folder that has a column of images and one of classes."""

    name = "csv"
    looks_for = "a CSV file with a column such as 'image' or 'file' and one such as 'class'"

    def matches(self, folder: Path) -> bool:
        return _find(folder) is not None

    def read(self, folder: Path) -> list[Found]:
        table = _find(folder)
        if table is None:
            return []
        image, label = _column(table, _IMAGE), _column(table, _CLASS)
        mask, group = _column(table, _MASK), _column(table, _GROUP)
        found: list[Found] = []
        for row in table.rows:
            masks = [name for name in (row[mask] if mask else "").split("&") if name.strip()]
            found.append(
                found_file(
                    folder,
                    file_below(folder, row[image or ""], table.path),
                    row[label or ""],
                    [file_below(folder, name, table.path) for name in masks],
                    group=(row[group] or None) if group else None,
                )
            )
        _require_once(found, table)
        return sorted(found, key=lambda image: image.key)


def _find(folder: Path) -> Table | None:
    """The first fitting table; one that cannot be read is passed over."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".csv", ".tsv") or path.name.startswith("."):
            continue
        try:
            table = read_csv(path)
        except InputError:
            continue
        if table.rows and _column(table, _IMAGE) and _column(table, _CLASS):
            return table
    return None


def _column(table: Table, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in table.columns), None)


def _require_once(found: Sequence[Found], table: Table) -> None:
    seen: set[str] = set()
    for image in found:
        if image.key in seen:
            raise InputError(
                f"{table.path} names {image.key!r} twice", remedy="Give each image one row"
            )
        seen.add(image.key)
