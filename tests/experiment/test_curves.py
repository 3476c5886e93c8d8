"""Mean curves of a condition: ROC against closed forms and areas, the course of training."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tolerances import TOLERANCES

from busaug.experiment.curves import STEPS, mean_history, mean_roc
from busaug.experiment.statistics import Predictions
from busaug.seeding import draw


def job(truth: list[int], positive: list[float]) -> Predictions:
    names = tuple(f"i{index}" for index in range(len(truth)))
    scores = np.array(positive)
    return Predictions(names, names, np.array(truth), np.stack([1 - scores, scores], axis=1))


APART = job([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
EQUAL = job([0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5])


def test_curves_with_closed_forms() -> None:
    grid = np.linspace(0, 1, STEPS + 1)
    assert mean_roc([APART]) == [0.0, *[1.0] * STEPS]
    assert mean_roc([EQUAL]) == pytest.approx(grid)
    both = mean_roc([APART, EQUAL])
    assert both == pytest.approx([0.0, *((1 + grid[1:]) / 2)], abs=1e-4)
    backwards = job([0, 0, 1, 1], [0.8, 0.9, 0.1, 0.2])
    assert mean_roc([backwards]) == [*[0.0] * STEPS, 1.0]
    step = job([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4])  # a half at once, all from one half on
    assert mean_roc([step]) == [0.0, *[0.5] * (STEPS // 2 - 1), *[1.0] * (STEPS // 2 + 1)]


def test_the_area_is_the_mean_auc() -> None:
    jobs, areas = [], []
    for seed in range(5):
        truth = draw("truth", seed).integers(0, 2, 600)
        scores = 1 / (1 + np.exp(-(1.5 * truth + draw("scores", seed).normal(size=600))))
        jobs.append(job(truth.tolist(), scores.tolist()))
        areas.append(roc_auc_score(truth, scores))
    curve = np.array(mean_roc(jobs))
    area = float((curve[1:] + curve[:-1]).sum() / (2 * STEPS))
    assert area == pytest.approx(np.mean(areas), abs=TOLERANCES["ROC area, absolute"])


def test_a_job_of_one_class_is_left_out_and_three_classes_have_no_curve() -> None:
    alone = job([1, 1], [0.3, 0.6])
    assert mean_roc([alone, APART]) == mean_roc([APART])
    assert mean_roc([alone]) is None
    three = Predictions(("a", "b", "c"), ("a", "b", "c"), np.array([0, 1, 2]), np.eye(3))
    assert mean_roc([three]) is None


def test_courses_are_means_over_the_jobs_that_came_so_far() -> None:
    def epoch(loss: float) -> dict[str, float]:
        return {"train_loss": loss, "val_loss": 2 * loss, "val_accuracy": 0.5, "lr": 1.0}

    found = mean_history([[epoch(1.0), epoch(0.5)], [epoch(3.0)], ()])
    assert found == {
        "train_loss": [2.0, 0.5],
        "val_loss": [4.0, 1.0],
        "val_accuracy": [0.5, 0.5],
    }
    assert mean_history([(), ()]) is None
