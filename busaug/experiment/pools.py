"""All samples of an arm, real and synthetic together, and how each budget sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from busaug.classify.inputs import load_set
from busaug.classify.metrics import Bools
from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.experiment.arms import Arm
from busaug.experiment.features import FeatureStore
from busaug.experiment.full import Shown
from busaug.experiment.probe import Pool
from busaug.experiment.samples import Sample, real_sample
from busaug.experiment.sets import SyntheticSet
from busaug.experiment.sets import load_set as load_synthetic
from busaug.experiment.study import Study

SETS = "sets"
_FEATURES = "features"

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """What the jobs of an arm choose from."""

    samples: tuple[Sample, ...]
    """The real ones first."""
    real: Catalog
    synthetic: Catalog | None
    """None for an arm that has none."""

    @property
    def catalogs(self) -> list[Catalog]:
        """Their records are the samples, in the same order."""
        return [self.real] if self.synthetic is None else [self.real, self.synthetic]

    @property
    def is_synthetic(self) -> Bools:
        return np.array([sample.synthetic for sample in self.samples])


class Pools:
    """The samples of each arm, from an experiment's folder; the last arm's are kept at hand."""

    def __init__(self, study: Study, out: Path, device: torch.device) -> None:
        self._study = study
        self._out = out
        self._features = FeatureStore(out / _FEATURES, study.weights["resnet50"], device)
        self._samples: dict[Arm, Samples] = {}
        self._pools: dict[Arm, Pool] = {}
        self._shown: dict[Arm, Shown] = {}

    def set_folder(self, arm: Arm) -> Path:
        return self._out / SETS / arm.images

    def of(self, arm: Arm) -> Samples:
        """Raises InputError where the arm's set has not one accepted image."""
        return _kept(self._samples, arm, self._load)

    def pool(self, arm: Arm) -> Pool:
        """Their features, in the same order."""
        return _kept(self._pools, arm, self._featured)

    def shown(self, arm: Arm) -> Shown:
        """Their pixels, in the same order. Raises InputError for a file that cannot be read."""
        return _kept(self._shown, arm, self._read)

    def _load(self, arm: Arm) -> Samples:
        real, made = self._study.catalog, self._set(arm)
        samples = tuple(map(real_sample, real.records))
        if made is None:
            return Samples(samples, real, None)
        return Samples(samples + made.samples, real, made.catalog)

    def _featured(self, arm: Arm) -> Pool:
        found = self.of(arm)
        labels = self._study.catalog.labels
        features = [self._features.fetch(catalog, arm.inputs) for catalog in found.catalogs]
        targets = np.array([labels.index(sample.label) for sample in found.samples], np.int64)
        return Pool(np.concatenate(features), targets, found.is_synthetic)

    def _read(self, arm: Arm) -> Shown:
        found = self.of(arm)
        images = load_set(found.catalogs, self._study.classifier(arm), "experiment's")
        for row in images.skipped:  # rows have to stay those of the samples
            raise InputError(f"{row['id']}: {row['reason']}", remedy="Prepare the data set again")
        return Shown(images, found.is_synthetic)

    def _set(self, arm: Arm) -> SyntheticSet | None:
        if not arm.synthesises:
            return None
        found = load_synthetic(self.set_folder(arm), self._study.catalog)
        if not found.samples:
            raise InputError(
                f"not one image of the arm {arm.name} was accepted",
                remedy=f"See {self.set_folder(arm)} for the reasons, and the gate's settings",
            )
        return found


def _kept(last: dict[Arm, T], arm: Arm, make: Callable[[Arm], T]) -> T:
    """What was made for the arm; that of another arm is let go."""
    if arm not in last:
        last.clear()
        last[arm] = make(arm)
    return last[arm]
