"""What a run would take: pairs, disk and time, from a timed pilot that writes nothing lasting."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

from busaug.augment.job import Format, Job
from busaug.config import Config

_EVALUATIONS = 4


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The size of a run on this machine."""

    pairs: dict[str, int]
    """A class."""
    units: int
    bytes: int
    """Upper estimate: speckle hardly compresses, so raw pixels and a manifest row an image."""
    seconds: float
    format: Format

    @property
    def total(self) -> int:
        return sum(self.pairs.values())


def estimate(job: Job) -> Estimate:
    """Time the first unit at one and at a few evaluations, and extend the line between them."""
    plan, style = job.plan(), job.config.style
    unit = plan.work_unit(0)
    extractor = job.extractor()
    with tempfile.TemporaryDirectory() as scratch:
        engine = job.engine(extractor, 1.0, Path(scratch), keep_targets=False)
        seconds = []
        # The first round warms caches and keeps the relevance maps.
        for evaluations in (1, 1, 1 + _EVALUATIONS):
            engine.config = _with_evaluations(job.config, evaluations)
            begin = time.perf_counter()
            engine.run(unit)
            seconds.append(time.perf_counter() - begin)
    each = max(seconds[2] - seconds[1], 0.0) / _EVALUATIONS
    unit_s = seconds[1] + each * (style.iterations - 1)
    depth = max(record.bit_depth for record in job.training.records) // 8
    row_bytes = 1500
    return Estimate(
        plan.counts(),
        plan.units,
        (style.size**2 * depth + row_bytes) * len(plan),
        unit_s * len(plan) / len(unit.pairs),
        job.format,
    )


def _with_evaluations(config: Config, evaluations: int) -> Config:
    style = config.style.model_copy(update={"iterations": evaluations})
    return config.model_copy(update={"style": style})
