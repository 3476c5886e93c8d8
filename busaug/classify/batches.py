"""In what order and company images are seen: the batches of an epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from busaug.classify.inputs import ImageSet
from busaug.seeding import draw


@dataclasses.dataclass(frozen=True, eq=False)
class Feed:
    """Images, and in which batches every epoch trains on them."""

    images: ImageSet
    epoch: Callable[[int], list[Tensor]]
    """The global batches of an epoch, counted from 1: rows of ``images``. Every epoch has as many;
    which rows depends on nothing that was drawn before."""


def shuffled(images: ImageSet, size: int, seed: int, rows: Tensor | None = None) -> Feed:
    """Every image, or every one of ``rows``, once an epoch."""
    chosen = torch.arange(len(images)) if rows is None else rows

    def epoch(number: int) -> list[Tensor]:
        return [chosen[batch] for batch in epoch_batches(len(chosen), size, seed, number)]

    return Feed(images, epoch)


@dataclasses.dataclass(frozen=True, eq=False)
class Company:
    """Synthetic images that join every batch of real ones."""

    rows: Tensor
    """(n,) of the images, int64."""
    ratio: float
    """Synthetic images a real one."""


def accompanied(images: ImageSet, rows: Tensor, company: Company, size: int, seed: int) -> Feed:
    """Every one of the real ``rows`` once an epoch, ``size`` a batch, with synthetic ones beside
    them.

    So neither the number of updates nor how often a real image is seen depends on the company. It
    is of the classes of the batch's real images, in turn; of each class it is drawn without
    repetition until all were seen. A class without company goes alone.
    """
    of_class = {
        int(label): company.rows[images.targets[company.rows] == label]
        for label in images.targets[company.rows].unique()
    }

    def epoch(number: int) -> list[Tensor]:
        streams = {label: _endless(of, seed, number, label) for label, of in of_class.items()}
        batches = []
        for batch in shuffled(images, size, seed, rows).epoch(number):
            wanted = round(company.ratio * len(batch))
            labels = (int(images.targets[batch[n % len(batch)]]) for n in range(wanted))
            joined = [next(streams[label]) for label in labels if label in streams]
            batches.append(torch.cat([batch, torch.tensor(joined, dtype=batch.dtype)]))
        return batches

    return Feed(images, epoch)


def _endless(rows: Tensor, seed: int, epoch: int, label: int) -> Iterator[int]:
    """The rows in an order of their own, and again in another."""
    turn = 0
    while True:
        order = draw("company-order", seed, epoch, label, turn).permutation(len(rows))
        yield from rows[torch.from_numpy(order)].tolist()
        turn += 1


def epoch_batches(count: int, size: int, seed: int, epoch: int) -> list[Tensor]:
    """The global batches of an epoch: rows of ``count`` images, each once, in an order of its own.

    They depend on neither the number of ranks nor anything drawn before.
    """
    order = draw("training-order", seed, epoch).permutation(count)
    return minibatches(torch.from_numpy(order), size)


def minibatches(order: Tensor, size: int) -> list[Tensor]:
    """An order of images (n,) cut into batches; a last one of a single image joins the one before.

    Batch statistics of one image do not exist, and no image is dropped.
    """
    parts = list(torch.split(order, size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
