"""Near-duplicate groups on made copies and on the real set's reference list."""

from __future__ import annotations

import csv
import random

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from busaug.data.duplicates import (
    conflicting_groups,
    fingerprint,
    join_groups,
    near_duplicate_groups,
)
from busaug.data.images import GrayImage, read_gray


def picture(seed, shape=(120, 160)):
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 6)
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def groups_of(*images):
    return near_duplicate_groups([fingerprint(GrayImage(image)) for image in images])


def test_copies_group_and_others_do_not():
    first, other = picture(0), picture(1)
    marked = first.copy()
    marked[50:54, 40:120] = 255
    brighter = (40 + 0.7 * first).astype(np.uint8)
    shifted = shift(first, (2, 3), order=1, mode="nearest")
    deeper = first.astype(np.uint16) * 257
    smaller = first[::2, ::2]
    groups = groups_of(first, first, marked, other, brighter, shifted, deeper, smaller)
    assert len(set(groups)) == 2
    assert groups.count(groups[3]) == 1


def test_unlike_pictures_all_stand_alone():
    assert len(set(groups_of(*(picture(seed) for seed in range(60))))) == 60


def test_groups_are_transitive_and_named_by_content():
    first, last = picture(0), picture(1)
    chain = [((1 - t) * first + t * last).astype(np.uint8) for t in np.linspace(0, 1, 12)]
    groups = groups_of(*chain, picture(2))
    assert len(set(groups)) == 2
    order = random.Random(0).sample(range(13), 13)
    images = [*chain, picture(2)]
    assert groups_of(*(images[i] for i in order)) == [groups[i] for i in order]


def test_blocks_of_the_search_join(monkeypatch):
    monkeypatch.setattr("busaug.data.duplicates._BLOCK", 3)
    images = [picture(seed % 5) + np.uint8(seed // 5) for seed in range(10)]
    groups = groups_of(*images)
    assert groups[:5] == groups[5:]
    assert len(set(groups)) == 5


def test_nothing_to_group():
    assert near_duplicate_groups([]) == []
    assert join_groups([], []) == []


def test_hints_join_groups():
    groups = ["g1", "g2", "g3", "g4", "g3", "g5"]
    patients = ["p", None, "p", "q", "r", None]
    assert join_groups(groups, patients) == ["g1", "g2", "g1", "g4", "g1", "g5"]


def test_conflicts_are_groups_of_several_classes():
    assert conflicting_groups(["a", "a", "b", "b", "c"], ["x", "y", "x", "x", "y"]) == {"a"}


@pytest.mark.real
def test_the_reference_pairs_of_the_real_set(busi_256):
    """Every reference pair ends in one group, also across classes, and no group is a blob."""
    with (busi_256 / "near_duplicates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    named = {row[end] for row in rows for end in "ab"}
    files = sorted(name for name in named if (busi_256 / name).is_file())
    fingerprints = [fingerprint(read_gray(busi_256 / name)) for name in files]
    group = dict(zip(files, near_duplicate_groups(fingerprints), strict=True))
    pairs = [(row["a"], row["b"]) for row in rows if row["a"] in group and row["b"] in group]
    assert len(pairs) == 139
    assert all(group[a] == group[b] for a, b in pairs)
    sizes = [list(group.values()).count(name) for name in set(group.values())]
    assert max(sizes) <= 8
    assert len(sizes) > 90
    labels = [name.split("/")[0] for name in group]
    conflicts = conflicting_groups(list(group.values()), labels)
    across = {group[a] for a, b in pairs if a.split("/")[0] != b.split("/")[0]}
    assert group["malignant/malignant (145).png"] in across
    assert across <= conflicts
