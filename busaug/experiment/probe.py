"""The probe: a linear head on frozen features, its penalty chosen by inner validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from busaug.classify.metrics import Bools, Floats, Ints
from busaug.experiment.features import Features
from busaug.experiment.protocols import Partition, Rows

_ITERATIONS = 1000
_TOLERANCE = 1e-4
"""Largest gradient of the mean loss at the end; ten times less changes no AUC by 1e-4."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Every sample of an arm, real and synthetic, as the probe sees it."""

    features: Features
    """(N, D)."""
    targets: Ints
    """(N,) class indices."""
    synthetic: Bools
    """(N,)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Probed:
    """What the head said of the test samples."""

    probability: Floats
    """(n, C), rows in the order of the partition's test samples."""
    strength: float
    """The penalty that inner validation chose."""


def probe(pool: Pool, partition: Partition, ratio: float, strengths: Sequence[float]) -> Probed:
    """Fit on the training samples and predict the test samples.

    Minimises sum_i w_i CE_i / sum_i w_i + strength / 2 |W|^2 over features standardised by the
    real training samples; w is ``sample_weights``. The strength is the one with the least log-loss
    over the inner validation samples, every arm choosing its own.
    """
    falling = sorted(strengths, reverse=True)
    losses = np.zeros(len(falling))
    for train, validation in partition.inner:
        truth = pool.targets[validation]
        for index, probability in enumerate(_path(pool, train, validation, ratio, falling)):
            given = probability[np.arange(len(truth)), truth]
            losses[index] -= np.log(np.maximum(given, np.finfo(np.float64).tiny)).sum()
    chosen = falling[int(losses.argmin())]
    (probability,) = _path(pool, partition.train, partition.test, ratio, [chosen])
    return Probed(probability, chosen)


def sample_weights(pool: Pool, train: Rows, ratio: float) -> Floats:
    """The weight of each training sample.

    Real samples weigh 1; the synthetic ones of a class together ``ratio`` times what its real ones
    do, so that neither the number of copies nor rejections shift the classes. Without real samples
    each weighs 1.
    """
    weights = np.ones(len(train))
    targets, synthetic = pool.targets[train], pool.synthetic[train]
    if synthetic.all():
        return weights
    for target in np.unique(targets):
        made = synthetic & (targets == target)
        real = ~synthetic & (targets == target)
        if made.any():
            weights[made] = ratio * real.sum() / made.sum()
    return weights


def _path(
    pool: Pool, train: Rows, test: Rows, ratio: float, strengths: Sequence[float]
) -> Iterator[Floats]:
    """Test probabilities for each strength, a fit starting from the one before."""
    weights = sample_weights(pool, train, ratio)
    real = train[~pool.synthetic[train]]
    scaled_by = pool.features[real if len(real) else train]
    mean, spread = scaled_by.mean(axis=0), scaled_by.std(axis=0)
    spread[spread == 0] = 1  # a feature that is always the same
    seen, asked = ((pool.features[rows] - mean) / spread for rows in (train, test))
    head = LogisticRegression(tol=_TOLERANCE, max_iter=_ITERATIONS, warm_start=True)
    for strength in strengths:
        head.C = 1 / (strength * weights.sum())
        head.fit(seen, pool.targets[train], sample_weight=weights)
        yield np.asarray(head.predict_proba(asked), np.float64)
