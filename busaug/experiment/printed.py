"""Tables of results as others print them: their columns, and how exact the figures are."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from busaug.errors import InputError

RATES: Mapping[str, tuple[str, ...]] = {
    "accuracy": ("accuracy", "acc", "overall accuracy", "test accuracy", "classification accuracy"),
    "sensitivity": ("sensitivity", "sens", "sen", "se", "recall", "rec", "tpr", "hit rate",
                    "true positive rate"),
    "specificity": ("specificity", "spec", "spe", "sp", "tnr", "true negative rate"),
    "precision": ("precision", "prec", "ppv", "positive predictive value"),
    "npv": ("npv", "negative predictive value"),
    "f1": ("f1", "f1 score", "f score", "f measure", "f1 measure", "f1score", "dice"),
    "balanced_accuracy": ("balanced accuracy", "bal acc", "bacc", "ba"),
}  # fmt: skip
"""Names that a rate goes by in column heads, in lower case without marks."""
COUNTS: Mapping[str, tuple[str, ...]] = {
    "n": ("n", "images", "samples", "support", "test images", "total", "test size"),
    "positives": ("positives", "malignant", "p", "n positive", "condition positive"),
    "negatives": ("negatives", "benign", "n negative", "condition negative"),
}

_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?|[-+]?[.,]\d+")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A rate as printed, and the values it may stand for."""

    text: str
    printed: Fraction
    """From 0 to 1."""
    low: Fraction
    high: Fraction
    percent: bool

    @classmethod
    def of(cls, text: str, *, percent: bool) -> Figure:
        """A figure rounded or cut off at its last digit: half a unit below it to one above.

        The bounds count as attained. They are exact, so that no matrix at a bound is lost.
        """
        digits = _digits(text)
        scale = Fraction(1, 100) if percent else Fraction(1)
        unit = scale / 10 ** len(digits.partition(".")[2])
        printed = Fraction(digits) * scale
        low, high = max(Fraction(0), printed - unit / 2), min(Fraction(1), printed + unit)
        return cls(text, printed, low, high, percent)

    def like(self, value: Fraction) -> str:
        """Another value as this one is printed, with one digit more."""
        decimals = len(_digits(self.text).partition(".")[2]) + 1
        return f"{float(value * (100 if self.percent else 1)):.{decimals}f}"


@dataclasses.dataclass(frozen=True)
class PrintedRow:
    """One line of a published table."""

    name: str
    rates: Mapping[str, Figure]
    """By the names in ``RATES``."""
    counts: Mapping[str, int]
    """By the names in ``COUNTS``."""


def read_printed(file: Path) -> list[PrintedRow]:
    """The rows of a CSV file (comma, semicolon or tab; a decimal comma where it is no separator).

    Columns are known by their names; the first other one names the rows. Rates in per cent are told
    by a % sign or by a value above 1 in any of the table's cells. Raises InputError for a file that
    cannot be read, no column that is known, a column met twice, or a cell that is no number.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}", remedy="Name a CSV file") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        raise InputError(f"{file} holds no row", remedy="Give a line of column names, then rows")
    separator = max("\t;,", key=lines[0].count)
    table = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    head, *rows = table
    for number, row in enumerate(rows, start=2):
        if len(row) != len(head):
            raise InputError(
                f"{file}: row {number} has {len(row)} cells, the head {len(head)}",
                remedy="Quote cells that hold the separator",
            )
    columns = _columns(head, file)
    rate_cells = [row[i] for row in rows for key, i in columns.items() if key in RATES]
    percent = any("%" in cell for cell in rate_cells) or any(
        "%" in head[i] for key, i in columns.items() if key in RATES
    )
    percent = percent or any(_number(cell) > 1 for cell in rate_cells if _filled(cell))
    named = next((i for i in range(len(head)) if i not in columns.values()), None)
    return [
        _row(row, f"row {number}" if named is None else row[named], columns, percent, file)
        for number, row in enumerate(rows, start=1)
    ]


def _row(
    cells: Sequence[str], name: str, columns: Mapping[str, int], percent: bool, file: Path
) -> PrintedRow:
    rates, counts = {}, {}
    for key, index in columns.items():
        cell = cells[index]
        if not _filled(cell):
            continue
        value = _number(cell)
        if key in COUNTS:
            if value < 0 or value != int(value):
                raise InputError(
                    f"{file}: {name}: {cell!r} is no count", remedy="Give a whole number"
                )
            counts[key] = int(value)
            continue
        rates[key] = Figure.of(cell, percent=percent)
        if not 0 <= rates[key].printed <= 1:
            raise InputError(
                f"{file}: {name}: {cell!r} is no rate",
                remedy="Give rates from 0 to 1, or from 0 to 100 %",
            )
    return PrintedRow(name, rates, counts)


def _columns(head: Sequence[str], file: Path) -> dict[str, int]:
    names = {name: key for table in (RATES, COUNTS) for key, group in table.items()
             for name in group}  # fmt: skip
    found: dict[str, int] = {}
    for index, title in enumerate(head):
        plain = re.sub(r"[^a-z0-9]+", " ", re.sub(r"\(.*?\)", " ", title.lower())).strip()
        key = names.get(plain)
        if key is None:
            continue
        if key in found:
            raise InputError(
                f"{file}: the columns {head[found[key]]!r} and {title!r} are both {key}",
                remedy="Remove or rename one",
            )
        found[key] = index
    if not found.keys() & RATES.keys():
        known = ", ".join(group[0] for group in RATES.values())
        raise InputError(
            f"{file} has no column of a known rate in {', '.join(map(repr, head))}",
            remedy=f"Name columns {known}",
        )
    return found


def _filled(cell: str) -> bool:
    return _NUMBER.search(cell) is not None


def _digits(cell: str) -> str:
    found = _NUMBER.search(cell)
    if found is None:
        raise ValueError(f"{cell!r} holds no number")
    return found.group().replace(",", ".")


def _number(cell: str) -> float:
    return float(_digits(cell))
