"""The Catalog: one row an image, the only thing that passes between the stages on disk.

On disk it is a folder with ``catalog.jsonl`` and the images that its rows name, each a one-channel
8- or 16-bit PNG, with masks beside them. Nothing guesses from folder names after ingest.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from busaug.config import canonical_hash
from busaug.errors import InputError
from busaug.files import read_jsonl, write_jsonl

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
CATALOG_FILE = "catalog.jsonl"


@dataclasses.dataclass(frozen=True)
class Record:
    """One image of a Catalog."""

    id: str
    """Unique and safe as a file name."""
    file: str
    """Image path relative to the Catalog's folder, POSIX separators; may lead into an archive
    (``busaug.data.archives``)."""
    label: str
    """Class name (``class`` on disk)."""
    group: str
    """Images of one group (near-duplicates, one patient) never part."""
    split: Split
    sha256: str
    """Of the decoded pixels (``busaug.data.images.pixel_hash``)."""
    width: int
    height: int
    bit_depth: int
    source: str
    """Where it came from: data set name and the file's path in it, or the run that made it."""
    mask: str | None = None
    """Lesion mask path relative to the folder: 8-bit PNG, 255 inside."""
    overlay: str | None = None
    """Mask of burnt-in marks and the black surround, likewise; None where there are none."""

    def row(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return {("class" if key == "label" else key): value for key, value in values.items()}

    @classmethod
    def from_row(cls, row: dict[str, Any], origin: Path) -> Record:
        values = {("label" if key == "class" else key): value for key, value in row.items()}
        try:
            record = cls(**values)
        except TypeError as error:
            raise InputError(
                f"{origin}: a row does not fit a Catalog ({error})",
                remedy="Make the Catalog with 'busaug prepare'",
            ) from error
        if record.split not in SPLITS:
            raise InputError(
                f"{origin}: image {record.id} has the split {record.split!r}",
                remedy=f"Use one of {', '.join(SPLITS)}",
            )
        for name in filter(None, (record.file, record.mask, record.overlay)):
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise InputError(
                    f"{origin}: image {record.id} names {name!r}, outside the Catalog",
                    remedy="Make the Catalog with 'busaug prepare'",
                )
        return record


@dataclasses.dataclass(frozen=True)
class Catalog:
    """A folder of images with their rows, sorted by id."""

    root: Path
    records: tuple[Record, ...]

    @classmethod
    def load(cls, root: Path) -> Catalog:
        """Read a Catalog folder; InputError where it is none, empty, or holds an id twice."""
        file = root / CATALOG_FILE
        if not file.is_file():
            raise InputError(
                f"{root} is not a Catalog: it has no {CATALOG_FILE}",
                remedy="Name a folder made by 'busaug prepare'",
            )
        records = [Record.from_row(row, file) for row in read_jsonl(file)]
        if not records:
            raise InputError(f"{file} lists no image", remedy="Prepare a data set with images")
        twice = [name for name, n in Counter(r.id for r in records).items() if n > 1]
        if twice:
            raise InputError(f"{file} has the id {twice[0]!r} twice", remedy="Make ids unique")
        return cls(root, tuple(sorted(records, key=lambda record: record.id)))

    def save(self, root: Path | None = None) -> None:
        """Write the rows (not the images) to ``root``, by default the Catalog's own folder."""
        rows = (record.row() for record in sorted(self.records, key=lambda record: record.id))
        write_jsonl((root or self.root) / CATALOG_FILE, rows)

    def path(self, record: Record) -> Path:
        return self.root / record.file

    def without_root(self, text: str) -> str:
        """``text`` with paths into this folder made relative: records do not tell where it lies."""
        return text.replace(f"{self.root}/", "")

    def mask_path(self, record: Record) -> Path | None:
        return self.root / record.mask if record.mask else None

    @functools.cached_property
    def by_id(self) -> dict[str, Record]:
        return {record.id: record for record in self.records}

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, sorted; the last of two is the positive one (benign < malignant)."""
        return tuple(sorted({record.label for record in self.records}))

    @property
    def hash(self) -> str:
        """Of every row: two Catalogs with the same hash hold the same pixels, classes, splits."""
        return canonical_hash([record.row() for record in self.records])

    def where(self, keep: Callable[[Record], bool]) -> Catalog:
        return Catalog(self.root, tuple(record for record in self.records if keep(record)))

    def split(self, name: Split) -> Catalog:
        return self.where(lambda record: record.split == name)

    def of_class(self, label: str) -> Catalog:
        return self.where(lambda record: record.label == label)


def shared_groups(records: Iterable[Record]) -> Sequence[str]:
    """Groups found in more than one split: empty in a Catalog without leakage."""
    splits: dict[str, set[str]] = {}
    for record in records:
        splits.setdefault(record.group, set()).add(record.split)
    return sorted(group for group, names in splits.items() if len(names) > 1)
