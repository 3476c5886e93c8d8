"""Statistics against scikit-learn on repeated images, closed forms and published examples."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tolerances import TOLERANCES

from busaug.classify.metrics import METRICS, score
from busaug.experiment.statistics import (
    Predictions,
    Resampling,
    corrected_t_test,
    difference,
    holm,
    permutation_tests,
    sample,
)
from busaug.experiment.weighted import weighted_metrics

Floats = npt.NDArray[np.float64]
CLASSES = {2: ("benign", "malignant"), 3: ("a", "b", "c")}


def predictions(
    truth: npt.NDArray[np.int64], positive: Floats, *, start: int = 0, per_group: int = 1
) -> Predictions:
    ids = tuple(f"i{start + index:04d}" for index in range(len(truth)))
    groups = tuple(f"g{(start + index) // per_group:04d}" for index in range(len(truth)))
    return Predictions(ids, groups, truth, np.stack([1 - positive, positive], axis=1))


def draws_of(*jobs: Predictions, replicates: int = 2000, seed: int = 0) -> Resampling:
    classes = {g: int(t) for job in jobs for g, t in zip(job.groups, job.truth, strict=True)}
    return Resampling(classes, replicates=replicates, seed=seed)


@settings(max_examples=12)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=25
    ),
    count=st.sampled_from([2, 3]),
    seed=st.integers(0, 99),
)
def test_counts_as_weights_are_images_repeated(
    rows: list[tuple[int, int, int]], count: int, seed: int
) -> None:
    """Scores are few, so that there are ties; the peer is scikit-learn by way of ``score``."""
    truth = np.array([label % count for label, _, _ in rows])
    base = np.array([[level] for _, level, _ in rows]) * 0.3
    offsets = np.random.default_rng(seed).integers(0, 3, (1, count))
    raw = 1.0 + base * np.arange(count) + offsets
    probability = raw / raw.sum(axis=1, keepdims=True)
    weights = np.array([times for _, _, times in rows], np.float64)
    if not weights.sum():
        return
    found = weighted_metrics(truth, probability, np.stack([weights, np.ones_like(weights)]))
    for row, repeats in enumerate((weights.astype(int), np.ones(len(rows), int))):
        again = np.repeat(np.arange(len(rows)), repeats)
        expected = score(truth[again].tolist(), probability[again], CLASSES[count]).metrics
        for name in METRICS:
            value = float(found[name][row])
            assert expected[name] == (
                None
                if math.isnan(value)
                else pytest.approx(value, abs=TOLERANCES["weighted metrics, absolute"])
            )


def test_the_interval_of_an_accuracy_is_the_binomial_one() -> None:
    rng = np.random.default_rng(5)
    truth = np.arange(800) % 2
    right = rng.random(800) < 0.8
    job = predictions(truth, np.where(right == (truth == 1), 0.9, 0.1))
    found = sample([job], draws_of(job, replicates=4000)).estimate("accuracy")
    p = right.mean()
    half = stats.norm.ppf(0.975) * math.sqrt(p * (1 - p) / 800)
    assert found.mean == pytest.approx(p)
    assert found.low is not None
    assert found.high is not None
    tolerance = TOLERANCES["bootstrap limits of the half width"]
    assert found.low == pytest.approx(p - half, abs=tolerance * half)
    assert found.high == pytest.approx(p + half, abs=tolerance * half)


def test_images_of_one_group_are_one_case() -> None:
    """Four copies of each image widen nothing by themselves, and narrow nothing either."""
    rng = np.random.default_rng(6)
    truth = np.arange(100) % 2
    positive = np.clip(truth * 0.4 + rng.random(100) * 0.6, 0, 1)
    single = predictions(truth, positive)
    fourfold = predictions(np.repeat(truth, 4), np.repeat(positive, 4), per_group=4)
    assert set(fourfold.groups) == set(single.groups)
    a = sample([single], draws_of(single)).estimate("auc")
    b = sample([fourfold], draws_of(fourfold)).estimate("auc")
    assert (a.mean, a.low, a.high) == pytest.approx((b.mean, b.low, b.high))


def test_seeds_of_one_image_are_one_case() -> None:
    """Five identical repetitions are no more data than one."""
    rng = np.random.default_rng(7)
    truth = np.arange(60) % 2
    job = predictions(truth, rng.random(60))
    once, often = (sample([job] * n, draws_of(job)).estimate("accuracy") for n in (1, 5))
    assert (once.low, once.high) == pytest.approx((often.low, often.high))


def test_draws_are_keyed_and_the_order_of_groups_does_not_matter() -> None:
    job = predictions(np.arange(40) % 2, np.linspace(0, 1, 40))
    classes = {g: int(t) for g, t in zip(job.groups, job.truth, strict=True)}
    turned = dict(reversed(classes.items()))
    same = Resampling(classes).counts(job)
    assert (same == Resampling(turned).counts(job)).all()
    assert (same != Resampling(classes, seed=1).counts(job)).any()
    assert (same[:, job.truth == 1].sum(axis=1) == 20).all()  # each class keeps its size


def test_an_undefined_job_is_left_out_and_counted() -> None:
    all_benign = predictions(np.array([0, 0, 1, 1]), np.full(4, 0.2))
    good = predictions(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.9, 0.8]), start=4)
    drawn = draws_of(all_benign, good, replicates=50)
    both = sample([all_benign, good], drawn)
    assert both.estimate("precision").mean == 1.0
    assert (both.estimate("precision").defined, both.estimate("precision").jobs) == (1, 2)
    assert both.estimate("sensitivity").mean == 0.5
    none = sample([all_benign], drawn).estimate("precision")
    assert (none.mean, none.low, none.high, none.defined) == (None, None, None, 0)
    assert difference(both, both, "precision").defined == 1


def test_the_corrected_t_test_by_hand() -> None:
    """Ten differences, 10-fold: variance times 1/10 + 1/9."""
    d = np.array([0.02, -0.01, 0.03, 0.00, 0.04, 0.01, -0.02, 0.05, 0.02, 0.01])
    found = corrected_t_test(d, 1 / 9)
    t = 0.015 / math.sqrt((0.1 + 1 / 9) * np.var(d, ddof=1))
    assert found.t == pytest.approx(t)
    assert found.degrees == 9
    assert found.p == pytest.approx(2 * (1 - stats.t.cdf(t, 9)))
    plain = stats.ttest_1samp(d, 0)
    assert corrected_t_test(d, 0.0).p == pytest.approx(plain.pvalue)
    assert found.p is not None
    assert found.p > plain.pvalue


def test_t_tests_without_variation() -> None:
    assert corrected_t_test(np.zeros(5), 0.25).p == 1.0
    assert corrected_t_test(np.full(5, 0.1), 0.25).p is None
    assert corrected_t_test(np.array([0.1, np.nan]), 0.25).p is None


@pytest.mark.slow
def test_the_correction_holds_its_level_where_the_plain_test_does_not() -> None:
    """Two learners of equal worth, 5 x 5-fold: means of classes from few images, tested on others.

    Each learner sees another noisy copy of the features, so that the null is true.
    """
    rng = np.random.default_rng(11)
    n, trials = 50, 150
    rejected = {"plain": 0, "corrected": 0}
    for _ in range(trials):
        truth = np.arange(n) % 2
        features = [truth[:, None] * 0.8 + rng.normal(size=(n, 3)) for _ in range(2)]
        d = []
        for _ in range(5):
            for test in np.array_split(rng.permutation(n), 5):
                train = np.setdiff1d(np.arange(n), test)
                accuracy = []
                for x in features:
                    m0, m1 = (x[train][truth[train] == k].mean(axis=0) for k in (0, 1))
                    said = ((x[test] - (m0 + m1) / 2) @ (m1 - m0)) > 0
                    accuracy.append((said == truth[test]).mean())
                d.append(accuracy[0] - accuracy[1])
        for name, ratio in (("plain", 0.0), ("corrected", 0.25)):
            p = corrected_t_test(np.array(d), ratio).p
            rejected[name] += p is not None and p < 0.05
    assert rejected["plain"] / trials > 0.25
    assert rejected["corrected"] / trials < 0.15


def test_permutations_of_one_fold_are_an_exact_sign_test() -> None:
    """Arms that differ in eight cases, all in favour of one: p = 2 / 2^8."""
    truth = np.arange(40) % 2
    right = np.where(truth == 1, 0.9, 0.1)
    worse = right.copy()
    worse[:8] = 1 - worse[:8]
    a, b = predictions(truth, right), predictions(truth, worse)
    found = permutation_tests([a], [b], draws_of(a, replicates=20_000))["accuracy"]
    assert found == pytest.approx(2 / 256, rel=TOLERANCES["permutation p of 20000"])
    assert permutation_tests([a], [a], draws_of(a, replicates=50))["auc"] == 1.0


def test_permutations_need_the_same_images() -> None:
    a = predictions(np.arange(4) % 2, np.full(4, 0.4))
    b = predictions(np.arange(4) % 2, np.full(4, 0.4), start=4)
    with pytest.raises(ValueError, match="other test images"):
        permutation_tests([a], [b], draws_of(a, b))


def test_an_undefined_metric_has_no_p() -> None:
    a = predictions(np.arange(6) % 2, np.full(6, 0.2))
    found = permutation_tests([a], [a], draws_of(a, replicates=20))
    assert found["precision"] is None
    assert found["mcc"] is None
    assert found["accuracy"] == 1.0


def test_holm_by_hand() -> None:
    """Holm 1979: .01, .04, .03, .005 of four give .03, .06, .06, .02."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.04, None, 0.5]) == [0.08, None, 0.5]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_none_and_bonferroni(ps: list[float]) -> None:
    for p, adjusted in zip(ps, holm(list(ps)), strict=True):
        assert adjusted is not None
        assert p <= adjusted <= min(1.0, len(ps) * p) + 1e-15
    order = np.argsort(ps, kind="stable")
    assert (np.diff(np.array(holm(list(ps)), float)[order]) >= 0).all()
