"""Which samples train, validate and test: the honest way and the paper's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from busaug.data.split import split_counts
from busaug.errors import InputError
from busaug.experiment.blocks import Folds
from busaug.experiment.samples import Sample, check_apart
from busaug.seeding import draw

Rows = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """Rows of a list of samples."""

    train: Rows
    test: Rows
    inner: tuple[tuple[Rows, Rows], ...]
    """(training, validation) rows within ``train``: what is to be chosen is chosen on these."""
    stopping: tuple[Rows, Rows]
    """The same for a training by epochs, of which a validation keeps the best: more to train on."""


def honest(samples: Sequence[Sample], folds: Folds, fold: int) -> Partition:
    """Test the real images of a fold; train on the others and on what was made of them alone.

    A synthetic image with a source in the fold is left out. Inner validation takes each of the
    other folds in turn, its real images. Raises LeakError where a test image would be seen in
    training.
    """
    test_groups = folds.groups[fold]
    partition = Partition(
        _made_within(samples, folds.all - test_groups),
        _real_of(samples, test_groups),
        tuple(
            (
                _made_within(samples, folds.all - test_groups - held_out),
                _real_of(samples, held_out),
            )
            for number, held_out in enumerate(folds.groups)
            if number != fold
        ),
        (
            _made_within(samples, folds.all - test_groups - folds.validation[fold]),
            _real_of(samples, folds.validation[fold]),
        ),
    )
    apart = ((partition.train, partition.test), *partition.inner, partition.stopping)
    for train, test in apart:
        check_apart((samples[row] for row in train), [samples[row] for row in test])
    return partition


def paper(samples: Sequence[Sample], seed: int, dealing: int) -> Partition:
    """Shuffle the synthetic images of each class and cut at 70 % and 85 %, sources regardless.

    Where there is no synthetic image the real ones are cut so. This leaks by construction.
    """
    synthetic = any(sample.synthetic for sample in samples)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in sorted({sample.label for sample in samples}):
        rows = [
            row
            for row, sample in enumerate(samples)
            if sample.label == label and sample.synthetic == synthetic
        ]
        order = draw(seed, "paper split", dealing, label).permutation(rows)
        train, val, test = split_counts(len(rows))
        cuts = np.split(order, [train, train + val])
        for part, cut in zip(parts, cuts, strict=True):
            part.extend(cut.tolist())
        if not (train and val and test):
            raise InputError(
                f"{len(rows)} images of {label} are too few to be split 70/15/15",
                remedy="Add images, or leave the paper's protocol out",
            )
    train_rows, val_rows, test_rows = (np.sort(np.array(part, np.int64)) for part in parts)
    validated = (train_rows, val_rows)
    return Partition(train_rows, test_rows, (validated,), validated)


def _made_within(samples: Sequence[Sample], groups: frozenset[str]) -> Rows:
    return _rows(row for row, sample in enumerate(samples) if sample.origins <= groups)


def _real_of(samples: Sequence[Sample], groups: frozenset[str]) -> Rows:
    return _rows(
        row for row, sample in enumerate(samples) if not sample.synthetic and sample.group in groups
    )


def _rows(found: object) -> Rows:
    return np.fromiter(found, np.int64)  # type: ignore[call-overload, no-any-return]
