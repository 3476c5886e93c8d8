"""Curves of a condition, each the mean over its jobs: ROC and the course of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from busaug.experiment.statistics import Predictions

STEPS = 40
"""Of 1 - specificity in a ROC curve."""
COURSES = ("train_loss", "val_loss", "val_accuracy")
_DIGITS = 4


def mean_roc(jobs: Iterable[Predictions]) -> list[float] | None:
    """Sensitivity at 1 - specificity = 0, 1/40, ..., 1: the mean over jobs (vertical averaging).

    Fawcett (2006), An introduction to ROC analysis, algorithm 3. A point on a vertical part of a
    job's curve is its upper end, but the first, which is (0, 0). None with other than two classes
    and where no job has images of both.
    """
    grid = np.linspace(0, 1, STEPS + 1)
    curves = []
    for job in jobs:
        if job.probability.shape[1] != 2:
            return None
        if len(np.unique(job.truth)) < 2:
            continue
        false, true, _ = roc_curve(job.truth == 1, job.probability[:, 1])
        last = np.searchsorted(false, grid, side="right") - 1
        left, right = last, np.minimum(last + 1, len(false) - 1)
        width = false[right] - false[left]
        share = np.divide(grid - false[left], width, out=np.zeros_like(grid), where=width > 0)
        curve = true[left] + share * (true[right] - true[left])
        curve[0] = 0.0
        curves.append(curve)
    return _rounded(np.mean(curves, axis=0)) if curves else None


def mean_history(jobs: Iterable[Sequence[Mapping[str, Any]]]) -> dict[str, list[float]] | None:
    """``COURSES`` by epoch, means over the jobs that trained so long; None without epochs."""
    histories = [history for history in jobs if history]
    if not histories:
        return None
    epochs = range(max(map(len, histories)))
    return {
        name: _rounded([np.mean([h[e][name] for h in histories if len(h) > e]) for e in epochs])
        for name in COURSES
    }


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
