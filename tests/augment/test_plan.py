"""The plan: counts, classes, splits, draws."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from augment.conftest import make_record
from hypothesis import given, settings
from hypothesis import strategies as st

from busaug.augment.plan import plan_pairs
from busaug.augment.sources import Sources
from busaug.config import Config, load_config
from busaug.data.catalog import Catalog, Record
from busaug.errors import InputError


def _catalog(*records: Record) -> Catalog:
    return Catalog(Path("unused"), records)


def _classes(benign: int, malignant: int) -> Catalog:
    rows = [make_record(i, "benign", "train") for i in range(benign)]
    return _catalog(*rows, *(make_record(i, "malignant", "train") for i in range(malignant)))


def test_all_pairs_of_the_paper() -> None:
    """348 and 452 images make 348^2 + 452^2 pairs, self-pairs included."""
    config = load_config(preset="paper", overrides=["style.references=1"])
    plan = plan_pairs(Sources.of(_classes(348, 452)), config)
    assert len(plan) == 325_408
    assert plan.counts() == {"benign": 121_104, "malignant": 204_304}
    assert plan.units == 325_408 // 8
    last = plan.work_unit(plan.units - 1).pairs[-1]
    assert (last.index, last.label, last.ordinal) == (325_407, "malignant", 451)


def test_all_pairs_are_every_ordered_pair_once() -> None:
    config = load_config(overrides=["plan.pairs=all", "style.references=1"])
    plan = plan_pairs(Sources.of(_classes(4, 3)), config)
    seen = {(p.content.id, p.references[0].id) for unit in plan for p in unit.pairs}
    assert len(seen) == len(plan) == 16 + 9


@settings(max_examples=25)
@given(k=st.integers(1, 4), sets=st.integers(1, 4), unit=st.integers(1, 7), seed=st.integers(0, 50))
def test_sets_hold_distinct_images_of_the_class_and_other_groups(
    k: int, sets: int, unit: int, seed: int
) -> None:
    rows = [make_record(i, "benign", "train", f"g{i // 2}") for i in range(8)]
    rows += [make_record(i, "malignant", "train") for i in range(7)]
    config = load_config(
        overrides=[
            f"style.references={k}", f"plan.pairs={sets}", f"plan.unit={unit}", f"seed={seed}",
        ]
    )  # fmt: skip
    plan = plan_pairs(Sources.of(_catalog(*rows)), config)
    pairs = [pair for work in plan for pair in work.pairs]
    assert [pair.index for pair in pairs] == list(range(len(plan)))
    assert len({pair.id for pair in pairs}) == len(pairs) == 15 * sets
    anchors: dict[str, set[str]] = {}
    for pair in pairs:
        assert len({r.id for r in pair.references}) == len(pair.references) == k
        assert all(r.label == pair.label for r in pair.references)
        assert all(r.group != pair.content.group for r in pair.references)
        anchors.setdefault(pair.content.id, set()).add(pair.references[0].id)
    assert all(len(found) == sets for found in anchors.values())


def test_a_pair_depends_on_its_content_not_on_the_order_of_rows() -> None:
    rows = [make_record(i, "benign", "train") for i in range(9)]
    config = load_config()
    forward, backward = (
        plan_pairs(Sources.of(_catalog(*rows)), config),
        plan_pairs(Sources.of(_catalog(*rows[::-1])), config),
    )
    assert [u.pairs for u in forward] == [u.pairs for u in backward]


def test_contents_are_stratified() -> None:
    config = load_config(overrides=["plan.contents=10"])
    assert plan_pairs(Sources.of(_classes(30, 20)), config).counts() == {
        "benign": 6,
        "malignant": 4,
    }


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["plan.contents=99"], "plan.contents=99"),
        (["style.references=5"], "'benign' has 5 styles"),
        (["plan.pairs=5"], "too few"),
    ],
)
def test_impossible_plans_are_refused(overrides: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        plan_pairs(Sources.of(_classes(5, 5)), load_config(overrides=overrides))


def test_only_training_rows_are_given_to_the_plan(job: Callable[..., object]) -> None:
    plan = job().plan()  # type: ignore[attr-defined]
    used = {r for unit in plan for p in unit.pairs for r in (p.content, *p.references)}
    assert {record.split for record in used} == {"train"}


def test_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().style.size = 3  # type: ignore[misc]


@settings(max_examples=25)
@given(
    unit=st.integers(1, 7), sets=st.integers(1, 4), chosen=st.sets(st.integers(0, 59), max_size=20)
)
def test_what_is_told_without_drawing_is_what_is_drawn(
    unit: int, sets: int, chosen: set[int]
) -> None:
    config = load_config(overrides=[f"plan.unit={unit}", f"plan.pairs={sets}"])
    plan = plan_pairs(Sources.of(_classes(8, 7)), config)
    pairs = [pair for work in plan for pair in work.pairs]
    assert list(plan.ids()) == [pair.id for pair in pairs]
    units = sorted(index for index in chosen if index < plan.units)
    theirs = [pair for index in units for pair in plan.work_unit(index).pairs]
    assert plan.images_in(units) == len(theirs)
    assert plan.contents_of(units) == list(dict.fromkeys(pair.content for pair in theirs))


def test_contents_share_the_sets_of_their_anchors() -> None:
    """Only a content whose own group is in an anchor's set needs another one."""
    config = load_config(overrides=["plan.pairs=all", "style.references=4"])
    plan = plan_pairs(Sources.of(_classes(12, 9)), config)
    sets: dict[str, Counter[tuple[str, ...]]] = {}
    for work in plan:
        for pair in work.pairs:
            names = tuple(record.id for record in pair.references)
            sets.setdefault(names[0], Counter())[names] += 1
    for anchor, found in sets.items():
        usual, uses = found.most_common(1)[0]
        size = 12 if anchor.startswith("benign") else 9
        assert uses == size - 3, (anchor, usual)
        assert len(found) <= 4
