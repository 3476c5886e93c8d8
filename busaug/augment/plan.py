"""Which images are made: (content, references) pairs in fixed work units.

A plan is a function of the training rows, the configuration and the seed; it holds counts, not
pairs, so that hundreds of thousands of pairs cost nothing until they are asked for.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence

from busaug.augment.framing import extent_of
from busaug.augment.sources import Sources
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
        return pair_id(self.content, self.ordinal)

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
    """Images that may serve the class as style, in the seeded order."""
    sets: int
    """Reference sets a content."""
    orders: dict[str, tuple[int, ...]] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )
    """Anchor id to the seeded order in which the pool joins it, filled on demand."""

    def set_of(self, anchor: Record, content: Record, size: int, seed: int) -> tuple[Record, ...]:
        """The anchor and the first ``size - 1`` of its order that are of other groups.

        The order depends on the anchor alone, so that most contents share an anchor's set.
        """
        order = self.orders.get(anchor.id)
        if order is None:
            drawn = draw(seed, "references", anchor.sha256).permutation(len(self.pool))
            order = self.orders[anchor.id] = tuple(map(int, drawn))
        others = (self.pool[index] for index in order)
        fit = (r for r in others if r.group != content.group and r.id != anchor.id)
        return (anchor, *itertools.islice(fit, size - 1))


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
        part, content, ordinal = self._place(index)
        return self._pair(index, part, content, ordinal)

    def work_unit(self, index: int) -> Unit:
        """The unit of this index in 0 ... units - 1; the last may be short."""
        begin = index * self.unit
        end = min(begin + self.unit, len(self))
        return Unit(index, tuple(self.pair(i) for i in range(begin, end)))

    def __iter__(self) -> Iterator[Unit]:
        return (self.work_unit(index) for index in range(self.units))

    def images_in(self, units: Collection[int]) -> int:
        """How many images these units hold together."""
        short = self.units * self.unit - len(self) if self.units - 1 in units else 0
        return len(units) * self.unit - short

    def contents_of(self, units: Iterable[int]) -> list[Record]:
        """The content images of these units, each once, in order; no references are drawn."""
        found: dict[str, Record] = {}
        for unit in units:
            for index in range(unit * self.unit, min((unit + 1) * self.unit, len(self))):
                content = self._place(index)[1]
                found[content.id] = content
        return list(found.values())

    def ids(self) -> Iterator[str]:
        """The id of every pair, in order, without drawing any references."""
        for part in self.classes:
            for content in part.contents:
                yield from (pair_id(content, ordinal) for ordinal in range(part.sets))

    @property
    def shares_references(self) -> bool:
        """Whether a reference set serves two pairs or more, in the mean."""
        anchors = sum(len(part.pool) for part in self.classes)
        return len(self) >= 2 * anchors

    def _place(self, index: int) -> tuple[_ClassPlan, Record, int]:
        """Class, content and ordinal of a pair; IndexError where there is none."""
        offset = index
        for part in self.classes if index >= 0 else ():
            size = len(part.contents) * part.sets
            if offset < size:
                content, ordinal = divmod(offset, part.sets)
                return part, part.contents[content], ordinal
            offset -= size
        raise IndexError(index)

    def _pair(self, index: int, part: _ClassPlan, content: Record, ordinal: int) -> Pair:
        if self.all_pairs:
            anchor = part.pool[ordinal]
        else:
            # Distinct anchors for the sets of a content, the content itself left out.
            others = [record for record in part.pool if record.group != content.group]
            order = draw(self.seed, "anchor", content.sha256).permutation(len(others))
            anchor = others[int(order[ordinal])]
        references = part.set_of(anchor, content, self.references, self.seed)
        return Pair(index, content, references, ordinal)


def plan_pairs(sources: Sources, config: Config) -> Plan:
    """The plan over training rows and those that may style them.

    ``plan.pairs = all`` makes every ordered same-class pair, self-pairs included, one set each;
    K makes K sets a content with distinct anchors from other groups. A set is the anchor and k - 1
    further images of the class in an order drawn for the anchor, of other groups than the content.
    Raises InputError where a class has too few images.
    """
    k, pairs = config.style.references, config.plan.pairs
    training = sources.contents
    chosen = _choose_contents(training, config)
    classes = []
    for label in training.labels:
        pool = _keyed_order(sources.pool(label), config.seed)
        groups = {record.group for record in pool}
        needed = k if pairs == "all" else max(k, pairs)
        largest = max(sum(record.group == group for record in pool) for group in groups)
        if len(pool) - largest < needed and not (k == 1 and pairs == "all"):
            raise InputError(
                f"class {label!r} has {len(pool)} styles in {len(groups)} groups, too few for "
                f"reference sets of {k} and {pairs} sets a content",
                remedy="Lower style.references or plan.pairs, or add images",
            )
        if chosen[label]:
            sets = len(pool) if pairs == "all" else pairs
            classes.append(_ClassPlan(_by_extent(chosen[label], config), pool, sets))
    return Plan(tuple(classes), config.seed, k, config.plan.unit, pairs == "all")


def pair_id(content: Record, ordinal: int) -> str:
    """Content's id and the number of the reference set among those of this content."""
    return f"{content.id}--{ordinal:04d}"


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


def _by_extent(records: Sequence[Record], config: Config) -> tuple[Record, ...]:
    """Contents of one extent beside each other, since only those make a batch."""
    style = config.style
    return tuple(sorted(records, key=lambda r: extent_of(r, style.size, style.aspect)))
