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
from busaug.classify.train import start_model
from busaug.experiment.arms import MATCHED, Arm
from busaug.experiment.blocks import VALIDATION
from busaug.experiment.classical import COPIES
from busaug.experiment.jobs import Job
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
    """Time a work unit of every styled arm, a batch of each network and a probe on real images."""
    torch.set_num_threads(study.config.threads)
    images: dict[str, int] = {}
    seconds: dict[str, float] = {}
    made: set[str] = set()
    with console.progress("pilots", len(study.arms) + 1) as advance:
        pilots = _pilots(study)
        advance()
        real = len(study.catalog.records)
        for arm in study.arms:
            with console.hushed():
                images[arm.name], making_s = _set(study, arm)
            if arm.images in made:
                making_s = 0.0
            made.add(arm.images)
            size = _Size(real, images[arm.name])
            jobs = [job for job in study.jobs if job.arm == arm.name]
            jobs_s = sum(_job_seconds(job, size, study, pilots) for job in jobs)
            probed = any(job.budget == "probe" for job in jobs)
            seconds[arm.name] = making_s + jobs_s + probed * size.all * pilots.feature
            advance()
    return Estimate(images, seconds)


@dataclasses.dataclass(frozen=True)
class _Size:
    """Images of an arm."""

    real: int
    synthetic: int

    @property
    def all(self) -> int:
        return self.real + self.synthetic


@dataclasses.dataclass(frozen=True)
class _Pilots:
    """Seconds, as timed; 0 for what the study does not do."""

    feature: float
    """Of an image's features."""
    probe: float
    """Of a probe on the real images."""
    image: float
    """Of an image in training."""


def _pilots(study: Study) -> _Pilots:
    probes = "probe" in study.config.budgets
    trained = next((job for job in study.jobs if job.budget != "probe"), None)
    return _Pilots(
        _feature_seconds(study) if probes else 0.0,
        _probe_seconds(study) if probes else 0.0,
        _training_seconds(study, trained) if trained else 0.0,
    )


def _job_seconds(job: Job, size: _Size, study: Study, pilots: _Pilots) -> float:
    """At most: a training by epochs may end early."""
    if job.budget == "probe":
        return pilots.probe * size.all / size.real
    joined = size.synthetic if job.budget == "full-epochs" else job.ratio * size.real
    trained = 1 - 1 / study.config.folds - VALIDATION
    return study.regime(job).config.train.epochs * trained * (size.real + joined) * pilots.image


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


def _training_seconds(study: Study, job: Job) -> float:
    """An image, forward and backward."""
    regime = study.regime(job)
    model = start_model(regime.info, regime.weights, 0).to(study.config.device).train()
    images = torch.zeros(_BATCH, 3, regime.info.size, regime.info.size, device=study.config.device)
    model(images).sum().backward()  # warm
    begin = time.perf_counter()
    loss = model(images).sum()
    loss.backward()
    loss.item()
    return (time.perf_counter() - begin) / _BATCH


def _probe_seconds(study: Study) -> float:
    """A job on real images alone, with made-up features."""
    samples = [real_sample(record) for record in study.catalog.records]
    features = draw("pilot").standard_normal((len(samples), 2048), np.float32)
    targets = np.array([study.catalog.labels.index(sample.label) for sample in samples])
    pool = Pool(features, targets, np.zeros(len(samples), bool))
    begin = time.perf_counter()
    probe(pool, honest(samples, study.dealings[0], 0), 0.0, study.config.probe.strengths)
    return time.perf_counter() - begin
