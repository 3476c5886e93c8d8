"""What an epoch trains on: real images each once, synthetic ones beside them by class and ratio."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from busaug.classify.batches import Company, accompanied, shuffled
from busaug.classify.inputs import ImageSet


def images_of(labels: list[int]) -> ImageSet:
    ids = tuple(f"image-{n}" for n in range(len(labels)))
    return ImageSet(ids, torch.zeros(len(labels), 1, 1, 1), torch.tensor(labels), ())


REAL, MADE = list(range(20)), list(range(20, 60))
SET = images_of([n % 2 for n in REAL] + [n % 4 == 0 for n in MADE])


@given(st.sampled_from([0.25, 1.0, 4.0]), st.integers(2, 25), st.integers(1, 5))
def test_company_changes_neither_updates_nor_what_is_seen_of_real_images(
    ratio: float, size: int, epoch: int
) -> None:
    rows = torch.tensor(REAL)
    alone = shuffled(SET, size, 3, rows).epoch(epoch)
    joined = accompanied(SET, rows, Company(torch.tensor(MADE), ratio), size, 3).epoch(epoch)
    assert len(joined) == len(alone)
    for batch, real in zip(joined, alone, strict=True):
        assert torch.equal(batch[: len(real)], real)
        company = batch[len(real) :]
        assert set(company.tolist()) <= set(MADE)
        assert len(company) == round(ratio * len(real))
        # of the classes of the first real ones, again and again
        labels = SET.targets[real].tolist()
        wanted = [labels[n % len(labels)] for n in range(len(company))]
        assert SET.targets[company].tolist() == wanted


def test_company_is_not_repeated_before_all_was_seen() -> None:
    rows = torch.tensor(REAL)
    (batch,) = accompanied(SET, rows, Company(torch.tensor(MADE), 4.0), 20, 0).epoch(1)
    times = Counter(batch[20:].tolist())
    for label in (0, 1):
        of_class = [times[row] for row in MADE if SET.targets[row] == label]
        assert sum(of_class) == 40
        assert max(of_class) - min(of_class) <= 1


def test_orders_differ_between_epochs_and_seeds_and_come_again() -> None:
    rows, company = torch.tensor(REAL), Company(torch.tensor(MADE), 1.0)

    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(accompanied(SET, rows, company, 8, seed).epoch(epoch)).tolist()

    assert order(0, 2) == order(0, 2)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (1, 2)}) == 4


def test_a_class_without_company_goes_alone() -> None:
    made = torch.tensor([row for row in MADE if SET.targets[row] == 1])
    (batch,) = accompanied(SET, torch.tensor(REAL), Company(made, 1.0), 20, 0).epoch(1)
    assert SET.targets[batch[20:]].tolist() == 10 * [1]


@pytest.mark.parametrize("rows", [None, torch.tensor([7, 3, 11])])
def test_shuffled_sees_every_row_once(rows: torch.Tensor | None) -> None:
    seen = torch.cat(shuffled(SET, 4, 0, rows).epoch(1)).tolist()
    assert sorted(seen) == (list(range(60)) if rows is None else [3, 7, 11])
