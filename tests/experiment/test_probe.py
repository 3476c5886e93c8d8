"""The weighted head against an optimum found independently."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from tolerances import TOLERANCES

from busaug.experiment.probe import Pool, probe, sample_weights
from busaug.experiment.protocols import Partition
from busaug.seeding import draw


def make_pool(real: int, copies: int, width: int = 6, shift: float = 1.0) -> Pool:
    """Two classes apart by ``shift``; synthetic rows are noisy copies of the real ones."""
    draws = draw("probe pool")
    targets = np.arange(real) % 3 // 2  # twice as many of class 0
    features = draws.standard_normal((real, width)) + shift * targets[:, None]
    noisy = [features + 0.5 * draws.standard_normal(features.shape) for _ in range(copies)]
    return Pool(
        np.concatenate([features, *noisy]).astype(np.float32),
        np.tile(targets, 1 + copies).astype(np.int64),
        np.arange(real * (1 + copies)) >= real,
    )


def whole(pool: Pool, real: int) -> Partition:
    """Test the last third of the real rows and train on all else, copies of them included."""
    rows = np.arange(len(pool.targets))
    test = rows[2 * real // 3 : real]
    train = np.setdiff1d(rows, test)
    return Partition(train, test, ((train, test),), (train, test))


@pytest.mark.parametrize("ratio", [0.25, 4.0])
def test_the_head_is_the_optimum_of_the_weighted_penalised_loss(ratio: float) -> None:
    real, strength = 60, 0.3
    pool = make_pool(real, 2)
    partition = whole(pool, real)
    train, test = partition.train, partition.test

    chosen = train[train < real]
    mean, spread = pool.features[chosen].mean(axis=0), pool.features[chosen].std(axis=0)
    x, asked = ((pool.features[rows] - mean) / spread for rows in (train, test))
    y = 2 * pool.targets[train] - 1
    weights = np.ones(len(train))
    for target in (0, 1):
        copies = (train >= real) & (pool.targets[train] == target)
        weights[copies] = ratio * (pool.targets[chosen] == target).sum() / copies.sum()
    weights /= weights.sum()

    def loss(parameters: np.ndarray) -> float:
        margin = y * (x @ parameters[:-1] + parameters[-1])
        return float((weights * np.logaddexp(0, -margin)).sum()) + strength / 2 * float(
            parameters[:-1] @ parameters[:-1]
        )

    best = minimize(loss, np.zeros(x.shape[1] + 1), method="BFGS").x
    expected = expit(asked @ best[:-1] + best[-1])
    found = probe(pool, partition, ratio, [strength]).probability
    np.testing.assert_allclose(
        found[:, 1], expected, atol=TOLERANCES["probe against its own optimum"]
    )


def test_synthetic_images_weigh_by_the_ratio_whatever_their_number() -> None:
    pool = make_pool(30, 3)
    kept = np.flatnonzero(~pool.synthetic | (np.arange(120) % 4 < 3))
    weights = sample_weights(pool, kept, 0.25)
    made = pool.synthetic[kept]
    for target in (0, 1):
        of_class = pool.targets[kept] == target
        assert weights[of_class & ~made].sum() == (of_class & ~made).sum()
        assert weights[of_class & made].sum() == pytest.approx(
            0.25 * weights[of_class & ~made].sum()
        )


def test_without_real_images_all_weigh_the_same() -> None:
    pool = make_pool(30, 1)
    assert (sample_weights(pool, np.arange(30, 60), 4.0) == 1).all()


def test_the_strength_is_the_one_that_validates_best() -> None:
    noise = draw("noise").standard_normal((60, 40)).astype(np.float32)
    targets = (np.arange(60) % 2).astype(np.int64)
    pool = Pool(noise, targets, np.zeros(60, bool))
    rows = np.arange(60)
    inner = ((rows[:20], rows[20:40]), (rows[20:40], rows[:20]))
    # nothing can be learnt of noise: the strongest penalty loses least
    assert (
        probe(pool, Partition(rows[:40], rows[40:], inner, inner[0]), 0.0, [0.01, 100.0]).strength
        == 100
    )
    clear = Pool(noise + 3 * targets[:, None].astype(np.float32), targets, pool.synthetic)
    assert (
        probe(clear, Partition(rows[:40], rows[40:], inner, inner[0]), 0.0, [0.01, 100.0]).strength
        == 0.01
    )
