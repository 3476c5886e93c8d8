"""A few rows of many, read one at a time: a fair draw, the same for the same rows."""

from __future__ import annotations

import bisect
import heapq
from collections import Counter
from typing import Generic, TypeVar

from busaug.seeding import key_digest

Stratum = TypeVar("Stratum", str, tuple[str, str])
Kept = TypeVar("Kept")


class Sample(Generic[Stratum, Kept]):
    """What comes first in its stratum by a key of its name; no more is held in memory."""

    def __init__(self, limit: int) -> None:
        """Keep at most ``limit`` of a stratum."""
        self._limit = limit
        self._heaps: dict[Stratum, list[tuple[int, int, str, Kept]]] = {}
        self._seen: Counter[Stratum] = Counter()

    def add(self, stratum: Stratum, name: str, value: Kept) -> None:
        self._seen[stratum] += 1
        rank = int.from_bytes(key_digest("sheet", name), "big")
        heap = self._heaps.setdefault(stratum, [])
        item = (-rank, -self._seen[stratum], name, value)  # the second tells equal names apart
        if len(heap) < self._limit:
            heapq.heappush(heap, item)
        elif heap and item[:2] > heap[0][:2]:
            heapq.heapreplace(heap, item)

    def kept(self, total: int | None = None) -> list[Kept]:
        """By stratum and name, at most ``total``: then the large strata are cut to one size.

        Of more strata than ``total`` the first have one each.
        """
        level = self._limit if total is None else self._level(total)
        chosen: list[Kept] = []
        for stratum in sorted(self._heaps):
            first = sorted(self._heaps[stratum], key=lambda item: item[:2], reverse=True)
            named = sorted(first[: max(level, 1)], key=lambda item: item[2])
            chosen += [value for *_, value in named]
        return chosen if total is None else chosen[:total]

    def _level(self, total: int) -> int:
        """The largest number a stratum with which there are at most ``total``."""
        sizes = [len(heap) for heap in self._heaps.values()]
        levels = range(max(sizes, default=0) + 1)
        return bisect.bisect_right(levels, total, key=lambda n: sum(min(n, s) for s in sizes)) - 1
