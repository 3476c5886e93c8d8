"""Resuming the paper's run, 325,408 planned images with half of them done; images are stubbed.

Bars: 30 s and 2 GiB. Without ``--benchmark-enable`` a smaller run is resumed, for its result.
"""

from __future__ import annotations

import dataclasses
import resource
import time
from pathlib import Path

import numpy as np
import pytest

from busaug.augment import run as augment_run
from busaug.augment.engine import Figures, Outcome
from busaug.augment.job import Job
from busaug.augment.manifest import Manifest, Row, manifest_row
from busaug.augment.plan import Unit
from busaug.augment.store.base import Picture, Store
from busaug.augment.store.choose import open_store
from busaug.config import load_config
from busaug.data.catalog import Catalog, Record
from busaug.models.weights import random_weights

_IMAGE = np.zeros((32, 32), np.float32)
_FIGURES = Figures(
    loss_initial=41234.5678,
    loss_final=12345.6789,
    content_loss=2345.6789,
    style_initial=0.123456789,
    style_final=0.0123456789,
    layers_initial=dict.fromkeys(("relu", "layer1", "layer2", "layer3"), 0.0123456789),
    layers_final=dict.fromkeys(("relu", "layer1", "layer2", "layer3"), 0.00123456789),
    change=0.0123456789,
    ssim=0.812345678,
    saturated=0.00123456789,
    lesion_ssim=None,
    masked=0.0,
    curve=tuple((index, 12345.6789 + index) for index in range(24)),
)


class _Engine:
    """Makes outcomes without images."""

    maps = None
    first: float | None = None

    def run(self, unit: Unit) -> list[Outcome]:
        if self.first is None:
            self.first = time.perf_counter()
        return [Outcome(pair, _IMAGE, _FIGURES, None) for pair in unit.pairs]


def _write(unit: Unit, outcomes: list[Outcome], store: Store, manifest: Manifest) -> list[Row]:
    """What ``Writer.write`` does, with a few bytes for each image."""
    rows = [manifest_row(o, store.place(unit, o.pair), "0" * 64, 0) for o in outcomes]
    store.keep(unit, [Picture(row, b"PNG") for row in rows])
    manifest.add(unit, rows)
    return rows


@pytest.fixture
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Job:
    timed = request.config.getoption("benchmark_enable")
    counts = {"benign": 348, "malignant": 452} if timed else {"benign": 20, "malignant": 28}
    records = [
        Record(
            id=f"busi-{label}-{index:04d}",
            file=f"images/{label}/busi-{label}-{index:04d}.png",
            label=label,
            group=f"g-{label}-{index:04d}",
            split="train",
            sha256=f"{index:032d}{label:>32}",
            width=500,
            height=500,
            bit_depth=8,
            source=f"busi:{label} ({index}).png",
        )
        for label, count in counts.items()
        for index in range(count)
    ]
    settings = ["relevance.mode=L0", "compute.threads=1", "output.format=webdataset"]
    config = load_config(preset="paper", overrides=settings)
    return Job(
        Catalog(tmp_path / "catalog", tuple(records)), config, random_weights("resnet50"), None
    )


def test_half_done(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, benchmark, summary
) -> None:
    engine, plan, out = _Engine(), job.plan(), tmp_path / "out"
    manifest = Manifest(out)
    store = open_store(job, plan, manifest)
    augment_run.open_run(out, augment_run.COMMAND, job.identity)
    for index in range(0, plan.units, 2):
        unit = plan.work_unit(index)
        _write(unit, engine.run(unit), store, manifest)
    engine.first = None

    monkeypatch.setattr(Job, "extractor", lambda *_: None)
    monkeypatch.setattr(Job, "engine", lambda *_, **__: engine)
    monkeypatch.setattr(augment_run, "_balance", lambda *_: 1.0)

    class Stub:
        """Writes rows, and parts of shards without images."""

        def __init__(self, *_: object) -> None:
            pass

        def write(self, unit: Unit, outcomes: list[Outcome]) -> list[Row]:
            return _write(unit, outcomes, store, manifest)

    monkeypatch.setattr(augment_run, "Writer", Stub)
    job = dataclasses.replace(job)  # nothing remembered
    begin = time.perf_counter()
    made = benchmark.pedantic(augment_run.augment, args=(job, out), rounds=1)
    end = time.perf_counter()
    assert made["planned"] == made["accepted"] == len(plan)
    assert sum(1 for _ in manifest.rows()) == len(plan)
    assert engine.first is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if not benchmark.disabled:
        summary(
            f"resume of {len(plan):,} with half done: {engine.first - begin:.1f} s to the first "
            f"new unit, {end - begin:.1f} s with {plan.units // 2:,} stubbed units, packing and "
            f"merging; peak {peak:.2f} GiB"
        )
