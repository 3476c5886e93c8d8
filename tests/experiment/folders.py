"""Folders as ``busaug experiment run`` leaves them, with predictions that are drawn."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from busaug.classify.metrics import score
from busaug.seeding import draw

CLASSES = ("benign", "malignant")
IMAGES = 40
FOLDS, SEEDS = 4, 2
ARMS = {"none": 0.6, "proposed-la": 1.6, "proposed-no-xai": 0.6}
"""Arms with how far they tell the classes apart."""


def write_experiment(out: Path, *, arms: dict[str, float] | None = None) -> Path:
    """Jobs of both protocols; in ``paper`` every arm is better than it is."""
    chosen = arms or ARMS
    for arm, apart in chosen.items():
        ratio = 0.0 if arm == "none" else 1.0
        for seed in range(SEEDS):
            order = draw("folds", seed).permutation(IMAGES)
            for fold, rows in enumerate(np.array_split(order, FOLDS)):
                _job(out, ("honest", arm, ratio, seed, fold), np.sort(rows), apart, "")
            _job(out, ("paper", arm, ratio, seed, 0), np.sort(order[:12]), apart + 1, f"{arm}-")
    facts = {
        "begun": "2026-11-01T10:00:00+00:00",
        "continued": "2026-11-02T10:00:00+00:00",
        "images": {"benign": IMAGES // 2, "malignant": IMAGES // 2},
        "groups": IMAGES,
        "arms": dict.fromkeys(chosen),
        "weights": {"resnet50": {"name": "imagenet", "sha256": "ab" * 32, "pretrained": True}},
        "environment": {"devices": [{"device": "cpu", "name": "A | B", "cores": 2, "threads": 1}]},
    }
    (out / "experiment.json").write_text(json.dumps(facts), encoding="utf-8")
    return out


def _job(
    out: Path,
    key: tuple[str, str, float, int, int],
    rows: Sequence[int],
    apart: float,
    start: str,
) -> None:
    protocol, arm, ratio, seed, fold = key
    truth = [int(row) % 2 for row in rows]
    noise = draw("scores", *key).normal(size=len(truth))
    shared = np.array([draw("image", int(row)).normal() for row in rows])
    logits = apart * (2 * np.array(truth) - 1) + noise + shared
    positive = np.round(1 / (1 + np.exp(-logits)), 9)
    probability = np.stack([1 - positive, positive], axis=1)
    folder = out / "jobs" / f"{protocol}-probe-{arm}-r{ratio:g}-s{seed}-f{fold}"
    folder.mkdir(parents=True)
    job = {"arm": arm, "protocol": protocol, "budget": "probe", "fold": fold, "seed": seed,
           "ratio": ratio, "classes": CLASSES, "train": {"real": 30, "synthetic": 30}}  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    scores = score(truth, probability, CLASSES)
    (folder / "metrics.json").write_text(json.dumps(dict(scores.metrics)), encoding="utf-8")
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "group", "label", "fold", *(f"p_{label}" for label in CLASSES)])
        for row, label, p in zip(rows, truth, probability, strict=True):
            table.writerow([f"{start}i{row}", f"g{row:02d}", CLASSES[label], fold, *p])
