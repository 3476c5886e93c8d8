"""What every store does: keep the images of a run, and know where each is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Protocol

from busaug.augment.manifest import Row
from busaug.augment.plan import Pair, Unit


@dataclasses.dataclass(frozen=True)
class Picture:
    """An accepted image."""

    row: Row
    """Of the manifest; its ``file`` is the store's ``place``."""
    png: bytes


class Store(Protocol):
    """Where the accepted images of a run go."""

    shards: int
    """Files to pack when all units are there; 0 where nothing is packed."""

    def place(self, unit: Unit, pair: Pair) -> str:
        """Where the image of a pair will be found in the end, relative to the run's folder."""

    def keep(self, unit: Unit, pictures: Sequence[Picture]) -> None:
        """Put a unit's accepted images on disk, whole when this returns."""

    def lost(self, units: Collection[int]) -> set[int]:
        """Those of the units, all kept once, whose images are not whole any more.

        For one process, while no other writes. What is damaged is removed.
        """

    def pack(self, shard: int) -> None:
        """Make a shard, in 0 ... shards - 1, of the units that it holds; all of them are kept.

        A shard that is there is left alone. Processes may pack different shards side by side.
        """

    def close(self) -> None:
        """Remove what was needed on the way, when all is packed."""
