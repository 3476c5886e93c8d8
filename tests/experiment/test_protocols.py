"""Who trains and who is tested; that nothing leaks under the honest protocol, and all under the
paper's."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiment.conftest import make_row, make_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from busaug.augment.plan import plan_pairs
from busaug.augment.sources import Sources
from busaug.config import load_config
from busaug.data.catalog import Catalog
from busaug.data.images import pixel_hash, to_gray, write_pixels
from busaug.data.phantom import phantom
from busaug.errors import InputError
from busaug.experiment.blocks import block_catalogs, deal_blocks, deal_folds
from busaug.experiment.protocols import honest, paper
from busaug.experiment.samples import (
    LeakError,
    Sample,
    check_apart,
    check_groups,
    real_sample,
    synthetic_sample,
)


def synthesised(parts: list[Catalog], pairs: str) -> list[Sample]:
    """Samples as a style arm would make them, without any image."""
    config = load_config(overrides=["style.references=2", f"plan.pairs={pairs}"])
    return [
        synthetic_sample(
            {
                "id": pair.id,
                "content": pair.content.id,
                "references": [record.id for record in pair.references],
                "class": pair.label,
                "group": pair.content.group,
                "sha256": f"pixels of {pair.id}",
            },
            part.by_id,
        )
        for part in parts
        for unit in plan_pairs(Sources.of(part), config)
        for pair in unit.pairs
    ]


SIZES = st.lists(st.integers(1, 3), min_size=12, max_size=16)
quickly = settings(max_examples=15)


@quickly
@given(SIZES, SIZES, st.integers(0, 3), st.integers(0, 3), st.integers(0, 2))
def test_sets_made_within_blocks_serve_every_fold_whole(
    benign: list[int], malignant: list[int], seed: int, dealing: int, fold: int
) -> None:
    catalog = make_rows({"benign": benign, "malignant": malignant})
    block_of = deal_blocks(catalog, 3, seed)
    folds = deal_folds(block_of, 3, seed, dealing)
    made = synthesised(list(block_catalogs(catalog, block_of)), "1")
    samples = [*map(real_sample, catalog.records), *made]
    partition = honest(samples, folds, fold)

    tested = folds.groups[fold]
    assert {samples[row].id for row in partition.test} == {
        record.id for record in catalog.records if record.group in tested
    }
    # what is left out is what is tested and what was made of it; nothing else is lost
    assert set(partition.train.tolist()) == {
        row for row, sample in enumerate(samples) if sample.group not in tested
    }
    seen = {group for row in partition.train for group in samples[row].origins}
    assert not seen & tested
    for train, validation in partition.inner:
        assert set(train) | set(validation) <= set(partition.train)
        inner = {group for row in train for group in samples[row].origins}
        assert not inner & {samples[row].group for row in validation}
    train, validation = partition.stopping
    kept = folds.validation[fold]
    assert {samples[row].group for row in validation} == kept
    assert not any(samples[row].synthetic for row in validation)
    # blocks are whole on either side: the images made within them are lost to neither
    assert set(train.tolist()) == {
        row for row, sample in enumerate(samples) if sample.group not in tested | kept
    }


@quickly
@given(SIZES, st.integers(0, 3), st.integers(0, 2))
def test_of_all_pairs_only_those_without_a_tested_source_train(
    sizes: list[int], dealing: int, fold: int
) -> None:
    catalog = make_rows({"benign": sizes, "malignant": sizes})
    folds = deal_folds(deal_blocks(catalog, 3, 0), 3, 0, dealing)
    samples = [*map(real_sample, catalog.records), *synthesised([catalog], "all")]
    partition = honest(samples, folds, fold)
    trains = [samples[row] for row in partition.train]
    assert any(sample.synthetic for sample in trains)
    assert not any(sample.origins & folds.groups[fold] for sample in trains)


def test_the_papers_protocol_tests_variants_of_what_it_trained_on() -> None:
    catalog = make_rows({"benign": [1] * 10, "malignant": [1] * 20})
    samples = [*map(real_sample, catalog.records), *synthesised([catalog], "all")]
    partition = paper(samples, 0, 0)
    ((train, validation),) = partition.inner
    # 100 and 400 pairs, 70/15/15 of each, as the release counts them
    assert [len(train), len(validation), len(partition.test)] == [350, 75, 75]
    assert set(train) == set(partition.train) == set(partition.stopping[0])
    assert set(validation) == set(partition.stopping[1])
    assert len({*train, *validation, *partition.test}) == 500
    assert all(samples[row].synthetic for row in partition.test)
    with pytest.raises(LeakError, match="leaks"):
        check_apart([samples[row] for row in train], [samples[row] for row in partition.test])


def test_without_synthetic_images_the_paper_splits_the_real_ones_by_file() -> None:
    catalog = make_rows({"benign": [1] * 20, "malignant": [1] * 20})
    partition = paper(list(map(real_sample, catalog.records)), 0, 0)
    assert [len(partition.train), len(partition.test)] == [28, 6]
    other = paper(list(map(real_sample, catalog.records)), 0, 1)
    assert set(other.test) != set(partition.test)


def test_too_few_images_for_three_parts_are_told_of() -> None:
    catalog = make_rows({"benign": [1] * 20, "malignant": [1] * 6})
    with pytest.raises(InputError, match="6 images of malignant are too few to be split"):
        paper(list(map(real_sample, catalog.records)), 0, 0)


def test_a_source_with_the_pixels_of_a_test_image_is_a_leak() -> None:
    content, other = make_row("a", "benign", "g1"), make_row("b", "benign", "g2")
    row = {"id": "s", "content": "a", "references": ["b"], "class": "benign", "group": "g1"}
    made = synthetic_sample({**row, "sha256": "new"}, {"a": content, "b": other})
    tested = real_sample(make_row("t", "benign", "g3"))
    check_apart([made], [tested])
    copied = Sample("t", "benign", "g3", frozenset({"g3"}), frozenset({other.sha256}), False)
    with pytest.raises(LeakError, match="test image t leaks: training image s"):
        check_apart([made], [copied])


def test_near_duplicates_in_different_groups_are_found(tmp_path: Path) -> None:
    rows = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        image, _ = phantom("benign", seed, 64)
        image = image * (0.97 if name == "b" else 1.0)
        pixels = to_gray(image, 8).pixels
        row = make_row(name, "benign", f"group {name}")
        write_pixels(tmp_path / row.file, pixels)
        rows.append(type(row)(**{**vars(row), "sha256": pixel_hash(pixels)}))
    catalog = Catalog(tmp_path, tuple(rows))
    check_groups(Catalog(tmp_path, (rows[0], rows[2])))
    with pytest.raises(LeakError, match="a and b are near-duplicates in different groups"):
        check_groups(catalog)
