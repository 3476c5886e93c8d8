"""Dealing groups into blocks and blocks into folds."""

from __future__ import annotations

from collections import Counter

import pytest
from experiment.conftest import make_row, make_rows
from hypothesis import given
from hypothesis import strategies as st

from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.experiment.blocks import block_catalogs, check_folds, deal_blocks, deal_folds

SIZES = st.lists(st.integers(1, 5), min_size=6, max_size=25)


@given(SIZES, SIZES, st.integers(2, 6), st.integers(0, 9))
def test_blocks_have_equal_numbers_of_groups_of_each_class(
    benign: list[int], malignant: list[int], blocks: int, seed: int
) -> None:
    catalog = make_rows({"benign": benign, "malignant": malignant})
    block_of = deal_blocks(catalog, blocks, seed)
    assert block_of.keys() == {record.group for record in catalog.records}
    for label in catalog.labels:
        counts = Counter(block_of[group] for group in block_of if group.startswith(label))
        assert max(counts.values()) - min(counts[block] for block in range(blocks)) <= 1
    parts = block_catalogs(catalog, block_of)
    ids = [record.id for part in parts for record in part.records]
    assert sorted(ids) == [record.id for record in catalog.records]


@given(SIZES, SIZES, st.integers(2, 5), st.integers(0, 9))
def test_folds_are_unions_of_blocks_that_part_the_groups(
    benign: list[int], malignant: list[int], folds: int, dealing: int
) -> None:
    block_of = deal_blocks(make_rows({"benign": benign, "malignant": malignant}), 6, 0)
    dealt = deal_folds(block_of, folds, 0, dealing)
    assert sum(map(len, dealt.groups)) == len(dealt.all) == len(block_of)
    for groups in dealt.groups:
        blocks = {block_of[group] for group in groups}
        assert groups == {group for group in block_of if block_of[group] in blocks}
    shares = [len({block_of[group] for group in groups}) for groups in dealt.groups]
    assert max(shares) - min(shares) <= 1
    for groups, validation in zip(dealt.groups, dealt.validation, strict=True):
        assert validation
        assert not validation & groups
        blocks = {block_of[group] for group in validation}
        assert len(blocks) == 1  # 15 % of six
        assert validation == {group for group in block_of if block_of[group] in blocks}


def test_dealings_differ_and_do_not_depend_on_the_order_of_rows() -> None:
    catalog = make_rows({"benign": [1] * 12, "malignant": [2] * 12})
    turned = Catalog(catalog.root, catalog.records[::-1])
    block_of = deal_blocks(catalog, 6, 0)
    assert block_of == deal_blocks(turned, 6, 0)
    assert block_of != deal_blocks(catalog, 6, 1)
    assert deal_folds(block_of, 3, 0, 0) != deal_folds(block_of, 3, 0, 1)


def test_a_fold_without_a_class_is_named() -> None:
    catalog = make_rows({"benign": [1] * 8, "malignant": [4, 1]})
    folds = deal_folds(deal_blocks(catalog, 4, 0), 4, 0, 2)
    with pytest.raises(InputError, match=r"fold \d of seed 2 has no malignant image"):
        check_folds(folds, catalog, 2)


def test_a_group_of_two_classes_is_refused() -> None:
    rows = (make_row("a", "benign", "both"), make_row("b", "malignant", "both"))
    with pytest.raises(InputError, match="group both has images of the classes"):
        deal_blocks(Catalog(make_rows({}).root, rows), 2, 0)
