"""Which images are tested together: groups to blocks once, blocks to folds for every seed.

A style reference is drawn inside its content's own block, and a fold is a union of blocks. So one
set of synthetic images serves every fold of every seed: none was made from both sides of a split.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.seeding import draw, key_digest

VALIDATION = 0.15
"""The paper's share."""


@dataclasses.dataclass(frozen=True)
class Folds:
    """A dealing of blocks into folds."""

    groups: tuple[frozenset[str], ...]
    """The groups of each fold."""
    validation: tuple[frozenset[str], ...]
    """Beside each fold, groups of other folds on which a training is stopped: whole blocks, about
    15 % of all, at most a fold."""

    @property
    def all(self) -> frozenset[str]:
        return frozenset().union(*self.groups)


def deal_blocks(catalog: Catalog, count: int, seed: int) -> dict[str, int]:
    """The block, 0 ... count - 1, of every group.

    Blocks have equal numbers of groups of every class (to one), since a reference has to come from
    another group than the content, and, as far as that allows, of images. Large groups are dealt
    first, each to the block with the fewest groups of its class, then the fewest images of it.
    Raises InputError for a group with images of two classes.
    """
    label_of: dict[str, str] = {}
    for record in catalog.records:
        if label_of.setdefault(record.group, record.label) != record.label:
            raise InputError(
                f"{catalog.root}: group {record.group} has images of the classes "
                f"{label_of[record.group]} and {record.label}",
                remedy="Make the Catalog with 'busaug prepare', which leaves such groups out",
            )
    sizes = Counter(record.group for record in catalog.records)
    block_of: dict[str, int] = {}
    everything = [0] * count
    for label in catalog.labels:
        members = [group for group in sizes if label_of[group] == label]
        members.sort(key=lambda g: (-sizes[g], key_digest(seed, "block", g)))
        groups, images = [0] * count, [0] * count
        for group in members:
            # The last word goes to the block with the fewest images of all classes, so that the
            # odd groups of one class do not meet those of the other.
            block = min(range(count), key=lambda b: (groups[b], images[b], everything[b], b))
            block_of[group] = block
            groups[block] += 1
            images[block] += sizes[group]
            everything[block] += sizes[group]
    return block_of


def deal_folds(block_of: Mapping[str, int], folds: int, seed: int, dealing: int) -> Folds:
    """Deal the blocks into folds, as many each (to one); ``dealing`` numbers the seeds."""
    blocks = sorted(set(block_of.values()))
    order = draw(seed, "folds", dealing).permutation(blocks)
    shares = [list(map(int, part)) for part in np.array_split(order, folds)]
    few = max(1, round(VALIDATION * len(blocks)))

    def groups(share: Sequence[int]) -> frozenset[str]:
        return frozenset(group for group, block in block_of.items() if block in share)

    following = shares[1:] + shares[:1]
    return Folds(
        tuple(groups(share) for share in shares),
        tuple(groups(share[:few]) for share in following),
    )


def check_folds(folds: Folds, catalog: Catalog, dealing: int) -> None:
    """Raise InputError where a fold has no image of some class: nothing could be said of it."""
    for number, groups in enumerate(folds.groups):
        present = {record.label for record in catalog.records if record.group in groups}
        missing = [label for label in catalog.labels if label not in present]
        if missing:
            raise InputError(
                f"fold {number} of seed {dealing} has no {missing[0]} image among its "
                f"{len(groups)} groups",
                remedy="Lower folds or blocks, or add images",
            )


def block_catalogs(catalog: Catalog, block_of: Mapping[str, int]) -> Sequence[Catalog]:
    """A Catalog of each block, all its rows for training."""
    count = max(block_of.values()) + 1
    return [
        training_rows_of(catalog.where(lambda record, b=b: block_of[record.group] == b))  # type: ignore[misc]
        for b in range(count)
    ]


def training_rows_of(catalog: Catalog) -> Catalog:
    """The Catalog with every row in the training split: what it is used for is decided here."""
    rows = tuple(dataclasses.replace(record, split="train") for record in catalog.records)
    return Catalog(catalog.root, rows)
