"""Samples of the ``webdataset`` library: members of a tar that share a name up to the first dot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from busaug.data.catalog import Record
from busaug.data.tar import TarWriter
from busaug.errors import InputError
from busaug.files import json_line


def add_sample(
    archive: TarWriter, name: str, pngs: Mapping[str, bytes], row: Mapping[str, Any], label: int
) -> None:
    """Write ``NAME.KEY.png`` for every key (``NAME.png`` for the key ``""``), ``NAME.json`` (the
    row) and ``NAME.cls`` (index of the class).
    """
    for key, data in pngs.items():
        archive.add(member(name, key), data)
    archive.add(f"{name}.json", json_line(row).encode())
    archive.add(f"{name}.cls", str(label).encode())


def member(name: str, key: str = "") -> str:
    """The member that holds a picture of the sample."""
    return f"{name}.{key}.png" if key else f"{name}.png"


def check_ids(records: Iterable[Record]) -> None:
    """InputError for an id that would be cut in two."""
    for record in records:
        if "." in record.id:
            raise InputError(
                f"image {record.id} has a dot in its id, where webdataset lets a name end",
                remedy="Make the Catalog with 'busaug prepare', or choose another format",
            )
