"""Batches that do not fit into memory, and images that fail alone."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from augment.conftest import contents_of, rows_of
from hypothesis import given
from hypothesis import strategies as st

from busaug.augment.engine import Engine, Outcome
from busaug.augment.fallback import within_memory
from busaug.augment.inputs import PairInputs
from busaug.augment.job import Job
from busaug.augment.manifest import Manifest
from busaug.augment.maps import RelevanceMaps
from busaug.augment.plan import Unit
from busaug.augment.run import augment
from busaug.data.catalog import Record
from busaug.device import out_of_memory
from busaug.files import read_json

MakeJob = Callable[..., Job]
UNIT = ("plan.unit=8", "plan.contents=8", "plan.pairs=1")


class Memory:
    """Doubles numbers, so many at a time, and never the bad ones."""

    def __init__(self, room: int, bad: frozenset[int]) -> None:
        self.room, self.bad = room, bad
        self.sizes: list[int] = []

    def __call__(self, items: Sequence[int]) -> list[tuple[int, int]]:
        """Each number doubled, with the size of the batch in which that was done."""
        self.sizes.append(len(items))
        if len(items) > self.room or self.bad & set(items):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [(2 * item, len(items)) for item in items]


@given(st.integers(1, 16), st.integers(1, 16), st.frozensets(st.integers(0, 15)))
def test_what_can_be_computed_is_and_in_its_place(count: int, room: int, bad: set[int]) -> None:
    results = within_memory(Memory(room, frozenset(bad)), list(range(count)))
    values = [None if result is None else result[0] for result in results]
    assert values == [None if i in bad else 2 * i for i in range(count)]


def test_sizes_are_halves_of_the_first() -> None:
    memory = Memory(3, frozenset())
    assert [size for _, size in filter(None, within_memory(memory, list(range(8))))] == [2] * 8
    assert memory.sizes == [8, 4, 2, 2, 4, 2, 2]


def test_beside_one_that_fails_the_others_are_those_of_the_whole_batch() -> None:
    results = within_memory(Memory(8, frozenset({3})), list(range(8)))
    assert results[3] is None
    assert [size for _, size in filter(None, results)] == [8] * 7


def test_other_errors_are_not_taken_for_it() -> None:
    def fail(items: Sequence[int]) -> list[int]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        within_memory(fail, [1, 2])


def test_the_host_s_own_refusal_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.float32)
    assert out_of_memory(caught.value)
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("no"))


def whole_unit(job: Job) -> tuple[Engine, Unit]:
    return job.engine(job.extractor(), 1e4, job.catalog.root, keep_targets=False), (
        job.plan().work_unit(0)
    )


def lacking(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Sequence[PairInputs]], bool]) -> None:
    """Memory for optimising is missing where ``fails`` says so."""
    make = Engine._make

    def limited(self: Engine, loaded: Sequence[PairInputs]) -> list[Outcome]:
        outcomes = make(self, loaded)
        if fails(loaded):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return outcomes

    monkeypatch.setattr(Engine, "_make", limited)


def test_an_image_without_memory_is_rejected_and_no_other_byte_changes(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, unit = whole_unit(job(*UNIT))
    before = engine.run(unit)
    victim = unit.pairs[2]
    lacking(monkeypatch, lambda loaded: any(each.pair == victim for each in loaded))
    after = engine.run(unit)
    assert [outcome.reason for outcome in after].count("out of memory") == 1
    for old, new in zip(before, after, strict=True):
        if new.pair == victim:
            assert (new.image, new.figures, new.accepted) == (None, None, False)
        else:
            assert np.array_equal(new.image, old.image)  # type: ignore[arg-type]
            assert new.figures == old.figures


def test_a_unit_too_large_for_memory_is_made_in_parts(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, unit = whole_unit(job(*UNIT))
    parts = [outcome for i in (0, 4) for outcome in engine.run(Unit(0, unit.pairs[i : i + 4]))]
    lacking(monkeypatch, lambda loaded: len(loaded) > 4)
    for part, outcome in zip(parts, engine.run(unit), strict=True):
        assert outcome.accepted
        assert np.array_equal(outcome.image, part.image)  # type: ignore[arg-type]


def test_a_run_goes_on_and_says_how_many(
    job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment(job(), tmp_path / "whole")
    victim = job().plan().pair(4)
    lacking(monkeypatch, lambda loaded: any(each.pair.id == victim.id for each in loaded))
    rows = rows_of(job(), tmp_path / "a")
    assert {row["id"]: row["reason"] for row in rows if row["reason"]} == {
        victim.id: "out of memory"
    }
    assert read_json(tmp_path / "a/run.json")["summary"]["rejected"] == {"out of memory": 1}
    whole, part = contents_of(tmp_path / "whole"), contents_of(tmp_path / "a")
    images = {name for name in whole if name.startswith("images/")}
    lost = {name for name in images if victim.id in name}
    assert len(lost) == 1
    assert {name: part.get(name) for name in images - lost} == {
        name: whole[name] for name in images - lost
    }
    assert len(list(Manifest(tmp_path / "a").rows())) == len(job().plan())


def test_a_loss_that_is_not_finite_costs_its_image_alone(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, unit = whole_unit(job(*UNIT, "relevance.mode=LA"))
    before = engine.run(unit)
    weights, victim = RelevanceMaps.weights, unit.pairs[3].content

    def spoilt(self: RelevanceMaps, record: Record, gray: torch.Tensor) -> torch.Tensor:
        found = weights(self, record, gray)
        return found * torch.nan if record == victim else found

    monkeypatch.setattr(RelevanceMaps, "weights", spoilt)
    after = engine.run(unit)
    assert [outcome.reason for outcome in after] == [
        "not finite" if i == 3 else old.reason for i, old in enumerate(before)
    ]
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if i != 3:
            assert np.array_equal(new.image, old.image)  # type: ignore[arg-type]
            assert new.figures == old.figures
