"""The draw of rows that are shown: fair, repeatable, bounded."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from busaug.report.sample import Sample
from busaug.seeding import key_digest

NAMES = st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=3)), max_size=40)


def drawn(rows: list[tuple[str, str]], limit: int, total: int | None = None) -> list[str]:
    sample: Sample[str, str] = Sample(limit)
    for stratum, name in rows:
        sample.add(stratum, name, f"{stratum}/{name}")
    return sample.kept(total)


@given(rows=NAMES, limit=st.integers(1, 6))
def test_the_lowest_digests_of_each_stratum_are_kept(
    rows: list[tuple[str, str]], limit: int
) -> None:
    expected = []
    for stratum in sorted({stratum for stratum, _ in rows}):
        names = sorted(
            (name for other, name in rows if other == stratum),
            key=lambda name: key_digest("sheet", name),
        )
        expected += [f"{stratum}/{name}" for name in sorted(names[:limit])]
    assert drawn(rows, limit) == expected


@given(rows=NAMES, limit=st.integers(1, 6), total=st.integers(0, 12), data=st.data())
def test_a_total_cuts_the_large_strata_alone(
    rows: list[tuple[str, str]], limit: int, total: int, data: st.DataObject
) -> None:
    kept = drawn(rows, limit, total)
    assert kept == drawn(data.draw(st.permutations(rows)), limit, total)
    assert len(kept) <= total
    whole = drawn(rows, limit)
    assert not Counter(kept) - Counter(whole)
    sizes, full = (Counter(name[0] for name in names) for names in (kept, whole))
    if total >= len(full) > 0:
        level = max(sizes.values())
        assert all(sizes[stratum] == min(full[stratum], level) for stratum in full)
        if len(whole) > total:  # one row more of each that is cut would be too many
            assert sum(min(n, level + 1) for n in full.values()) > total


def test_every_row_has_the_same_chance() -> None:
    """Over names that differ in a number only: a tenth is kept, from all parts of the list."""
    kept = drawn([("a", f"image-{index:04d}") for index in range(1000)], 100)
    thirds = Counter(int(name[-4:]) * 3 // 1000 for name in kept)
    assert len(kept) == 100
    assert min(thirds.values()) > 18  # 33 expected, deviation 4.5
