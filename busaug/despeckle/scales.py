"""Where the scales go: each to a Catalog of its own, of loose files or of tar shards."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

from typing_extensions import Self

from busaug.config import LOOSE_MAX, OutputConfig
from busaug.data.archives import is_member
from busaug.data.catalog import CATALOG_FILE, Catalog, Record
from busaug.data.decoders.levels import Pixels
from busaug.data.images import encode_png, pixel_hash
from busaug.data.tar import TarWriter
from busaug.data.webdataset import add_sample, check_ids, member
from busaug.errors import InputError
from busaug.files import json_line

Format = Literal["png", "webdataset"]
Masks = Mapping[str, bytes]
"""The PNG files of an image's masks by kind: ``mask``, ``overlay``."""

SHARD: int = OutputConfig.model_fields["shard"].default
"""Images a shard."""


def parse_format(text: str, images: int) -> Format:
    """The format of that name; ``auto`` is ``png`` for up to LOOSE_MAX images over all scales."""
    if text == "auto":
        return "png" if images <= LOOSE_MAX else "webdataset"
    for known in get_args(Format):
        if text == known:
            return known  # type: ignore[no-any-return]
    raise InputError(f"unknown --format {text!r}", remedy="Use one of auto, png, webdataset")


class ScaleWriter(abc.ABC):
    """One scale of a Catalog, written image by image in the Catalog's order.

    A context manager. The folder is new, and whole only where nothing was raised.
    """

    def __init__(self, source: Catalog, root: Path) -> None:
        self._source = source
        self._root = root
        root.mkdir(parents=True)
        self._rows = (root / CATALOG_FILE).open("w", encoding="utf-8")

    def add(self, record: Record, pixels: Pixels, masks: Masks) -> None:
        """Write the scale of the record's image, with the masks that it came with."""
        places = self._places(record, masks)
        made = dataclasses.replace(
            record,
            file=places["file"],
            mask=places.get("mask"),
            overlay=places.get("overlay"),
            sha256=pixel_hash(pixels),
            source=f"{self._root.name} of {record.source}",
        )
        self._write(made, encode_png(pixels), masks)
        self._rows.write(json_line(made.row()))

    @abc.abstractmethod
    def _places(self, record: Record, masks: Masks) -> dict[str, str]:
        """Paths in the new Catalog: ``file`` and the kinds of mask there are."""

    @abc.abstractmethod
    def _write(self, record: Record, png: bytes, masks: Masks) -> None:
        """Write the files of a record of the new Catalog."""

    def close(self) -> None:
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class LooseScale(ScaleWriter):
    """Files named as in the source; those from an archive ``images/CLASS/ID.png`` and the like."""

    def _places(self, record: Record, masks: Masks) -> dict[str, str]:
        places = {"file": self._place(record.file, f"images/{record.label}/{record.id}.png")}
        for kind in masks:
            name = getattr(record, kind)
            places[kind] = self._place(name, f"{kind}s/{record.id}.png")
        return places

    def _place(self, name: str, unpacked: str) -> str:
        return unpacked if is_member(self._source.root / name) else name

    def _write(self, record: Record, png: bytes, masks: Masks) -> None:
        for name, data in ((record.file, png), *((getattr(record, k), masks[k]) for k in masks)):
            file = self._root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)


class ShardedScale(ScaleWriter):
    """``shards/shard-000012.tar`` for the ``webdataset`` library, masks beside their images."""

    def __init__(self, source: Catalog, root: Path) -> None:
        super().__init__(source, root)
        (root / "shards").mkdir()
        self._labels = source.labels
        self._written = 0
        self._shard: TarWriter | None = None

    def close(self) -> None:
        if self._shard is not None:
            self._shard.close()
        super().close()

    def _places(self, record: Record, masks: Masks) -> dict[str, str]:
        keys = {"file": "", **{kind: kind for kind in masks}}
        return {field: f"{self._name}/{member(record.id, key)}" for field, key in keys.items()}

    def _write(self, record: Record, png: bytes, masks: Masks) -> None:
        if self._written % SHARD == 0:
            if self._shard is not None:
                self._shard.close()
            self._shard = TarWriter(self._root / self._name)
        assert self._shard is not None
        label = self._labels.index(record.label)
        add_sample(self._shard, record.id, {"": png, **masks}, record.row(), label)
        self._written += 1

    @property
    def _name(self) -> str:
        """The shard that the next image goes to."""
        return f"shards/shard-{self._written // SHARD:06d}.tar"


def open_scale(source: Catalog, root: Path, kind: Format) -> ScaleWriter:
    """The writer of that format; InputError where the Catalog's ids do not fit it."""
    if kind == "png":
        return LooseScale(source, root)
    check_ids(source.records)
    return ShardedScale(source, root)
