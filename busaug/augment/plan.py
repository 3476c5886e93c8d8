"""Which images are made: (content, references) pairs in fixed work units.

A plan is a function of the training rows, the configuration and the seed; it holds counts, not
pairs, so that hundreds of thousands of pairs cost nothing until they are asked for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

from busaug.config import Config
from busaug.data.catalog import Catalog, Record
from busaug.errors import InputError
from busaug.seeding import draw, key_digest, key_seed


@dataclasses.dataclass(frozen=True)
class Pair:
    """One image to make."""

    index: int
    content: Record
    references: tuple[Record, ...]
    """The anchor style first."""
    ordinal: int
    """Of the reference set among those of this content."""

    @property
    def id(self) -> str:
        return f"{self.content.id}--{self.ordinal:04d}"

    @property
    def label(self) -> str:
        return self.content.label


@dataclasses.dataclass(frozen=True)
class Unit:
    """A batch of pairs: what is computed, written, resumed and counted."""

    index: int
    pairs: tuple[Pair, ...]


@dataclasses.dataclass(frozen=True)
class _ClassPlan:
    contents: tuple[Record, ...]
    pool: tuple[Record, ...]
    """Training images of the class that may serve as style, in the seeded order."""
    sets: int
    """Reference sets a content."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Every pair of a run, made on demand."""

    classes: tuple[_ClassPlan, ...]
    seed: int
    references: int
    unit: int
    all_pairs: bool

    def __len__(self) -> int:
        return sum(len(part.contents) * part.sets for part in self.classes)

    @property
    def units(self) -> int:
        return math.ceil(len(self) / self.unit)

    def counts(self) -> dict[str, int]:
        """Pairs a class."""
        return {p.contents[0].label: len(p.contents) * p.sets for p in self.classes}

    def pair(self, index: int) -> Pair:
        """The pair of this index in 0 ... len - 1."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        offset = index
        for part in self.classes:
            size = len(part.contents) * part.sets
            if offset < size:
                content, ordinal = divmod(offset, part.sets)
                return self._pair(index, part, part.contents[content], ordinal)
            offset -= size
        raise AssertionError("unreachable")

    def work_unit(self, index: int) -> Unit:
        """The unit of this index in 0 ... units - 1; the last may be short."""
        begin = index * self.unit
        end = min(begin + self.unit, len(self))
        return Unit(index, tuple(self.pair(i) for i in range(begin, end)))

    def __iter__(self) -> Iterator[Unit]:
        return (self.work_unit(index) for index in range(self.units))

    def _pair(self, index: int, part: _ClassPlan, content: Record, ordinal: int) -> Pair:
        if self.all_pairs:
            anchor = part.pool[ordinal]
        else:
            # Distinct anchors for the sets of a content, the content itself left out.
            others = [record for record in part.pool if record.group != content.group]
            order = draw(self.seed, "anchor", content.sha256).permutation(len(others))
            anchor = others[int(order[ordinal])]
        fill = [r for r in part.pool if r.group != content.group and r.id != anchor.id]
        count = self.references - 1
        chosen = draw(self.seed, "references", content.sha256, anchor.sha256).choice(
            len(fill), size=count, replace=False
        )
        return Pair(index, content, (anchor, *(fill[int(i)] for i in chosen)), ordinal)


def plan_pairs(training: Catalog, config: Config) -> Plan:
    """The plan over a Catalog's training rows (the caller passes only those).

    ``plan.pairs = all`` makes every ordered same-class pair, self-pairs included, one set each;
    K makes K sets a content with distinct anchors from other groups. A set is the anchor and k - 1
    further images drawn from the class, of other groups than the content.
    Raises InputError where a class has too few images.
    """
    k, pairs = config.style.references, config.plan.pairs
    chosen = _choose_contents(training, config)
    classes = []
    for label in training.labels:
        pool = _keyed_order(training.of_class(label).records, config.seed)
        groups = {record.group for record in pool}
        needed = k if pairs == "all" else max(k, pairs)
        largest = max(sum(record.group == group for record in pool) for group in groups)
        if len(pool) - largest < needed and not (k == 1 and pairs == "all"):
            raise InputError(
                f"class {label!r} has {len(pool)} training images in {len(groups)} groups, too few "
                f"for reference sets of {k} and {pairs} sets a content",
                remedy="Lower style.references or plan.pairs, or add images",
            )
        if chosen[label]:
            sets = len(pool) if pairs == "all" else pairs
            classes.append(_ClassPlan(chosen[label], pool, sets))
    return Plan(tuple(classes), config.seed, k, config.plan.unit, pairs == "all")


def pair_seed(seed: int, pair: Pair) -> int:
    """The seed of a pair's own draws."""
    return key_seed(seed, "pair", pair.content.sha256, *(r.sha256 for r in pair.references))


def _keyed_order(records: Sequence[Record], seed: int) -> tuple[Record, ...]:
    return tuple(sorted(records, key=lambda r: (key_digest(seed, "order", r.sha256), r.id)))


def _choose_contents(training: Catalog, config: Config) -> dict[str, tuple[Record, ...]]:
    """Contents a class: every image, or ``plan.contents`` in all, shared out by class size."""
    by_class = {
        label: _keyed_order(training.of_class(label).records, config.seed)
        for label in training.labels
    }
    total = sum(len(records) for records in by_class.values())
    wanted = config.plan.contents
    if wanted is None:
        return by_class
    if wanted > total:
        raise InputError(
            f"plan.contents={wanted}, but the training split has {total} images",
            remedy=f"Use at most {total}",
        )
    exact = {label: wanted * len(records) / total for label, records in by_class.items()}
    counts = {label: int(value) for label, value in exact.items()}
    rest = sorted(exact, key=lambda label: (counts[label] - exact[label], label))
    for label in rest[: wanted - sum(counts.values())]:
        counts[label] += 1
    return {label: records[: counts[label]] for label, records in by_class.items()}
