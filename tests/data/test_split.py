"""The split: the paper's counts, no group in two splits, the same whatever the order."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busaug.data.catalog import SPLITS
from busaug.data.split import split_counts, split_groups


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (348, (243, 52, 53)),
        (452, (316, 67, 69)),
        (348**2, (84772, 18165, 18167)),
        (452**2, (143012, 30645, 30647)),
        (90, (63, 13, 14)),  # 0.7 x 90 is 62.99... in floating point
    ],
)
def test_published_counts(count, expected):
    assert split_counts(count) == expected


def test_single_images_split_exactly_in_every_class():
    images = [(f"b{i}", "benign") for i in range(348)] + [
        (f"m{i}", "malignant") for i in range(452)
    ]
    placed = split_groups(images, seed=0)
    counts = Counter((label, placed[group]) for group, label in images)
    assert [counts["benign", split] for split in SPLITS] == [243, 52, 53]
    assert [counts["malignant", split] for split in SPLITS] == [316, 67, 69]


def test_order_does_not_matter_and_the_seed_does():
    images = [(f"g{i % 70}", "benign") for i in range(100)] + [
        (f"h{i}", "normal") for i in range(30)
    ]
    shuffled = random.Random(1).sample(images, len(images))
    assert split_groups(images, seed=3) == split_groups(shuffled, seed=3)
    assert split_groups(images, seed=3) != split_groups(images, seed=4)


def test_single_groups_land_in_each_split_at_its_share():
    """No place is favoured: over 200 seeds one group's places follow 70/15/15."""
    images = [(f"g{i}", "benign") for i in range(20)]
    places = Counter(split_groups(images, seed)["g7"] for seed in range(200))
    expected = {"train": 140, "val": 30, "test": 30}
    chi_square = sum((places[s] - n) ** 2 / n for s, n in expected.items())
    assert chi_square < 13.8  # p = 0.001 at two degrees of freedom


@st.composite
def grouped_images(draw):
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=40))
    labels = draw(st.lists(st.sampled_from("abc"), min_size=len(sizes), max_size=len(sizes)))
    return [
        (f"g{number}", label)
        for number, (size, label) in enumerate(zip(sizes, labels, strict=True))
        for _ in range(size)
    ]


@given(grouped_images(), st.integers(0, 5))
def test_counts_are_near_and_every_split_is_reached(images, seed):
    placed = split_groups(images, seed)
    assert placed.keys() == {group for group, _ in images}
    for label in {label for _, label in images}:
        groups = Counter(group for group, name in images if name == label)
        counts = Counter(placed[group] for group in groups.elements())
        if len(groups) >= 3:
            assert all(counts[split] for split in SPLITS)
        wanted = dict(zip(SPLITS, split_counts(groups.total()), strict=True))
        # a split overshoots by less than a group, or by one group where it would stay empty
        slack = max(groups.values())
        assert all(counts[split] - wanted[split] <= slack for split in SPLITS)


@given(grouped_images(), st.integers(0, 5))
def test_enough_single_images_make_the_counts_exact(images, seed):
    sizes = Counter(group for group, _ in images)
    extra = 20 * max(sizes.values()) + len(images)
    images = [(group, "a") for group, _ in images] + [(f"single{i}", "a") for i in range(extra)]
    placed = split_groups(images, seed)
    counts = Counter(placed[group] for group, _ in images)
    assert tuple(counts[split] for split in SPLITS) == split_counts(len(images))


def test_a_patient_with_lesions_of_both_classes_stays_whole():
    images = [(f"p{i}", "benign") for i in range(20)] + [(f"p{i}", "malignant") for i in range(20)]
    placed = split_groups(images, seed=0)
    assert len(placed) == 20
    assert Counter(placed.values()) == {"train": 14, "val": 3, "test": 3}
