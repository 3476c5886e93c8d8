"""Tables beside the images: CSV of any common separator and encoding, and Excel workbooks."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from busaug.errors import InputError

_BYTES_MAX = 2**26
_UNPACKED_MAX = 2**28  # a workbook is a zip archive
# a few bytes of a workbook can claim billions of empty cells
_ROWS_MAX = 200_000
_COLUMNS_MAX = 256
_SEPARATORS = ",;\t|"

Row = Mapping[str, str]
"""Column, in lower case, to cell; both stripped."""


@dataclass(frozen=True)
class Table:
    """The rows of a file, every cell a text."""

    path: Path
    columns: tuple[str, ...]
    """In lower case."""
    rows: tuple[Row, ...]

    def require(self, *columns: str) -> Table:
        """Itself; InputError where it lacks one of the columns."""
        missing = [name for name in columns if name.lower() not in self.columns]
        if missing:
            raise InputError(
                f"{self.path} has no column {missing[0]!r}"
                f" (it has {', '.join(map(repr, self.columns)) or 'none'})",
                remedy="Restore the table as it was published",
            )
        return self


def read_csv(path: Path) -> Table:
    """Read a CSV file: the separator is told from the header, UTF-8 or else Windows-1252.

    Raises InputError where it is missing, no text, or larger than 64 MiB.
    """
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise InputError(f"{path} is larger than 64 MiB", remedy="Check the file")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}", remedy="Restore the table"
        ) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    header = text.splitlines()[0] if text else ""
    separator = max(_SEPARATORS, key=header.count)
    try:
        return _table(path, csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise InputError(
            f"{path} cannot be read as CSV: {error}", remedy="Restore the table"
        ) from error


def read_workbook(path: Path, *columns: str) -> Table:
    """Read the first sheet of an .xlsx workbook that has the columns in its first row.

    Raises InputError where it is missing, damaged, unpacks to more than 256 MiB, has no such sheet,
    or openpyxl is not installed.
    """
    if importlib.util.find_spec("openpyxl") is None:
        raise InputError(
            f"{path} is an Excel workbook, and openpyxl is not installed",
            remedy="pip install 'busaug[excel]'",
        )
    from openpyxl import load_workbook

    tables: list[Table] = []
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > _UNPACKED_MAX:
                raise InputError(f"{path} unpacks to more than 256 MiB", remedy="Check the file")
            for sheet in load_workbook(file, read_only=True, data_only=True).worksheets:
                tables.append(_table(path, sheet.iter_rows(values_only=True, max_col=_COLUMNS_MAX)))
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", remedy="Restore the table") from error
    except Exception as error:  # what damage makes the parser raise has no limit
        raise InputError(
            f"{path} cannot be read as an Excel workbook ({type(error).__name__})",
            remedy="Restore the table",
        ) from error
    if not tables:
        raise InputError(f"{path} has no sheet", remedy="Restore the table")
    wanted = {name.lower() for name in columns}
    return next((t for t in tables if wanted <= set(t.columns)), tables[0]).require(*columns)


def _table(path: Path, lines: Iterable[Sequence[Any]]) -> Table:
    rows: list[list[str]] = []
    for number, line in enumerate(lines, start=1):
        if number > _ROWS_MAX:
            raise InputError(f"{path} has more than {_ROWS_MAX} rows", remedy="Check the file")
        if any(line):
            rows.append([_text(cell) for cell in line])
    if not rows:
        return Table(path, (), ())
    columns = [name.lower() for name in rows[0]]
    while not columns[-1]:
        columns.pop()
    found = (dict(zip(columns, row + [""] * len(columns), strict=False)) for row in rows[1:])
    return Table(path, tuple(columns), tuple(found))


def _text(cell: Any) -> str:
    """A cell as people read it: whole numbers without a fraction."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return re.sub(r"\s+", " ", str(cell)).strip()
