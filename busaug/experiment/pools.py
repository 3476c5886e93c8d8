"""All samples of an arm with their features, real and synthetic together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.experiment.arms import Arm
from busaug.experiment.features import FeatureStore
from busaug.experiment.probe import Pool
from busaug.experiment.samples import Sample, real_sample
from busaug.experiment.sets import SyntheticSet, load_set
from busaug.experiment.study import Study

SETS = "sets"
_FEATURES = "features"


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """What the jobs of an arm choose from."""

    samples: tuple[Sample, ...]
    """The real ones first."""
    pool: Pool
    """Their features, in the same order."""
    synthetic: Catalog | None
    """The synthetic ones; None for an arm that has none."""


class Pools:
    """The samples of each arm, from an experiment's folder; the last arm's are kept at hand."""

    def __init__(self, study: Study, out: Path, device: torch.device) -> None:
        self._study = study
        self._out = out
        self._features = FeatureStore(out / _FEATURES, study.weights["resnet50"], device)
        self._last: tuple[Arm, Samples] | None = None

    def set_folder(self, arm: Arm) -> Path:
        return self._out / SETS / arm.images

    def of(self, arm: Arm) -> Samples:
        """Raises InputError where the arm's set has not one accepted image."""
        if self._last is None or self._last[0] != arm:
            self._last = (arm, self._load(arm))
        return self._last[1]

    def _load(self, arm: Arm) -> Samples:
        real, made = self._study.catalog, self._set(arm)
        samples = tuple(map(real_sample, real.records))
        features = self._features.fetch(real, arm.inputs)
        if made is not None:
            samples += made.samples
            features = np.concatenate([features, self._features.fetch(made.catalog, arm.inputs)])
        targets = np.array([real.labels.index(sample.label) for sample in samples], np.int64)
        synthetic = np.array([sample.synthetic for sample in samples])
        pool = Pool(features, targets, synthetic)
        return Samples(samples, pool, None if made is None else made.catalog)

    def _set(self, arm: Arm) -> SyntheticSet | None:
        if not arm.synthesises:
            return None
        found = load_set(self.set_folder(arm), self._study.catalog)
        if not found.samples:
            raise InputError(
                f"not one image of the arm {arm.name} was accepted",
                remedy=f"See {self.set_folder(arm)} for the reasons, and the gate's settings",
            )
        return found
