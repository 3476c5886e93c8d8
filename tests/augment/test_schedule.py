"""Units and processes: every unit once, whoever is free."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from busaug.augment.schedule import Claims, parse_schedule
from busaug.errors import InputError


def test_claims_give_every_unit_to_one(tmp_path: Path) -> None:
    units = list(range(3, 400, 2))
    Claims(tmp_path / "claims").clear()
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: list(Claims(tmp_path / "claims").take(units)), range(8)))
    assert sorted(unit for part in parts for unit in part) == units


def test_whoever_is_free_takes_the_next(tmp_path: Path) -> None:
    """One that takes a unit for each three of another ends with a quarter of them."""
    claims = Claims(tmp_path / "claims")
    claims.clear()
    units = range(20)
    slow, quick = claims.take(units), claims.take(units)

    def turns() -> Iterator[tuple[str, int]]:
        while True:
            for name, taker in (("slow", slow), *[("quick", quick)] * 3):
                unit = next(taker, None)
                if unit is None:
                    return
                yield name, unit

    taken = list(turns())
    assert [unit for _, unit in taken] == list(units)
    assert sum(name == "slow" for name, _ in taken) == 5


def test_claims_of_a_stopped_run_are_forgotten(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims")
    claims.clear()
    assert next(claims.take([7])) == 7
    assert not list(claims.take([7]))
    claims.clear()
    assert list(claims.take([7])) == [7]
    claims.remove()
    assert not (tmp_path / "claims").exists()


def test_an_unknown_schedule_is_named() -> None:
    with pytest.raises(InputError, match=r"'guided'.*static, dynamic"):
        parse_schedule("guided")
