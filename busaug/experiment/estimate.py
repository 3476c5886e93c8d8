"""What a study would take: images and time, from timed pilots that write nothing lasting."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import numpy as np
import torch

from busaug import console
from busaug.augment import estimate as styled
from busaug.augment.job import Job as StyleJob
from busaug.experiment.arms import MATCHED, Arm
from busaug.experiment.classical import COPIES
from busaug.experiment.probe import Pool, probe
from busaug.experiment.protocols import honest
from busaug.experiment.samples import real_sample
from busaug.experiment.study import Study
from busaug.quality.features import pooled_network
from busaug.seeding import draw

_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Estimate:
    """By the name of the arm, for one process; what is on disk already is not taken off."""

    images: Mapping[str, int]
    """Synthetic ones."""
    seconds: Mapping[str, float]
    """For its images, their features and its jobs."""


def estimate(study: Study) -> Estimate:
    """Time a work unit of every styled arm, a batch of features and a job on real images."""
    torch.set_num_threads(study.config.threads)
    images: dict[str, int] = {}
    seconds: dict[str, float] = {}
    made: set[str] = set()
    with console.progress("pilots", len(study.arms) + 2) as advance:
        feature_s = _feature_seconds(study)
        advance()
        job_s = _job_seconds(study)
        advance()
        real = len(study.catalog.records)
        for arm in study.arms:
            with console.hushed():
                images[arm.name], making_s = _set(study, arm)
            if arm.images in made:
                making_s = 0.0
            made.add(arm.images)
            jobs = sum(job.arm == arm.name for job in study.jobs)
            seen = real + images[arm.name]
            seconds[arm.name] = making_s + feature_s * seen + jobs * job_s * seen / real
            advance()
    return Estimate(images, seconds)


def _set(study: Study, arm: Arm) -> tuple[int, float]:
    """Images of the arm and what making them takes."""
    records = len(study.catalog.records)
    if arm.styled:
        part = study.parts[0]
        weights = study.weights[arm.config.style.backbone]
        guess = styled.estimate(StyleJob(part, arm.config, weights, None))
        parts = records / len(part.records)
        return round(guess.total * parts), guess.seconds * parts
    if arm.like == MATCHED:
        pairs = arm.config.plan.pairs
        each = pairs if isinstance(pairs, int) else records // len(study.catalog.labels)
        return records * each, 0.0
    return records * COPIES if arm.synthesises else 0, 0.0


def _feature_seconds(study: Study) -> float:
    """An image."""
    network = pooled_network(study.weights["resnet50"], torch.device(study.config.device))
    size = study.config.inputs.size
    images = torch.zeros(_BATCH, 3, size, size, device=study.config.device)
    with torch.no_grad():
        network(images)  # warm
        begin = time.perf_counter()
        network(images).sum().item()
    return (time.perf_counter() - begin) / _BATCH


def _job_seconds(study: Study) -> float:
    """A job on real images alone, with made-up features."""
    samples = [real_sample(record) for record in study.catalog.records]
    features = draw("pilot").standard_normal((len(samples), 2048), np.float32)
    targets = np.array([study.catalog.labels.index(sample.label) for sample in samples])
    pool = Pool(features, targets, np.zeros(len(samples), bool))
    begin = time.perf_counter()
    probe(pool, honest(samples, study.dealings[0], 0), 0.0, study.config.probe.strengths)
    return time.perf_counter() - begin
