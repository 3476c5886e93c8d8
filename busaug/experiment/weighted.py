"""The classifier's metrics with a weight on every image, for many weightings at once.

A bootstrap replicate is a weighting by counts, a permutation of two arms one by zeros and ones over
the images of both. All sums are matrix products over the weightings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from busaug.classify.metrics import ECE_BINS, METRICS, ONE_VS_REST, Floats, Ints


def weighted_metrics(truth: Ints, probability: Floats, weights: Floats) -> dict[str, Floats]:
    """Every metric of ``METRICS`` for each row of ``weights`` (B, n): arrays (B,), NaN where
    undefined.

    ``truth`` (n,) are class indices, ``probability`` (n, C) their predictions; weights are at least
    zero. With all weights one the values are those of ``busaug.classify.metrics.score``.
    """
    count = probability.shape[1]
    predicted = probability.argmax(axis=1)
    cells = np.eye(count * count)[truth * count + predicted]
    confusion = (weights @ cells).reshape(-1, count, count)
    total = confusion.sum(axis=(1, 2))
    hits = np.einsum("bkk->b", confusion)
    squared = ((probability - np.eye(count)[truth]) ** 2).sum(axis=1)
    brier = squared / 2 if count == 2 else squared
    one_vs_rest = [_one_vs_rest(confusion, index) for index in range(count)]
    for index, row in enumerate(one_vs_rest):
        row["auc"] = _auc(truth == index, probability[:, index], weights)
    values = {
        "accuracy": _ratio(hits, total),
        "balanced_accuracy": np.mean([row["sensitivity"] for row in one_vs_rest], axis=0),
        "mcc": _mcc(confusion, hits, total),
        "brier": _ratio(weights @ brier, total),
        "ece": _ece(truth == predicted, probability.max(axis=1), weights, total),
    }
    for name in ONE_VS_REST:
        column = [row[name] for row in one_vs_rest]
        values[name] = column[-1] if count == 2 else np.mean(column, axis=0)
    return {name: values[name] for name in METRICS}


def _ratio(part: Floats, whole: Floats) -> Floats:
    """The quotient, NaN where the whole is zero."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def _one_vs_rest(confusion: Floats, index: int) -> dict[str, Floats]:
    true_positive = confusion[:, index, index]
    actual = confusion[:, index].sum(axis=1)
    called = confusion[:, :, index].sum(axis=1)
    others = confusion.sum(axis=(1, 2)) - actual
    return {
        "sensitivity": _ratio(true_positive, actual),
        "specificity": _ratio(others - (called - true_positive), others),
        "precision": _ratio(true_positive, called),
        "f1": _ratio(2 * true_positive, actual + called),
    }


def _mcc(confusion: Floats, hits: Floats, total: Floats) -> Floats:
    """Matthews' coefficient, for more than two classes Gorodkin's."""
    actual, called = confusion.sum(axis=2), confusion.sum(axis=1)
    covariance = hits * total - (actual * called).sum(axis=1)
    spread = (total**2 - (actual**2).sum(axis=1)) * (total**2 - (called**2).sum(axis=1))
    return _ratio(covariance, np.sqrt(spread.clip(min=0)))


def _auc(positive: npt.NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """Weight of the pairs in the right order, ties half, over that of all pairs."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ordered = weights[:, order]
    ups = np.add.reduceat(ordered * positive[order], starts, axis=1)
    downs = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    below = np.cumsum(downs, axis=1) - downs / 2
    return _ratio((ups * below).sum(axis=1), ups.sum(axis=1) * downs.sum(axis=1))


def _ece(
    correct: npt.NDArray[np.bool_], confidence: Floats, weights: Floats, total: Floats
) -> Floats:
    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gaps = (correct - confidence)[:, None] * np.eye(ECE_BINS)[bins]
    return _ratio(np.abs(weights @ gaps).sum(axis=1), total)
