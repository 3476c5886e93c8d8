"""What an experiment depends on, and its parts built from that."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from busaug.config import canonical_hash
from busaug.data.catalog import Catalog, Record
from busaug.errors import InputError
from busaug.experiment.arms import Arm, resolve_arms
from busaug.experiment.blocks import (
    Folds,
    block_catalogs,
    check_folds,
    deal_blocks,
    deal_folds,
    training_rows_of,
)
from busaug.experiment.config import ExperimentConfig
from busaug.experiment.full import Regime
from busaug.experiment.jobs import Job, list_jobs
from busaug.models.classifier import ClassifierInfo
from busaug.models.weights import Backbone, Weights, random_weights
from busaug.seeding import key_digest, key_seed


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """A configuration, a Catalog and networks. Raises InputError where they do not fit."""

    config: ExperimentConfig
    source: Catalog
    """As prepared; its splits play no part."""
    weights: Mapping[Backbone, Weights]
    """Of every backbone in ``backbones``."""

    @functools.cached_property
    def catalog(self) -> Catalog:
        """The images that take part."""
        if len(self.source.labels) < 2:
            raise InputError(
                f"{self.source.root} has the one class {self.source.labels[0]}",
                remedy="Prepare a data set of two classes or more",
            )
        return training_rows_of(_drawn(self.source, self.config))

    @functools.cached_property
    def arms(self) -> Sequence[Arm]:
        return resolve_arms(self.config)

    @functools.cached_property
    def jobs(self) -> Sequence[Job]:
        return list_jobs(self.config, self.arms)

    def arm_of(self, job: Job) -> Arm:
        return next(arm for arm in self.arms if arm.name == job.arm)

    @functools.cached_property
    def _block_of(self) -> dict[str, int]:
        return deal_blocks(self.catalog, self.config.blocks, self.config.seed)

    @functools.cached_property
    def parts(self) -> Sequence[Catalog]:
        """What an arm's images are made from, each part by itself: blocks, or all at once."""
        if self.config.pairs == "all":
            return [self.catalog]
        return block_catalogs(self.catalog, self._block_of)

    @functools.cached_property
    def dealings(self) -> Sequence[Folds]:
        """The folds of every seed, each with every class."""
        dealings = []
        for seed in range(self.config.seeds):
            folds = deal_folds(self._block_of, self.config.folds, self.config.seed, seed)
            check_folds(folds, self.catalog, seed)
            dealings.append(folds)
        return dealings

    def identity(self, job: Job, synthetic: Catalog | None) -> dict[str, Any]:
        """What decides a job's outcome, the job itself aside."""
        config, arm = self.config, self.arm_of(job)
        common = {
            "catalog": self.catalog.hash,
            "synthetic": None if synthetic is None else synthetic.hash,
            "inputs": arm.inputs.model_dump(mode="json"),
            "weights": self.weights["resnet50"].sha256,
            "folds": config.model_dump(include={"seed", "blocks", "folds"}),
        }
        if job.budget == "probe":
            return {**common, "strengths": list(config.probe.strengths)}
        regime = self.regime(job)
        training = regime.config.sections("train", "srad", "compute")
        for told_by_inputs in ("size", "srad_scale"):
            del training["train"][told_by_inputs]
        return {**common, "weights": regime.weights.sha256, "training": training}

    def classifier(self, arm: Arm) -> ClassifierInfo:
        """The network that is trained as a whole; the inputs are as for the probe."""
        return ClassifierInfo(
            self.catalog.labels,
            arm.inputs.size,
            arm.inputs.srad_scale,
            arm.config.srad,
            arm.config.train.dropout,
            self.weights["resnet50"].name,
        )

    def regime(self, job: Job) -> Regime:
        """How the network of a job is trained, draws included: alike in all arms."""
        arm = self.arm_of(job)
        seed = key_seed("full", self.config.seed, job.seed)
        weights = self.weights["resnet50"]
        if self.config.full.start == "random":
            weights = random_weights("resnet50", self.config.seed)
        config = arm.config.model_copy(update={"seed": seed})
        return Regime.of(self.classifier(arm), weights, config, job.budget)

    def facts(self) -> dict[str, Any]:
        """For ``experiment.json``: everything that a reader of the results may ask for."""
        return {
            "config": self.config.model_dump(mode="json", exclude={"catalog"}),
            "images": {
                label: len(self.catalog.of_class(label).records) for label in self.catalog.labels
            },
            "groups": len({record.group for record in self.catalog.records}),
            "catalog": self.catalog.hash,
            "weights": {
                backbone: {"name": w.name, "sha256": w.sha256, "pretrained": w.pretrained}
                for backbone, w in self.weights.items()
            },
            "arms": {
                arm.name: {
                    "like": arm.like,
                    "images": arm.images,
                    "recipe": arm.recipe,
                    "recipe_hash": canonical_hash(arm.recipe),
                    "inputs": arm.inputs.model_dump(mode="json"),
                    "against": arm.against,
                }
                for arm in self.arms
            },
        }


def backbones(arms: Sequence[Arm]) -> list[Backbone]:
    """The networks that the arms and the probe need."""
    return sorted({"resnet50", *(arm.config.style.backbone for arm in arms if arm.styled)})


def _drawn(catalog: Catalog, config: ExperimentConfig) -> Catalog:
    """``images`` of each class, drawn by their content, or all."""
    if config.images is None:
        return catalog
    kept: list[Record] = []
    for label in catalog.labels:
        records = sorted(
            catalog.of_class(label).records,
            key=lambda record: (key_digest(config.seed, "image", record.sha256), record.id),
        )
        if len(records) < config.images:
            raise InputError(
                f"images={config.images}, but {catalog.root} has {len(records)} of {label}",
                remedy=f"Use at most {len(records)}",
            )
        kept += records[: config.images]
    return Catalog(catalog.root, tuple(sorted(kept, key=lambda record: record.id)))
