"""The network trained as a whole: equal updates, or equal epochs; the best epoch is tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from busaug.classify.inputs import ImageSet
from busaug.config import load_config, validated
from busaug.data.catalog import Catalog
from busaug.errors import OutputError
from busaug.experiment.config import ExperimentConfig
from busaug.experiment.estimate import estimate
from busaug.experiment.full import Regime, Shown, full
from busaug.experiment.protocols import Partition
from busaug.experiment.run import run
from busaug.experiment.study import Study
from busaug.files import read_json, read_jsonl
from busaug.models.classifier import ClassifierInfo
from busaug.models.weights import Weights, random_weights

TINY: dict[str, Any] = {
    "arms": ["none", "flips"],
    "images": 9,
    "blocks": 9,
    "folds": 3,
    "seeds": 1,
    "budgets": ["full", "full-epochs"],
    "inputs": {"size": 32, "srad_scale": 0},
    "full": {"ratios": [0.5]},
    "settings": {"train.epochs": 2, "train.batch": 8},
}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights("resnet50")


def study_of(catalog: Catalog, weights: Weights, **changes: Any) -> Study:
    config = validated(ExperimentConfig, {**TINY, **changes})
    return Study(config, catalog, {"resnet50": weights})


def test_arms_have_equal_updates_or_equal_epochs(
    phantoms: Catalog, weights: Weights, tmp_path: Path
) -> None:
    study = study_of(phantoms, weights)
    assert run(study, tmp_path / "out") == {"jobs": 12, "done": 12}
    jobs = {file.parent.name: read_json(file) for file in (tmp_path / "out/jobs").glob("*/*.json")}
    assert len(jobs) == 12
    # a third is tested, one block in nine is for validation: 12 - 2 of 18 images are left
    for fold in range(3):
        none, flips = (
            read_json(tmp_path / f"out/jobs/honest-full-{arm}-s0-f{fold}/job.json")
            for arm in ("none-r0", "flips-r0.5")
        )
        assert none["train"] == {"real": 10, "synthetic": 0}
        assert flips["train"] == {"real": 10, "synthetic": 40}
        assert none["validation"] == flips["validation"] == 2
        assert none["updates"] == flips["updates"] == 2 * 2
        by_epochs = read_json(
            tmp_path / f"out/jobs/honest-full-epochs-flips-r1-s0-f{fold}/job.json"
        )
        assert by_epochs["updates"] == 2 * 7  # 50 images in eights, each once an epoch
        history = read_jsonl(tmp_path / f"out/jobs/honest-full-none-r0-s0-f{fold}/history.jsonl")
        assert [row["updates"] for row in history] == [2, 4]
    assert not (tmp_path / "out/features").exists()

    again = study_of(phantoms, weights, settings={"train.epochs": 3, "train.batch": 8})
    with pytest.raises(OutputError, match=r"another configuration \(training.train.epochs"):
        run(again, tmp_path / "out")


def test_the_papers_protocol_sees_its_synthetic_images_alone(
    phantoms: Catalog, weights: Weights, tmp_path: Path
) -> None:
    study = study_of(phantoms, weights, arms=["flips"], protocols=["paper"], budgets=["full"])
    run(study, tmp_path / "out")
    job = read_json(tmp_path / "out/jobs/paper-full-flips-r1-s0-f0/job.json")
    assert job["train"] == {"real": 0, "synthetic": 50}
    assert (job["validation"], job["n"], job["updates"]) == (10, 12, 2 * 7)


def test_time_is_told_beforehand(phantoms: Catalog, weights: Weights) -> None:
    guess = estimate(study_of(phantoms, weights))
    assert 0 < guess.seconds["none"] < guess.seconds["flips"]


def dark_and_bright(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(count) % 2
    levels = 0.2 + 0.6 * targets.float().view(-1, 1, 1, 1)
    images = levels + 0.05 * torch.rand(count, 1, 32, 32, generator=generator)
    return ImageSet(tuple(map(str, range(count))), images, targets, ())


@pytest.mark.parametrize("budget", ["full", "full-epochs"])
def test_it_learns_what_training_images_tell(weights: Weights, budget: str) -> None:
    """A few synthetic images that say the contrary are outvoted."""
    images = dark_and_bright(64)
    synthetic = np.arange(64) >= 56
    targets = torch.where(torch.from_numpy(synthetic), 1 - images.targets, images.targets)
    shown = Shown(ImageSet(images.ids, images.images, targets, ()), synthetic)
    train = np.r_[0:32, 56:64]
    partition = Partition(train, np.arange(40, 56), (), (train, np.arange(32, 40)))
    config = load_config(overrides=["train.epochs=3", "train.batch=8", "train.learning_rate=0.002"])
    info = ClassifierInfo(("dark", "bright"), size=32, srad_scale=0)
    found = full(shown, partition, 0.25, Regime.of(info, weights, config, budget))
    assert found.probability.argmax(axis=1).tolist() == targets[partition.test].tolist()
    assert found.fit.updates == 3 * (4 if budget == "full" else 5)
