"""The training, validation and test split: 70/15/15, by group, stratified, seeded.

A group (near-duplicates, one patient) never parts. Each group's place is drawn with a key of its
own content, so neither file order nor the machine matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from busaug.data.catalog import SPLITS, Split
from busaug.seeding import draw, key_digest

Counts = dict[Split, int]


def split_counts(count: int) -> tuple[int, int, int]:
    """How many of ``count`` images go to train, val and test: 70 % and 15 % rounded down, rest."""
    train, val = count * 70 // 100, count * 15 // 100
    return train, val, count - train - val


def split_groups(images: Iterable[tuple[str, str]], seed: int) -> dict[str, Split]:
    """Place every group; ``images`` are the (group, class) of each image.

    Groups of one image give exactly ``split_counts`` in every class. Bigger groups are placed
    first, where they still fit, and the small ones fill up what is left. A class with three groups
    or more has an image in every split.
    """
    sizes: dict[str, Counter[str]] = {}
    for group, label in images:
        sizes.setdefault(group, Counter())[label] += 1
    room = _targets(sizes)
    waiting = Counter(label for counts in sizes.values() for label in counts)
    # splits that a class has yet to reach; a class with too few groups has no claim to all three
    empty = {c: set(SPLITS) if waiting[c] >= len(SPLITS) else set() for c in waiting}

    placed: dict[str, Split] = {}
    by_size = sorted(sizes, key=lambda g: (-sizes[g].total(), key_digest(seed, "split order", g)))
    for group in by_size:
        counts = sizes[group]
        due = {s for label in counts if waiting[label] <= len(empty[label]) for s in empty[label]}
        split = _draw_split(group, _odds(counts, room, due), seed)
        placed[group] = split
        for label, count in counts.items():
            room[label][split] -= count
            waiting[label] -= 1
            empty[label].discard(split)
    return placed


def _targets(sizes: Mapping[str, Counter[str]]) -> dict[str, Counts]:
    """Images wanted of each class in each split; at least one each where three groups allow it."""
    images: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    for counts in sizes.values():
        images.update(counts)
        groups.update(counts.keys())
    wanted: dict[str, Counts] = {}
    for label, count in images.items():
        targets: Counts = dict(zip(SPLITS, split_counts(count), strict=True))
        if groups[label] >= len(SPLITS) and not targets["val"]:
            targets["test" if targets["test"] > 1 else "train"] -= 1
            targets["val"] = 1
        wanted[label] = targets
    return wanted


def _odds(counts: Counter[str], room: Mapping[str, Counts], due: set[Split]) -> dict[Split, int]:
    """The odds of each split for a group: the room left in it, among the splits that can take it.

    Splits that are due for the group come first, then those with room for the whole group; where
    there is neither, the one with the most room.
    """
    space = {split: sum(room[label][split] for label in counts) for split in SPLITS}
    if due:
        return {split: max(space[split], 1) for split in SPLITS if split in due}
    fits = {
        split: space[split]
        for split in SPLITS
        if all(count <= room[label][split] for label, count in counts.items())
    }
    return fits or {max(SPLITS, key=lambda split: space[split]): 1}


def _draw_split(group: str, odds: Mapping[Split, int], seed: int) -> Split:
    names = list(odds)
    total = sum(odds.values())
    chosen = draw(seed, "split", group).choice(len(names), p=[odds[name] / total for name in names])
    return names[int(chosen)]
