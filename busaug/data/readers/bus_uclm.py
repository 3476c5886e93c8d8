"""BUS-UCLM: Vallez et al., Scientific Data 12:242 (2025).

``images/ANFO_005.png`` with ``masks/ANFO_005.png`` (green benign, red malignant, black normal).
``INFO.csv``, separated by semicolons, has Image, Label, Doppler and Combined; the first four
letters of a name are the patient. Doppler frames and combined ones (two views in one picture) are
left out.
"""

from __future__ import annotations

from pathlib import Path

from busaug.data.decoders import is_named_image
from busaug.data.readers.listing import Found, file_below, find_root, found_file
from busaug.data.readers.tables import Row, read_csv

_TABLE = "INFO.csv"
_PATIENT_LETTERS = 4
_UNFIT = {"doppler": "Doppler frame", "combined": "combined frame"}
_NO = frozenset({"", "0", "no", "false", "n", "-", "none", "nan"})


class BusUclmReader:
    """Reads the published folder, or the one above it."""

    name = "bus-uclm"
    looks_for = f"{_TABLE} beside the folders images and masks"

    def matches(self, folder: Path) -> bool:
        return find_root(folder, _is_root) is not None

    def read(self, folder: Path) -> list[Found]:
        root = find_root(folder, _is_root)
        if root is None:
            return []
        table = read_csv(root / _TABLE).require("Image", "Label", *_UNFIT)
        found: list[Found] = []
        for row in table.rows:
            name = row["image"] if is_named_image(row["image"]) else f"{row['image']}.png"
            path = file_below(root, f"images/{name}", table.path)
            mask = root / "masks" / path.name
            found.append(
                found_file(
                    root,
                    path,
                    row["label"].lower(),
                    [mask] if mask.exists() else [],
                    group=path.name[:_PATIENT_LETTERS],
                    unfit=_unfit(row),
                )
            )
        return sorted(found, key=lambda image: image.key)


def _is_root(folder: Path) -> bool:
    return (folder / _TABLE).is_file() and (folder / "images").is_dir()


def _unfit(row: Row) -> str | None:
    """Why the row's image is no plain B-mode; whatever is not a no counts as a yes."""
    return next((why for column, why in _UNFIT.items() if row[column].lower() not in _NO), None)
