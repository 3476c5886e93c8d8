"""Intervals and paired tests for metrics of repeated cross-validation.

A metric's value is its mean over jobs (folds x seeds); a job in which it is undefined does not
count, and is counted.

Intervals are percentile bootstraps over groups, the cases: a replicate draws each class's groups
with replacement, the same draw for every fold, seed, arm and protocol, so that differences are
paired. They tell of other patients judged by these trained models. Training anew is in the mean,
over seeds, but not in the interval.

Tests of an arm against a baseline on the same folds and seeds:

- Corrected resampled t-test (Nadeau and Bengio 2003; Bouckaert and Frank 2004 for r x k folds):
  jobs share training images, so that the plain paired t-test rejects far too often. The variance
  of the J differences is multiplied by 1/J + n_test/n_train in place of 1/J; J - 1 degrees.
- Permutation of cases: under the null an image's predictions by the two arms are exchangeable.
  A permutation swaps them for random groups, in every seed alike.

The first asks whether training again would show it, the second whether other patients would.
Both are two-sided; Holm's correction is over the arms compared with one baseline, a metric at a
time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from busaug.classify.metrics import METRICS, Floats, Ints
from busaug.experiment.weighted import weighted_metrics
from busaug.seeding import draw

LEVEL = 0.95
REPLICATES = 2000
_EQUAL = 1e-12
"""Statistics nearer than this are ties: the same counts, summed in another order."""


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """What one job said about its test images."""

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    truth: Ints
    """(n,) class indices."""
    probability: Floats
    """(n, C)."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over jobs with its interval; None where no job defines it."""

    mean: float | None
    low: float | None
    high: float | None
    defined: int
    """Jobs in which the metric is defined."""
    jobs: int


@dataclasses.dataclass(frozen=True)
class TTest:
    """A corrected resampled t-test; None where it is undefined."""

    t: float | None
    degrees: int
    p: float | None


class Resampling:
    """Draws over the groups of an experiment, made once and shared by all that is compared."""

    def __init__(
        self, classes: Mapping[str, int], *, replicates: int = REPLICATES, seed: int = 0
    ) -> None:
        """``classes`` gives each group's class; groups are drawn within their class."""
        names = sorted(classes)
        self._column = {name: index for index, name in enumerate(names)}
        self.replicates = replicates
        self.seed = seed
        counts = np.zeros((replicates, len(names)), np.float64)
        for label in sorted(set(classes.values())):
            columns = [self._column[name] for name in names if classes[name] == label]
            even = np.full(len(columns), 1 / len(columns))
            random = draw(seed, "bootstrap", label)
            counts[:, columns] = random.multinomial(len(columns), even, size=replicates)
        self._counts = counts
        swaps = draw(seed, "permutation").integers(0, 2, size=(replicates, len(names)))
        self._swaps = swaps.astype(np.float64)

    def __len__(self) -> int:
        """Groups."""
        return len(self._column)

    def counts(self, predictions: Predictions) -> Floats:
        """How often each image is drawn, (replicates, n)."""
        return self._counts[:, self._columns(predictions)]

    def swaps(self, predictions: Predictions) -> Floats:
        """Whether each image's predictions change sides, 0 or 1, (replicates, n)."""
        return self._swaps[:, self._columns(predictions)]

    def _columns(self, predictions: Predictions) -> npt.NDArray[np.intp]:
        return np.array([self._column[group] for group in predictions.groups], np.intp)


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """The metrics of an arm's jobs, as they are and in every bootstrap replicate."""

    values: Mapping[str, Floats]
    """(J,) a metric, NaN where undefined."""
    replicates: Mapping[str, Floats]
    """(B,) a metric: the mean over jobs in each replicate."""

    @property
    def jobs(self) -> int:
        return len(self.values[METRICS[0]])

    def estimate(self, metric: str) -> Estimate:
        values = self.values[metric]
        return _estimate(values, self.replicates[metric])


def sample(jobs: Sequence[Predictions], resampling: Resampling) -> Sample:
    """Metrics of the jobs, and of their replicates."""
    plain = [weighted_metrics(job.truth, job.probability, np.ones((1, len(job)))) for job in jobs]
    drawn = [weighted_metrics(job.truth, job.probability, resampling.counts(job)) for job in jobs]
    return Sample(
        {name: np.array([row[name][0] for row in plain]) for name in METRICS},
        {name: _mean([row[name] for row in drawn]) for name in METRICS},
    )


def difference(one: Sample, other: Sample, metric: str, *, paired: bool = True) -> Estimate:
    """``one`` minus ``other``, the interval from common draws.

    ``paired`` jobs are the same folds and seeds in the same order, and only those that define the
    metric in both count.
    """
    drawn = one.replicates[metric] - other.replicates[metric]
    if paired:
        return _estimate(one.values[metric] - other.values[metric], drawn)
    means = _mean(one.values[metric][:, None]) - _mean(other.values[metric][:, None])
    jobs = one.jobs + other.jobs
    defined = int(np.isfinite(one.values[metric]).sum() + np.isfinite(other.values[metric]).sum())
    return dataclasses.replace(_estimate(means, drawn), jobs=jobs, defined=defined)


def corrected_t_test(differences: Floats, test_to_train: float) -> TTest:
    """The corrected resampled t-test of J differences (NaN ones are left out).

    ``test_to_train`` is n_test / n_train of a job, 1/4 for five folds. No difference anywhere gives
    p = 1; fewer than two, or equal ones other than zero, give None.
    """
    kept = differences[np.isfinite(differences)]
    degrees = max(len(kept) - 1, 0)
    if len(kept) < 2:
        return TTest(None, degrees, None)
    if not kept.any():
        return TTest(0.0, degrees, 1.0)
    variance = float(kept.var(ddof=1))
    if variance <= (_EQUAL * float(np.abs(kept).max())) ** 2:
        return TTest(None, degrees, None)
    t = float(kept.mean()) / math.sqrt((1 / len(kept) + test_to_train) * variance)
    return TTest(t, degrees, float(2 * stats.t.sf(abs(t), degrees)))


def permutation_tests(
    one: Sequence[Predictions], other: Sequence[Predictions], resampling: Resampling
) -> dict[str, float | None]:
    """Two-sided p of the difference of every metric, predictions swapped by groups.

    Jobs are pairs with the same test images. p = (1 + permutations at least as far) / (1 + all);
    None where the metric is undefined in all jobs of one side.
    """
    far: dict[str, list[Floats]] = {name: [] for name in METRICS}
    plain: dict[str, list[Floats]] = {name: [] for name in METRICS}
    for a, b in zip(one, other, strict=True):
        if a.ids != b.ids:
            raise ValueError("the two jobs have other test images")
        truth = np.concatenate([a.truth, b.truth])
        probability = np.concatenate([a.probability, b.probability])
        swapped = resampling.swaps(a)
        weights = np.concatenate([1 - swapped, swapped], axis=1)
        first = weighted_metrics(truth, probability, weights)
        second = weighted_metrics(truth, probability, 1 - weights)
        itself = weighted_metrics(a.truth, a.probability, np.ones((1, len(a))))
        partner = weighted_metrics(b.truth, b.probability, np.ones((1, len(b))))
        for name in METRICS:
            far[name].append(first[name] - second[name])
            plain[name].append(itself[name] - partner[name])
    found: dict[str, float | None] = {}
    for name in METRICS:
        observed = abs(float(_mean(plain[name])[0]))
        if math.isnan(observed):
            found[name] = None
            continue
        # an undefined permutation counts as far, so that p is never too small
        near = np.abs(_mean(far[name])) < observed - _EQUAL
        found[name] = float((1 + (~near).sum()) / (1 + len(near)))
    return found


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; None stays None and is no member of the family."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, index) in enumerate(known):
        running = max(running, min(1.0, (len(known) - rank) * p))
        adjusted[index] = running
    return adjusted


def _estimate(values: Floats, drawn: Floats) -> Estimate:
    defined = int(np.isfinite(values).sum())
    if not defined:
        return Estimate(None, None, None, 0, len(values))
    drawn = drawn[np.isfinite(drawn)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (None, None)
    return Estimate(
        float(np.nanmean(values)),
        None if low is None else float(low),
        None if high is None else float(high),
        defined,
        len(values),
    )


def _mean(rows: Sequence[Floats] | Floats) -> Floats:
    """Mean over the first axis of what is defined; NaN where nothing is."""
    stack = np.asarray(rows)
    known = np.isfinite(stack)
    count = known.sum(axis=0).astype(np.float64)
    total = np.where(known, stack, 0.0).sum(axis=0)
    means: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return means
