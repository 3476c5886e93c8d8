"""What a run of ``busaug augment`` depends on, and how its parts are built from that."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from pathlib import Path
from typing import Any, Literal

import torch

from busaug.augment.cache import TensorCache
from busaug.augment.engine import Engine
from busaug.augment.maps import RelevanceMaps
from busaug.augment.plan import Plan, plan_pairs
from busaug.augment.sources import Sources
from busaug.config import LOOSE_MAX, Config, canonical_hash
from busaug.data.catalog import Catalog
from busaug.device import open_device
from busaug.errors import InputError
from busaug.explain.predictor import Predictor, imagenet_predictor
from busaug.models.weights import Weights, file_sha256
from busaug.runfolder import read_run
from busaug.style.features import FeatureExtractor

_TARGETS = "targets"

Format = Literal["png", "webdataset", "parquet"]


@dataclasses.dataclass(frozen=True)
class Job:
    """A Catalog, a resolved configuration (no ``auto``, threads a number) and networks."""

    catalog: Catalog
    config: Config
    weights: Weights
    explainer: Predictor | None
    """None takes the ImageNet logits of ``weights``."""
    styles: Catalog | None = None
    """Whose training images are the styles; None for ``catalog`` itself."""
    allow_leak: bool = False
    """Whether styles may be what ``Sources.between`` refuses."""

    @functools.cached_property
    def training(self) -> Catalog:
        """The only rows that contents come from, and styles where no others are named."""
        training = self.catalog.split("train")
        if not training.records:
            raise InputError(
                f"{self.catalog.root} has no training image", remedy="Prepare a larger data set"
            )
        return training

    @functools.cached_property
    def sources(self) -> Sources:
        """Contents and styles. InputError where the styles would leak and must not."""
        if self.styles is None:
            return Sources.of(self.training)
        return Sources.between(self.catalog, self.styles, allow_leak=self.allow_leak)

    @functools.cached_property
    def predictor(self) -> Predictor | None:
        """The network whose relevance weighs the content loss; None in mode L0."""
        if self.config.relevance.mode == "L0":
            return None
        if self.explainer is None and self.config.style.backbone != "resnet50":
            raise InputError(
                f"style.backbone={self.config.style.backbone} has no logits to explain",
                remedy="Name a classifier with --explainer, or say --set relevance.mode=L0",
            )
        return self.explainer or imagenet_predictor(self.weights)

    @functools.cached_property
    def format(self) -> Format:
        """How images are stored, ``auto`` resolved."""
        asked = self.config.output.format
        if asked == "auto":
            return "png" if len(self.plan()) <= LOOSE_MAX else "webdataset"
        return asked

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the bytes of every output."""
        config = self.config.sections(*self.config.of_images)
        config["output"]["format"] = self.format
        identity: dict[str, Any] = {
            "config": config,
            "catalog": self.catalog.hash,
            "masks": self._masks_hash(self.training),
            "weights": self.weights.sha256,
            "explainer": self.predictor.sha256 if self.predictor else None,
        }
        if self.styles is not None:
            identity["styles"] = {
                "catalog": self.styles.hash,
                "masks": self._masks_hash(self.sources.styles),
                "allow_leak": self.allow_leak,
            }
        return identity

    @functools.cached_property
    def unmasked(self) -> bool:
        """Whether overlays are to be left alone, but a Catalog tells nothing of any.

        One whose ``prepare`` looked for them and found none is no such case.
        """
        if not self.config.style.mask_overlays:
            return False
        return any(map(_tells_no_overlays, (self.sources.contents, self.sources.styles)))

    @property
    def explained_from_elsewhere(self) -> bool:
        """Whether the explainer is a classifier that, as far as is known, saw other images.

        Those that are tested later may be among them: what it learnt of them would then have a say
        in what is kept of the contents.
        """
        if self.explainer is None or self.predictor is None:
            return False
        return self.explainer.catalog != self.catalog.hash

    def _masks_hash(self, rows: Catalog) -> str:
        """Of the masks that enter: they may be corrected by hand, and no row of the Catalog tells.

        A missing one is no matter here: it costs the pairs that need it.
        """
        overlays = self.config.style.mask_overlays
        names = {
            name: rows.root / name
            for record in rows.records
            for name in (record.mask, record.overlay if overlays else None)
            if name is not None
        }
        found = {name: file_sha256(path) for name, path in names.items() if path.is_file()}
        return canonical_hash(found)

    def plan(self) -> Plan:
        return plan_pairs(self.sources, self.config)

    def extractor(self, device: torch.device | None = None) -> FeatureExtractor:
        """The feature network, on ``device`` or on the configuration's."""
        torch.set_num_threads(self.config.compute.threads)
        device = device or open_device(self.config.compute.device)
        style = self.config.style
        # Left at auto it is single, as in runs that were made before there was a choice.
        precision: Literal["single", "mixed"] = "mixed" if style.precision == "mixed" else "single"
        return FeatureExtractor(
            style.backbone,
            self.weights,
            style.layers,
            softmax=style.softmax,
            precision=precision,
        ).to(device)

    def engine(
        self, extractor: FeatureExtractor, balance: float, folder: Path, *, keep_targets: bool
    ) -> Engine:
        """What makes images, with its caches in ``folder``; those of style targets on request."""
        maps = RelevanceMaps(self.predictor, self.config, folder) if self.predictor else None
        targets = TensorCache(folder / _TARGETS) if keep_targets else None
        return Engine(self.sources, self.config, extractor, balance, maps, targets)

    @staticmethod
    def drop_targets(folder: Path) -> None:
        """Remove the style targets kept in ``folder``: megabytes each, made again soon."""
        shutil.rmtree(folder / _TARGETS, ignore_errors=True)


def _tells_no_overlays(rows: Catalog) -> bool:
    made = read_run(rows.root) or {}
    looked = made.get("identity", {}).get("overlays", False)
    return not looked and all(record.overlay is None for record in rows.records)
