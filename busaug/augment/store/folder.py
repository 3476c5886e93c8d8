"""Loose PNG files, ``images/CLASS/ID.png``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from busaug.augment.plan import Pair, Unit
from busaug.augment.store.base import Picture
from busaug.files import atomic_file


class Folder:
    """A tree with a file an image: nothing is packed."""

    shards = 0

    def __init__(self, root: Path) -> None:
        self._root = root

    def place(self, unit: Unit, pair: Pair) -> str:
        return f"images/{pair.label}/{pair.id}.png"

    def keep(self, unit: Unit, pictures: Sequence[Picture]) -> None:
        for picture in pictures:
            with atomic_file(self._root / picture.row["file"]) as temporary:
                temporary.write_bytes(picture.png)

    def lost(self, units: Collection[int]) -> set[int]:
        return set()

    def pack(self, shard: int) -> None:
        raise IndexError(shard)

    def close(self) -> None:
        pass
