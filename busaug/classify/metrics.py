"""The metrics of a classifier, with the confusion matrix that they all come from.

The positive class is the last in sorted order (benign < malignant). An undefined value is None and
carries its reason; it is never a silent zero.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "f1",
    "mcc",
    "auc",
    "brier",
    "ece",
)
ONE_VS_REST = ("sensitivity", "specificity", "precision", "f1", "auc")
ECE_BINS = 15


class ImpossibleMetrics(ValueError):
    """An accuracy that no confusion matrix with the given sensitivity and specificity has."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Every metric of one set of predictions."""

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Counts; a row is a true class, a column a predicted one."""
    metrics: Mapping[str, float | None]
    """By the names in ``METRICS``; with more than two classes the ``ONE_VS_REST`` ones are means
    over classes."""
    undefined: Mapping[str, str]
    """Why a metric is None."""
    per_class: Mapping[str, Mapping[str, float | None]]
    """The ``ONE_VS_REST`` metrics, each class taken as the positive one in turn."""

    @property
    def n(self) -> int:
        """Images counted."""
        return sum(map(sum, self.confusion))

    @property
    def positive(self) -> str:
        return self.classes[-1]

    def row(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"n": self.n, "positive": self.positive, **dataclasses.asdict(self)}


def score(
    truth: Sequence[int],
    probability: Floats,
    classes: Sequence[str],
    *,
    threshold: float | None = None,
) -> Scores:
    """Metrics of probabilities (n, C) against true class indices (n); the arg-max is predicted.

    Of two classes the second is predicted from ``threshold`` on, where that is given.

    F1 is 2TP/(2TP+FP+FN). Brier is the mean squared error of the positive class's probability for
    two classes, summed over classes for more. ECE is the gap between confidence and accuracy of
    the predicted class in 15 equal bins (Guo et al. 2017). Raises ValueError for shapes that do
    not fit, no image, or rows that are no distributions.
    """
    true = np.asarray(truth, dtype=np.int64)
    count = len(classes)
    if count < 2 or true.ndim != 1 or not true.size or probability.shape != (true.size, count):
        raise ValueError(f"{true.shape} classes do not fit {probability.shape} probabilities")
    if true.min() < 0 or true.max() >= count:
        raise ValueError(f"true classes lie outside 0..{count - 1}")
    if not (probability >= 0).all() or not np.allclose(probability.sum(axis=1), 1.0, atol=1e-4):
        raise ValueError("a row of probabilities is not a distribution")
    predicted = likeliest = probability.argmax(axis=1)
    if threshold is not None:
        if count != 2:
            raise ValueError(f"a threshold does not divide {count} classes")
        predicted = (probability[:, 1] >= threshold).astype(np.int64)

    one_vs_rest = [
        _one_vs_rest(true == index, predicted == index, probability[:, index])
        for index in range(count)
    ]
    values = {
        "accuracy": float(accuracy_score(true, predicted)),
        "balanced_accuracy": _mean([row["sensitivity"] for row in one_vs_rest]),
        "mcc": _mcc(true, predicted),
        "brier": _brier(true, probability),
        "ece": _ece(true == likeliest, probability.max(axis=1)),
    }
    for name in ONE_VS_REST:
        column = [row[name] for row in one_vs_rest]
        values[name] = column[-1] if count == 2 else _mean(column)
    undefined = {
        name: _reason(name, true, predicted, classes)
        for name in METRICS
        if math.isnan(values[name])
    }
    scores = Scores(
        classes=tuple(classes),
        confusion=tuple(
            tuple(int(n) for n in row)
            for row in confusion_matrix(true, predicted, labels=range(count))
        ),
        metrics={name: _defined(values[name]) for name in METRICS},
        undefined=undefined,
        per_class={
            label: {name: _defined(row[name]) for name in ONE_VS_REST}
            for label, row in zip(classes, one_vs_rest, strict=True)
        },
    )
    if count == 2 and not {"sensitivity", "specificity"} & undefined.keys():
        assert_convex(values["accuracy"], values["sensitivity"], values["specificity"])
    return scores


def choose_threshold(
    truth: Sequence[int], probability: Floats, *, sensitivity_min: float = 0.0
) -> float | None:
    """The probability of the second class from which on it is best called.

    The largest balanced accuracy of the thresholds with at least ``sensitivity_min``; of equal ones
    that nearest to one half. It lies halfway between two probabilities, so that neither is on the
    edge. None where the images are not of two classes.
    """
    true = np.asarray(truth, dtype=np.int64)
    if probability.shape[1] != 2 or len(np.unique(true)) != 2:
        return None
    scores = np.unique(probability[:, 1])
    edges = np.concatenate([[0.0], (scores[1:] + scores[:-1]) / 2])
    called = probability[:, 1] >= edges[:, None]
    sensitivity = called[:, true == 1].mean(axis=1)
    balanced = (sensitivity + (~called[:, true == 0]).mean(axis=1)) / 2
    balanced[sensitivity < sensitivity_min] = -1.0  # the edge 0 calls every image positive
    best = np.flatnonzero(balanced >= balanced.max() - 1e-12)
    return float(edges[best[np.abs(edges[best] - 0.5).argmin()]])


def assert_convex(
    accuracy: float, sensitivity: float, specificity: float, *, slack: float = 1e-12
) -> None:
    """Raise ImpossibleMetrics where accuracy lies outside [min, max] of the two class accuracies.

    Accuracy is their mean weighted by class size, so no binary confusion matrix escapes.
    ``slack`` is in the unit of the three values; for printed ones take one unit of the last
    printed digit (half for accuracy, half for the bound).
    """
    low, high = sorted((sensitivity, specificity))
    if not low - slack <= accuracy <= high + slack:
        raise ImpossibleMetrics(
            f"accuracy {accuracy:g} lies outside [{low:g}, {high:g}], the range that sensitivity "
            f"{sensitivity:g} and specificity {specificity:g} allow"
        )


def _one_vs_rest(true: Bools, predicted: Bools, probability: Floats) -> dict[str, float]:
    both = true.any() and not true.all()
    return {
        "sensitivity": float(recall_score(true, predicted, zero_division=np.nan)),
        "specificity": float(recall_score(~true, ~predicted, zero_division=np.nan)),
        "precision": float(precision_score(true, predicted, zero_division=np.nan)),
        "f1": float(f1_score(true, predicted, zero_division=np.nan)),
        "auc": float(roc_auc_score(true, probability)) if both else math.nan,
    }


def _mcc(true: Ints, predicted: Ints) -> float:
    # scikit-learn gives 0 where the denominator is 0
    if len(np.unique(true)) < 2 or len(np.unique(predicted)) < 2:
        return math.nan
    return float(matthews_corrcoef(true, predicted))


def _brier(true: Ints, probability: Floats) -> float:
    count = probability.shape[1]
    if count == 2:
        return float(brier_score_loss(true, probability[:, 1], pos_label=1))
    return float(((probability - np.eye(count)[true]) ** 2).sum(axis=1).mean())


def _ece(correct: Bools, confidence: Floats) -> float:
    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gap = np.bincount(bins, correct.astype(np.float64) - confidence, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(correct))


def _reason(name: str, true: Ints, predicted: Ints, classes: Sequence[str]) -> str:
    """Why the metric is undefined; the first class that makes it so is named."""
    present, guessed = set(true.tolist()), set(predicted.tolist())
    positives = range(len(classes)) if len(classes) > 2 else (1,)
    if name == "mcc":
        what = "all images are" if len(present) < 2 else "all images were predicted"
        index = min(present if len(present) < 2 else guessed)
        return f"{what} {classes[index]}"
    if name == "precision":
        absent = next(index for index in positives if index not in guessed)
        return f"no image was predicted {classes[absent]}"
    if name == "f1":
        absent = next(index for index in positives if index not in present | guessed)
        return f"no image is {classes[absent]} or was predicted so"
    if name == "specificity":
        only = next(index for index in positives if present == {index})
        return f"every image is {classes[only]}"
    # balanced accuracy and AUC need every class; sensitivity that of the positive ones
    needed = positives if name == "sensitivity" else range(len(classes))
    absent = next(index for index in needed if index not in present)
    return f"no image is {classes[absent]}"


def _mean(values: Sequence[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else float(np.mean(values))


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
