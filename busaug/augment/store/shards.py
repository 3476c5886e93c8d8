"""Shards: files of some thousand images each.

A unit's images are kept in one file of their own, ``parts/000012.tar``, until all units are there.
A shard is then packed from a fixed run of units: its bytes do not depend on who made what.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from busaug import console
from busaug.augment.manifest import Manifest
from busaug.augment.plan import Pair, Plan, Unit
from busaug.augment.store.base import Picture
from busaug.data.archives import read_member
from busaug.data.tar import TarWriter, is_whole
from busaug.errors import InputError
from busaug.files import atomic_file

_PARTS = "parts"
_SHARDS = "shards"


class ShardFormat(Protocol):
    """How a shard is laid out."""

    suffix: str

    def write(self, path: Path, pictures: Iterable[Picture]) -> None:
        """Write a new file, the same bytes for the same pictures."""

    def is_whole(self, path: Path) -> bool:
        """Whether a file of ``write`` is there to its end, told without reading all of it."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which units a shard holds."""

    units: int
    """In the whole plan."""
    a_shard: int
    """Units a shard; the last may be short."""

    @classmethod
    def of(cls, plan: Plan, images: int) -> Layout:
        """Shards of so many planned images, rounded up to whole units."""
        return cls(plan.units, math.ceil(images / plan.unit))

    @property
    def shards(self) -> int:
        return math.ceil(self.units / self.a_shard)

    def shard_of(self, unit: int) -> int:
        return unit // self.a_shard

    def units_of(self, shard: int) -> range:
        return range(shard * self.a_shard, min((shard + 1) * self.a_shard, self.units))


class Shards:
    """``shards/shard-000012.SUFFIX`` in the run's folder."""

    def __init__(self, manifest: Manifest, layout: Layout, shape: ShardFormat) -> None:
        self._manifest = manifest
        self._root = manifest.folder
        self._layout = layout
        self._format = shape
        self.shards = layout.shards

    def place(self, unit: Unit, pair: Pair) -> str:
        return f"{self._shard_name(self._layout.shard_of(unit.index))}/{pair.id}.png"

    def keep(self, unit: Unit, pictures: Sequence[Picture]) -> None:
        with atomic_file(self._part(unit.index)) as temporary, TarWriter(temporary) as part:
            for picture in pictures:
                part.add(_member(picture.row["id"]), picture.png)

    def lost(self, units: Collection[int]) -> set[int]:
        packed = set()
        for shard in range(self.shards):
            file = self._root / self._shard_name(shard)
            if self._format.is_whole(file):
                packed.add(shard)
            elif file.exists():
                console.warn(f"{file} is damaged: made again")
                file.unlink()
        unpacked = (unit for unit in units if self._layout.shard_of(unit) not in packed)
        lost = {unit for unit in unpacked if not is_whole(self._part(unit))}
        if lost:
            console.warn(f"the images of {len(lost)} units are missing or damaged: made again")
        return lost

    def pack(self, shard: int) -> None:
        file = self._root / self._shard_name(shard)
        if not file.is_file():
            with atomic_file(file) as temporary:
                self._format.write(temporary, self._pictures(shard))
        for unit in self._layout.units_of(shard):
            self._part(unit).unlink(missing_ok=True)

    def close(self) -> None:
        shutil.rmtree(self._root / _PARTS, ignore_errors=True)

    def _pictures(self, shard: int) -> Iterator[Picture]:
        for unit in self._layout.units_of(shard):
            part = self._part(unit)
            for row in self._manifest.rows_of(unit):
                if row["accepted"]:
                    try:
                        png = read_member(part / _member(row["id"]))
                    except InputError as error:
                        raise InputError(error.what, remedy="Resume the run") from error
                    yield Picture(row, png)

    def _part(self, unit: int) -> Path:
        return self._root / _PARTS / f"{unit:06d}.tar"

    def _shard_name(self, shard: int) -> str:
        return f"{_SHARDS}/shard-{shard:06d}{self._format.suffix}"


def _member(name: str) -> str:
    return f"{name}.png"
