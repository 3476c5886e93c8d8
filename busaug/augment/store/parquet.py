"""Parquet shards, a row an image, that Hugging Face ``datasets`` decodes by itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from busaug.augment.store.base import Picture

if TYPE_CHECKING:
    import pyarrow

_GROUP = 256  # rows of a row group: some megabytes
_MAGIC = b"PAR1"
_FIGURES = ("loss_initial", "loss_final", "style_left", "ssim")
_INDEXED = ("id", "label", "content", "group", "seed")  # minimum and maximum a row group


class Parquet:
    """Columns id, image, label, content, references, group, seed and the image's figures.

    ``image`` holds the PNG file and its name; ``label`` is an index into the classes that the
    schema names. The same pictures give the same bytes with the same release of pyarrow.
    """

    suffix = ".parquet"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = list(labels)

    def write(self, path: Path, pictures: Iterable[Picture]) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        schema = _schema(self._labels)
        remaining = iter(pictures)
        # PNG files cannot be compressed any further, and no two are the same
        with ParquetWriter(
            path,
            schema,
            compression="none",
            use_dictionary=False,
            write_statistics=list(_INDEXED),
        ) as file:
            while rows := [self._row(p) for p in itertools.islice(remaining, _GROUP)]:
                file.write_table(pyarrow.Table.from_pylist(rows, schema))

    def is_whole(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(size - len(_MAGIC), 0))
                return file.read() == _MAGIC
        except FileNotFoundError:
            return False

    def _row(self, picture: Picture) -> dict[str, Any]:
        row = picture.row
        return {
            "id": row["id"],
            "image": {"bytes": picture.png, "path": f"{row['id']}.png"},
            "label": self._labels.index(row["class"]),
            "content": row["content"],
            "references": row["references"],
            "group": row["group"],
            "seed": row["seed"],
            **{name: row[name] for name in _FIGURES},
        }


def _schema(labels: Sequence[str]) -> pyarrow.Schema:
    """Types of the columns, and what ``datasets`` takes them for."""
    import pyarrow as pa

    text = {"dtype": "string", "_type": "Value"}
    features: dict[str, Any] = {
        "id": text,
        "image": {"_type": "Image"},
        "label": {"names": list(labels), "_type": "ClassLabel"},
        "content": text,
        "references": {"feature": text, "_type": "Sequence"},
        "group": text,
        "seed": {"dtype": "int64", "_type": "Value"},
        **{name: {"dtype": "float64", "_type": "Value"} for name in _FIGURES},
    }
    types = {
        "id": pa.string(),
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "label": pa.int64(),
        "content": pa.string(),
        "references": pa.list_(pa.string()),
        "group": pa.string(),
        "seed": pa.int64(),
        **dict.fromkeys(_FIGURES, pa.float64()),
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(types, metadata=metadata)
