"""Metrics against closed forms, scikit-learn on other inputs than ours, and the known claims."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from busaug.classify.metrics import (
    METRICS,
    ImpossibleMetrics,
    Scores,
    assert_convex,
    choose_threshold,
    score,
)

CLASSES = ("benign", "malignant")
counts = st.integers(min_value=0, max_value=40)


def from_matrix(matrix: npt.NDArray[np.int64], classes: tuple[str, ...] = CLASSES) -> Scores:
    """Scores of confident predictions with the given confusion matrix."""
    truth, probability = [], []
    for true, row in enumerate(matrix):
        for predicted, count in enumerate(row):
            truth += [true] * int(count)
            probability += [np.eye(len(classes))[predicted]] * int(count)
    return score(truth, np.array(probability), classes)


def test_binary_metrics_have_their_closed_forms() -> None:
    tn, fp, fn, tp = 50, 10, 4, 36
    found = from_matrix(np.array([[tn, fp], [fn, tp]])).metrics
    expected = {
        "accuracy": 86 / 100,
        "balanced_accuracy": (36 / 40 + 50 / 60) / 2,
        "sensitivity": 36 / 40,
        "specificity": 50 / 60,
        "precision": 36 / 46,
        "f1": 72 / (72 + 10 + 4),
        "mcc": (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
        "auc": (36 / 40 + 50 / 60) / 2,  # of a hard decision
        "brier": 14 / 100,
        "ece": 14 / 100,  # confidence 1, accuracy .86
    }
    assert found == pytest.approx(expected)
    assert tuple(found) == METRICS


def test_all_benign_predictor_on_the_published_test_counts() -> None:
    """53 benign and 68 malignant: 43.80 %, not the published 55.21 % of 96 images."""
    scores = from_matrix(np.array([[53, 0], [68, 0]]))
    assert scores.n == 121
    assert scores.metrics["accuracy"] == pytest.approx(53 / 121)
    assert round(100 * 53 / 121, 2) == 43.80
    assert scores.metrics["sensitivity"] == 0.0
    assert scores.metrics["specificity"] == 1.0
    assert scores.metrics["precision"] is None
    assert scores.undefined == {
        "precision": "no image was predicted malignant",
        "mcc": "all images were predicted benign",
    }
    assert scores.metrics["f1"] == 0.0  # 2TP / (2TP + FP + FN), defined

    kept = 121 // 32 * 32  # an evaluator that drops the last batch of the ordered images
    assert round(100 * 53 / kept, 2) == 55.21


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
def test_binary_agrees_with_scikit_learn_or_says_why_not(rows: list[tuple[int, float]]) -> None:
    truth = np.array([label for label, _ in rows])
    positive = np.array([p for _, p in rows])
    scores = score(truth.tolist(), np.stack([1 - positive, positive], axis=1), CLASSES)
    predicted = (positive > 1 - positive).astype(int)
    tn, fp, fn, tp = peer.confusion_matrix(truth, predicted, labels=[0, 1]).ravel()
    assert scores.confusion == ((tn, fp), (fn, tp))
    assert set(scores.undefined) == {k for k, v in scores.metrics.items() if v is None}

    present = {
        "accuracy": True,
        "brier": True,
        "ece": True,
        "balanced_accuracy": tp + fn > 0 and tn + fp > 0,
        "auc": tp + fn > 0 and tn + fp > 0,
        "sensitivity": tp + fn > 0,
        "specificity": tn + fp > 0,
        "precision": tp + fp > 0,
        "f1": tp + fp + fn > 0,
        "mcc": tp + fn > 0 and tn + fp > 0 and tp + fp > 0 and tn + fn > 0,
    }
    assert {k: v is not None for k, v in scores.metrics.items()} == present
    if present["mcc"]:
        assert scores.metrics["mcc"] == pytest.approx(peer.matthews_corrcoef(truth, predicted))
    if present["auc"]:
        wins = (positive[truth == 1][:, None] > positive[truth == 0]).mean()
        ties = (positive[truth == 1][:, None] == positive[truth == 0]).mean()
        assert scores.metrics["auc"] == pytest.approx(wins + ties / 2)
    assert scores.metrics["brier"] == pytest.approx(np.mean((positive - truth) ** 2))


@given(tn=counts, fp=counts, fn=counts, tp=counts)
def test_every_matrix_with_both_classes_is_convex(tn: int, fp: int, fn: int, tp: int) -> None:
    if tn + fp == 0 or fn + tp == 0:
        return
    accuracy = (tp + tn) / (tp + tn + fp + fn)
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    assert_convex(accuracy, sensitivity, specificity)
    printed = [round(100 * value, 2) for value in (accuracy, sensitivity, specificity)]
    assert_convex(*printed, slack=0.01)


def test_the_published_row_is_impossible() -> None:
    with pytest.raises(ImpossibleMetrics, match=r"92\.47 lies outside \[94\.1, 99\.88\]"):
        assert_convex(92.47, 94.1, 99.88, slack=0.1)


@pytest.mark.parametrize("accuracy", [0.69, 0.91])
def test_either_side_of_the_range_is_refused(accuracy: float) -> None:
    with pytest.raises(ImpossibleMetrics):
        assert_convex(accuracy, 0.7, 0.9)


def test_three_classes() -> None:
    classes = ("benign", "malignant", "normal")
    matrix = np.array([[8, 1, 1], [2, 5, 1], [0, 0, 2]])
    scores = from_matrix(matrix, classes)
    truth = np.repeat([0, 1, 2], matrix.sum(axis=1))
    predicted = np.concatenate([np.repeat([0, 1, 2], row) for row in matrix])
    found = scores.metrics
    assert scores.confusion == tuple(map(tuple, matrix))
    assert found["sensitivity"] == pytest.approx((8 / 10 + 5 / 8 + 2 / 2) / 3)
    assert found["specificity"] == pytest.approx((8 / 10 + 11 / 12 + 16 / 18) / 3)
    assert found["mcc"] == pytest.approx(peer.matthews_corrcoef(truth, predicted))
    assert found["f1"] == pytest.approx(peer.f1_score(truth, predicted, average="macro"))
    assert found["brier"] == pytest.approx(2 * 5 / 20)
    assert scores.per_class["malignant"]["precision"] == pytest.approx(5 / 6)


def test_three_classes_with_one_absent_name_it() -> None:
    scores = from_matrix(np.array([[3, 0, 0], [0, 0, 0], [1, 0, 2]]), ("a", "b", "c"))
    assert scores.undefined == {
        "balanced_accuracy": "no image is b",
        "sensitivity": "no image is b",
        "precision": "no image was predicted b",
        "f1": "no image is b or was predicted so",
        "auc": "no image is b",
    }
    assert scores.per_class["a"]["sensitivity"] == 1.0
    assert scores.per_class["b"]["sensitivity"] is None


def test_one_class_only_names_what_is_missing() -> None:
    scores = from_matrix(np.array([[0, 0], [1, 3]]))
    assert scores.undefined == {
        "balanced_accuracy": "no image is benign",
        "specificity": "every image is malignant",
        "mcc": "all images are malignant",
        "auc": "no image is benign",
    }


def test_calibration_error_by_hand() -> None:
    """Four at confidence .9 with three right, two at .6 with two right: bins .9 and .6."""
    positive = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    scores = score([1, 1, 1, 0, 1, 1], np.stack([1 - positive, positive], axis=1), CLASSES)
    assert scores.metrics["ece"] == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.4)


@pytest.mark.parametrize(
    ("truth", "probability"),
    [
        ([], np.zeros((0, 2))),
        ([0], np.array([[0.5, 0.4]])),
        ([0], np.array([[1.5, -0.5]])),
        ([0, 1], np.array([[1.0, 0.0]])),
        ([2], np.array([[1.0, 0.0]])),
        ([0], np.array([[np.nan, np.nan]])),
    ],
)
def test_nonsense_is_refused(truth: list[int], probability: npt.NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match=r"probabilities|classes|distribution"):
        score(truth, probability, CLASSES)


def two_columns(positive: list[float]) -> npt.NDArray[np.float64]:
    return np.stack([1 - np.array(positive), np.array(positive)], axis=1)


@settings(max_examples=20)
@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=2, max_size=30),
    sensitivity_min=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
def test_no_threshold_is_better_than_the_one_chosen(
    rows: list[tuple[int, int]], sensitivity_min: float
) -> None:
    truth = [label for label, _ in rows]
    probability = two_columns([level / 10 for _, level in rows])
    chosen = choose_threshold(truth, probability, sensitivity_min=sensitivity_min)
    if len(set(truth)) < 2:
        assert chosen is None
        return
    assert chosen is not None
    true, positive = np.array(truth), probability[:, 1]
    reached, balanced = [], []
    for threshold in (chosen, 0.0, *np.arange(0, 1, 0.1) + 0.05):
        called = positive >= threshold
        sensitivity, specificity = called[true == 1].mean(), (~called[true == 0]).mean()
        reached.append(sensitivity >= sensitivity_min)
        balanced.append((sensitivity + specificity) / 2)
    assert reached[0]
    assert balanced[0] == pytest.approx(np.array(balanced)[reached].max())


def test_a_threshold_moves_predictions_and_nothing_else() -> None:
    truth, probability = [0, 0, 1, 1], two_columns([0.1, 0.3, 0.35, 0.8])
    plain = score(truth, probability, CLASSES)
    moved = score(truth, probability, CLASSES, threshold=0.32)
    assert (plain.confusion, moved.confusion) == (((2, 0), (1, 1)), ((2, 0), (0, 2)))
    for name in ("auc", "brier", "ece"):
        assert plain.metrics[name] == moved.metrics[name]
    assert choose_threshold(truth, probability) == pytest.approx(0.325)
    with pytest.raises(ValueError, match="3 classes"):
        score([0], np.array([[0.2, 0.3, 0.5]]), ("a", "b", "c"), threshold=0.5)
